package media

import (
	"bytes"
	"image"

	"keel/pricing/tokens"
)

// RawImage is Image for the bytes of a file themselves, as multipart bodies
// carry them. Bytes is their number.
func RawImage(file []byte) tokens.Image {
	img := tokens.Image{Bytes: int64(len(file))}
	if w, h, ok := webp(file[:min(len(file), webpHeader)]); ok {
		img.Width, img.Height = w, h
		return img
	}
	if config, _, err := image.DecodeConfig(bytes.NewReader(file)); err == nil && config.Width > 0 && config.Height > 0 {
		img.Width, img.Height = int64(config.Width), int64(config.Height)
	}
	return img
}

// RawFile is File for the bytes of a file themselves.
func RawFile(kind tokens.MediaKind, file []byte) tokens.Media {
	m := tokens.Media{Kind: kind, Bytes: int64(len(file))}
	switch {
	case kind == tokens.Document && bytes.HasPrefix(file, []byte("%PDF-")):
		m.Pages = pages(file)
	case kind == tokens.Audio:
		m.Millis = wav(file[:min(len(file), wavHeader)], m.Bytes)
	}
	return m
}
