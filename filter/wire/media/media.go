// Package media tells what an estimate needs of inline images, documents and
// sound from the first bytes of their base64: how large an image is, how many
// pages a PDF has, how long a WAV file plays.
//
// It reads headers and decodes no picture. What it can't read has no size, which
// is not an error: the provider may still read it.
package media

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"image"
	_ "image/gif"  // registers the format
	_ "image/jpeg" // registers the format
	_ "image/png"  // registers the format
	"io"

	"keel/pricing/tokens"
)

// Image describes an inline image. encoded is the content of a JSON string
// without its quotes: base64, in either alphabet, behind a data URL's comma
// where there is one.
func Image(encoded []byte, detail string) tokens.Image {
	encoded = content(encoded)
	img := tokens.Image{Detail: detail, Bytes: int64(len(encoded))}
	head := decode(encoded, webpHeader)
	if w, h, ok := webp(head); ok {
		img.Width, img.Height = w, h
		return img
	}
	config, _, err := image.DecodeConfig(&decoder{encoded: encoded})
	if err == nil && config.Width > 0 && config.Height > 0 {
		img.Width, img.Height = int64(config.Width), int64(config.Height)
	}
	return img
}

// File describes inline audio, video or a document; encoded is as for Image.
func File(kind tokens.MediaKind, encoded []byte) tokens.Media {
	encoded = content(encoded)
	m := tokens.Media{Kind: kind, Bytes: int64(len(encoded))}
	switch head := decode(encoded, wavHeader); {
	case kind == tokens.Document && bytes.HasPrefix(head, []byte("%PDF-")):
		m.Pages = pages(decode(encoded, len(encoded)))
	case kind == tokens.Audio:
		m.Millis = wav(head, int64(len(encoded))/4*3)
	}
	return m
}

// content is what stands behind the comma of a data URL.
func content(encoded []byte) []byte {
	if bytes.HasPrefix(encoded, []byte("data:")) {
		if i := bytes.IndexByte(encoded, ','); i >= 0 {
			return encoded[i+1:]
		}
	}
	return encoded
}

// decode returns at most n bytes, fewer where the base64 ends or is broken.
func decode(encoded []byte, n int) []byte {
	out := make([]byte, min(n, len(encoded)/4*3+3))
	read, _ := io.ReadFull(&decoder{encoded: encoded}, out)
	return out[:read]
}

// decoder decodes base64 of either alphabet, JSON's \/ for / included, as far as it goes.
type decoder struct {
	encoded []byte
	ready   []byte
	buffer  [768]byte
	text    [1024]byte
}

func (d *decoder) Read(p []byte) (int, error) {
	if len(d.ready) == 0 {
		n := 0
		for n < len(d.text) && len(d.encoded) > 0 {
			c := d.encoded[0]
			d.encoded = d.encoded[1:]
			switch c {
			case '\\', '\r', '\n', '=':
				continue
			case '-':
				c = '+'
			case '_':
				c = '/'
			}
			d.text[n] = c
			n++
		}
		decoded, _ := base64.RawStdEncoding.Decode(d.buffer[:], d.text[:n])
		if decoded == 0 {
			return 0, io.EOF
		}
		d.ready = d.buffer[:decoded]
	}
	n := copy(p, d.ready)
	d.ready = d.ready[n:]
	return n, nil
}

const webpHeader = 30

// webp reads the size in the header of a WebP file (RFC 9649).
func webp(head []byte) (width, height int64, ok bool) {
	if len(head) < webpHeader || string(head[:4]) != "RIFF" || string(head[8:12]) != "WEBP" {
		return 0, 0, false
	}
	switch string(head[12:16]) {
	case "VP8 ":
		w, h := binary.LittleEndian.Uint16(head[26:]), binary.LittleEndian.Uint16(head[28:])
		return int64(w & 0x3fff), int64(h & 0x3fff), true
	case "VP8L":
		bits := binary.LittleEndian.Uint32(head[21:])
		return int64(bits&0x3fff) + 1, int64(bits>>14&0x3fff) + 1, true
	case "VP8X":
		three := func(b []byte) int64 { return int64(b[0]) | int64(b[1])<<8 | int64(b[2])<<16 }
		return three(head[24:]) + 1, three(head[27:]) + 1, true
	}
	return 0, 0, false
}

// pages counts the page objects of a PDF that stand in it uncompressed; 0
// where there is none to see.
func pages(pdf []byte) int64 {
	var n int64
	for {
		i := bytes.Index(pdf, []byte("/Type"))
		if i < 0 {
			return n
		}
		pdf = pdf[i+len("/Type"):]
		rest := bytes.TrimLeft(pdf[:min(len(pdf), 16)], " \r\n\t")
		if bytes.HasPrefix(rest, []byte("/Page")) && (len(rest) == 5 || rest[5] != 's' && (rest[5] < 'a' || rest[5] > 'z') && (rest[5] < 'A' || rest[5] > 'Z')) {
			n++
		}
	}
}

const wavHeader = 44

// wav is how long a canonical WAV file of so many bytes plays, 0 for anything else.
func wav(head []byte, size int64) int64 {
	if len(head) < wavHeader || string(head[:4]) != "RIFF" || string(head[8:16]) != "WAVEfmt " {
		return 0
	}
	perSecond := int64(binary.LittleEndian.Uint32(head[28:]))
	if perSecond <= 0 || size <= wavHeader {
		return 0
	}
	return (size - wavHeader) * 1000 / perSecond
}
