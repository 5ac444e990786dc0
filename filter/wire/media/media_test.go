package media

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"strings"
	"testing"

	"keel/pricing/tokens"
)

func TestImage(t *testing.T) {
	t.Parallel()
	picture := image.NewPaletted(image.Rect(0, 0, 641, 48), color.Palette{color.Black, color.White})
	encodings := map[string]func(io.Writer) error{
		"png":  func(w io.Writer) error { return png.Encode(w, picture) },
		"jpeg": func(w io.Writer) error { return jpeg.Encode(w, picture, nil) },
		"gif":  func(w io.Writer) error { return gif.Encode(w, picture, nil) },
		"webp lossy": func(w io.Writer) error {
			_, err := w.Write([]byte("RIFF\x00\x00\x00\x00WEBPVP8 \x00\x00\x00\x00\x00\x00\x00\x9d\x01\x2a\x81\x02\x30\x00"))
			return err
		},
		"webp lossless": func(w io.Writer) error {
			_, err := w.Write(append(binary.LittleEndian.AppendUint32([]byte("RIFF\x00\x00\x00\x00WEBPVP8L\x00\x00\x00\x00\x2f"), 640|47<<14), 0, 0, 0, 0, 0))
			return err
		},
		"webp extended": func(w io.Writer) error {
			_, err := w.Write([]byte("RIFF\x00\x00\x00\x00WEBPVP8X\x00\x00\x00\x00\x00\x00\x00\x00\x80\x02\x00\x2f\x00\x00"))
			return err
		},
	}
	for name, encode := range encodings {
		var file bytes.Buffer
		if err := encode(&file); err != nil {
			t.Fatal(err)
		}
		standard := base64.StdEncoding.EncodeToString(file.Bytes())
		for _, text := range []string{
			standard,
			base64.RawURLEncoding.EncodeToString(file.Bytes()),
			"data:image/" + name + ";base64," + strings.ReplaceAll(standard, "/", `\/`),
		} {
			got := Image([]byte(text), "high")
			if got.Width != 641 || got.Height != 48 || got.Detail != "high" || got.Bytes < int64(len(standard))-2 {
				t.Errorf("%s: %+v", name, got)
			}
		}
	}
	for _, text := range []string{"", "%%%", "data:image/png;base64", base64.StdEncoding.EncodeToString([]byte("no picture at all, but long enough for one"))} {
		if got := Image([]byte(text), ""); got.Width != 0 || got.Height != 0 {
			t.Errorf("%q has a size: %+v", text, got)
		}
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	pdf := "%PDF-1.4\n1 0 obj <</Type /Pages /Count 2>> endobj 2 0 obj <</Type/Page>> endobj 3 0 obj <</Type /Page /Parent 1 0 R>>" + strings.Repeat(" ", 64)
	if got := File(tokens.Document, []byte(base64.StdEncoding.EncodeToString([]byte(pdf)))); got.Pages != 2 {
		t.Errorf("PDF: %+v", got)
	}
	head := make([]byte, wavHeader)
	copy(head, "RIFF\x00\x00\x00\x00WAVEfmt ")
	binary.LittleEndian.PutUint32(head[28:], 32_000)
	sound := base64.StdEncoding.EncodeToString(append(head, make([]byte, 48_000)...))
	if got := File(tokens.Audio, []byte(sound)); got.Millis < 1_499 || got.Millis > 1_501 {
		t.Errorf("WAV: %+v", got)
	}
	if got := File(tokens.Audio, []byte("SUQz")); got.Millis != 0 || got.Bytes != 4 {
		t.Errorf("MP3: %+v", got)
	}
}

func FuzzMedia(f *testing.F) {
	f.Add([]byte("data:image/png;base64,iVBORw0KGgo"), byte(0))
	f.Add([]byte("UklGRgAAAABXRUJQVlA4IA"), byte(1))
	f.Add([]byte("JVBERi0xLjQ"), byte(2))
	f.Fuzz(func(t *testing.T, encoded []byte, kind byte) {
		if img := Image(encoded, ""); img.Width < 0 || img.Height < 0 || img.Bytes > int64(len(encoded)) {
			t.Errorf("%+v", img)
		}
		if m := File(tokens.MediaKind(kind%3), encoded); m.Pages < 0 || m.Millis < 0 {
			t.Errorf("%+v", m)
		}
	})
}
