package formdata

import (
	"bytes"
	"errors"
	"mime/multipart"
	"strings"
	"testing"

	"keel/filter/wire"
)

func form(t testing.TB, fields ...string) []byte {
	t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for i := 0; i < len(fields); i += 2 {
		if err := w.WriteField(fields[i], fields[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return body.Bytes()
}

func TestRead(t *testing.T) {
	t.Parallel()
	body := form(t, "model", "m", "file", "a\r\n--b\r\n\r\n", "x[]", "1", "x[]", "")
	var got []string
	err := Read(body, func(f Field) error {
		got = append(got, f.Name+"="+string(f.Value))
		if string(body[f.At.Start:f.At.End]) != string(f.Value) {
			t.Errorf("%s does not stand at %v", f.Name, f.At)
		}
		return nil
	})
	if want := "model=m|file=a\r\n--b\r\n\r\n|x[]=1|x[]="; err != nil || strings.Join(got, "|") != want {
		t.Errorf("%q, %v", got, err)
	}
	const typed = "--b\r\ncontent-type: audio/wav; x=y\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n--b--\r\n"
	if err := Read([]byte(typed), func(f Field) error {
		if f.ContentType != "audio/wav" || f.Name != "file" || string(f.Value) != "RIFF" {
			t.Errorf("%+v", f)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	whole := form(t, "model", "m", "file", "a")
	bodies := []string{"", "{}", "--\r\n", "--b\r\n", "--b--\r\n", "--b\r\n\r\n\r\nx\r\n--b--", "x" + string(whole), string(whole) + "more",
		"--b\r\nContent-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=b\r\n\r\n\r\n--b--"}
	for n := range len(whole) - len("--\r\n") {
		bodies = append(bodies, string(whole[:n]))
	}
	for _, body := range bodies {
		err := Read([]byte(body), func(Field) error { return nil })
		var want *wire.SyntaxError
		if !errors.As(err, &want) || want.Offset < 0 || want.Offset > int64(len(body)) {
			t.Errorf("%q: %v, want a SyntaxError", body, err)
		}
	}
	err := Read(form(t, "model", "m", "model", "n"), func(Field) error { return nil })
	var twice *wire.RequestError
	if !errors.As(err, &twice) || twice.Field != "model" {
		t.Errorf("twice: %v", err)
	}
	own := errors.New("mine")
	if err := Read(whole, func(Field) error { return own }); !errors.Is(err, own) {
		t.Errorf("%v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(form(f, "model", "m", "file", "\r\n--"))
	f.Add([]byte("--b\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n--b--"))
	f.Fuzz(func(t *testing.T, body []byte) {
		last := 0
		err := Read(body, func(f Field) error {
			if f.Name == "" || f.At.Start < last || f.At.End < f.At.Start || f.At.End > len(body) {
				t.Fatalf("%+v behind %d", f, last)
			}
			last = f.At.End
			return nil
		})
		if err != nil {
			return
		}
		// What is taken is a form to everybody else too.
		line, _, _ := bytes.Cut(body, []byte("\r\n"))
		r := multipart.NewReader(bytes.NewReader(body), strings.TrimRight(string(line[2:]), " \t"))
		if _, err := r.NextRawPart(); err != nil {
			t.Skip(err) // stricter about headers
		}
	})
}
