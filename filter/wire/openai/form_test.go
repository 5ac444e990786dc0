package openai

import (
	"bytes"
	"encoding/binary"
	"errors"
	"mime/multipart"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"keel/filter/wire"
	"keel/pricing/tokens"
)

const transcriptionsPath = "/v1/audio/transcriptions"

// formOf renders fields, in pairs, as clients do; one whose name begins with @ is a file.
func formOf(t *testing.T, fields ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(fields); i += 2 {
		var err error
		if name, file := strings.CutPrefix(fields[i], "@"); file {
			part, createErr := w.CreateFormFile(name, "x.bin")
			_, err = part.Write([]byte(fields[i+1]))
			err = errors.Join(err, createErr)
		} else {
			err = w.WriteField(fields[i], fields[i+1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// second is a WAV file of one second of silence.
func second() string {
	file := make([]byte, 44+8000)
	copy(file, "RIFF\x00\x00\x00\x00WAVEfmt ")
	binary.LittleEndian.PutUint32(file[28:], 8000)
	return string(file)
}

func TestReadForm(t *testing.T) {
	t.Parallel()
	gif := "GIF89a\x80\x00\x30\x00\x00\x00\x00\x2c"
	tests := []struct {
		name, path string
		fields     []string
		want       wire.Request
	}{
		{
			"transcription", transcriptionsPath, []string{"model", "whisper-1", "prompt", "héy", "@file", second(), "timestamp_granularities[]", "word", "timestamp_granularities[]", "segment", "stream", "true"},
			wire.Request{API: wire.OpenAIAudio, Model: "whisper-1", Stream: true, Choices: 1, Prompt: tokens.Prompt{Task: tokens.Transcribe, Messages: 1,
				Segments: []tokens.Segment{{JSON: []byte("héy"), Plain: true}}, Media: []tokens.Media{{Kind: tokens.Audio, Bytes: 8044, Millis: 1000}}}},
		},
		{
			"transcription of a URL (Mistral)", transcriptionsPath, []string{"model", "m", "file_url", "https://x"},
			wire.Request{API: wire.OpenAIAudio, Model: "m", Choices: 1, Prompt: tokens.Prompt{Task: tokens.Transcribe, Hosted: "audio URL"}},
		},
		{
			"edit of images", "/v1/images/edits", []string{"@image[]", gif, "@image[]", gif, "@mask", "?", "prompt", "x", "n", "3", "model", "gpt-image-1"},
			wire.Request{API: wire.OpenAIImages, Model: "gpt-image-1", Choices: 3, Prompt: tokens.Prompt{Task: tokens.Draw, Messages: 1,
				Segments: []tokens.Segment{{JSON: []byte("x"), Plain: true}},
				Images:   []tokens.Image{{Width: 128, Height: 48, Bytes: 14}, {Width: 128, Height: 48, Bytes: 14}, {Bytes: 1}}}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			codec, body := codecOf(test.path), formOf(t, test.fields...)
			got, err := codec.ReadRequest(test.path, body)
			if err != nil {
				t.Fatal(err)
			}
			// What is rewritten reads as the same with another model.
			path, changed := codec.Rewrite(got, test.path, body, wire.Edit{Model: "other", MaxOutputTokens: 9, ForceUsage: true})
			again, err := codec.ReadRequest(path, changed)
			if err != nil {
				t.Fatalf("%v of %q", err, changed)
			}
			got.Marks, again.Marks = nil, nil
			ignore := cmpopts.IgnoreUnexported(tokens.Prompt{})
			if diff := cmp.Diff(test.want, *got, ignore); diff != "" {
				t.Error(diff)
			}
			got.Model = "other"
			if diff := cmp.Diff(got, again, ignore); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRenameField(t *testing.T) {
	t.Parallel()
	const file = "Content-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n--b--\r\n"
	const model = "Content-Disposition: form-data; name=\"model\"\r\n\r\n"
	for _, test := range []struct{ path, body, model, want string }{
		{transcriptionsPath, "--b\r\n" + model + "a\r\n--b\r\n" + file, "longer", "--b\r\n" + model + "longer\r\n--b\r\n" + file},
		{"/openai/deployments/d/audio/transcriptions", "--b\r\n" + file, "e", "--b\r\n" + file},
		{transcriptionsPath, "--b\r\n" + model + "a\r\n--b\r\n" + file, "x\r\n--b", "--b\r\n" + model + "a\r\n--b\r\n" + file},
	} {
		r, err := transcriptions.ReadRequest(test.path, []byte(test.body))
		if err != nil {
			t.Fatal(err)
		}
		if _, got := transcriptions.Rewrite(r, test.path, []byte(test.body), wire.Edit{Model: test.model}); string(got) != test.want {
			t.Errorf("%q became %q", test.body, got)
		}
	}
}

func TestReadFormRefuses(t *testing.T) {
	t.Parallel()
	const part = "Content-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n"
	for name, body := range map[string]string{
		"no boundary":         "--\r\n" + part + "--\r\n--\r\n",
		"cut":                 "--b\r\n" + part,
		"no end":              "--b\r\n" + part + "--b",
		"no header":           "--b\r\nm\r\n--b--\r\n",
		"no name":             "--b\r\nContent-Type: text/plain\r\n\r\nm\r\n--b--\r\n",
		"two names":           "--b\r\nContent-Disposition: form-data; name=model\r\n" + part + "--b--\r\n",
		"two models":          "--b\r\n" + part + "--b\r\n" + part + "--b--\r\n",
		"more behind the end": "--b\r\n" + part + "--b--\r\n--c\r\n" + part + "--c--\r\n",
		"boundary goes on":    "--b\r\n" + part + "--bc\r\n" + part + "--b--\r\n",
		"empty model":         "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n\r\n--b--\r\n",
		"stream":              "--b\r\nContent-Disposition: form-data; name=\"stream\"\r\n\r\nmaybe\r\n--b--\r\n",
		"n":                   "--b\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n0\r\n--b--\r\n",
		"neither":             "model=m",
	} {
		_, err := transcriptions.ReadRequest(transcriptionsPath, []byte(body))
		var field *wire.RequestError
		var syntax *wire.SyntaxError
		if !errors.As(err, &syntax) && !errors.As(err, &field) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
