// Package mistral reads Mistral's OCR, which is billed by page.
//
// Everything else that Mistral speaks is OpenAI's format and read by that package.
package mistral

import (
	"bytes"
	"net/http"
	"strings"

	"keel/filter/wire"
	"keel/filter/wire/fields"
	"keel/filter/wire/framing"
	"keel/filter/wire/media"
	"keel/filter/wire/walk"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

// ocr is the wire.Codec of mistral.ocr.
type ocr struct{}

var (
	_    wire.Codec = ocr{}
	form            = &fields.Form{Model: "model"}
)

// Match returns the codec for a request line: /v1/ocr at Mistral or an unknown
// host, and /ocr below any path at Azure, which hosts the model.
func Match(provider, method, path string) (wire.Codec, bool) {
	path, _, _ = strings.Cut(path, "?")
	path = strings.TrimRight(path, "/")
	if method != http.MethodPost || !strings.HasSuffix(path, "/ocr") {
		return nil, false
	}
	switch provider {
	case "mistral", "azure":
		return ocr{}, true
	case "":
		return ocr{}, strings.HasSuffix(path, "/v1/ocr")
	}
	return nil, false
}

// API implements wire.Codec.
func (ocr) API() wire.API { return wire.MistralOCR }

// ReadRequest implements wire.Codec.
func (ocr) ReadRequest(_ string, body []byte) (*wire.Request, error) {
	r := &wire.Request{API: wire.MistralOCR, Choices: 1, Prompt: tokens.Prompt{Task: tokens.Read}}
	err := form.Read(r, body, func(c *walk.Cursor, key []byte) error {
		switch string(key) {
		case "document":
			r.Prompt.Messages++
			return c.Object(func(key []byte) error { return document(&r.Prompt, c, key) })
		case "document_annotation_format", "bbox_annotation_format":
			return c.Segment(&r.Prompt, tokens.Schema)
		case "document_annotation_prompt":
			return c.Segment(&r.Prompt, tokens.Text)
		}
		return nil
	}, nil)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// document reads a member of what is to be read: a URL, with the data in it or not, or a file's id.
func document(p *tokens.Prompt, c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "document_url", "image_url":
		if c.Kind() == '{' {
			return c.Object(func(key []byte) error {
				if string(key) == "url" {
					return document(p, c, []byte("image_url"))
				}
				return nil
			})
		}
		if c.Kind() != '"' {
			return nil
		}
		raw, err := c.Value()
		if err != nil {
			return err
		}
		switch url := raw[1 : len(raw)-1]; {
		case !bytes.HasPrefix(url, []byte("data:")):
			fields.Hosted(p, "file URL")
		case bytes.HasPrefix(url, []byte("data:image/")):
			p.Images = append(p.Images, media.Image(url, ""))
		default:
			p.Media = append(p.Media, media.File(tokens.Document, url))
		}
	case "file_id":
		if c.Kind() != 'n' {
			fields.Hosted(p, "file id")
		}
	}
	return nil
}

// Rewrite implements wire.Codec. There is no output limit to change.
func (ocr) Rewrite(r *wire.Request, path string, body []byte, edit wire.Edit) (string, []byte) {
	return path, fields.Rewrite(r, body, edit)
}

// Refuse implements wire.Codec.
func (ocr) Refuse(r wire.Refusal) (string, []byte) {
	body := walk.Member(nil, "object", walk.Quote("error"))
	body = walk.Member(body, "message", walk.Quote(r.Message))
	body = walk.Member(body, "type", walk.Quote(r.Code))
	body = walk.Member(body, "param", []byte("null"))
	body = walk.Member(body, "code", walk.Quote(r.Code))
	body = walk.Member(body, "keel", fields.Facts(r))
	return "application/json", append(walk.Object(body), '\n')
}

// NewReader implements wire.Codec.
func (ocr) NewReader(_ *wire.Request, status int, _ wire.Header) wire.ResponseReader {
	return &reader{status: status}
}

type reader struct {
	status  int
	frames  framing.Reader
	reading wire.Reading
}

// Feed implements wire.ResponseReader.
func (r *reader) Feed(chunk []byte, end bool) []byte {
	r.frames.Feed(chunk, end, r.document)
	return chunk
}

func (r *reader) document(doc []byte) error {
	return walk.Response(doc, func(c *walk.Cursor, key []byte) error {
		switch string(key) {
		case "model":
			return framing.Name(c, &r.reading.Model)
		case "usage_info":
			return r.usage(c)
		case "message", "detail", "error":
			if r.status < http.StatusBadRequest {
				return nil
			}
			message, err := framing.Message(c)
			if message != "" {
				r.reading.Failure = message
			}
			return err
		}
		return nil
	})
}

func (r *reader) usage(c *walk.Cursor) error {
	pages, told := int64(0), false
	err := c.Object(func(key []byte) error {
		if string(key) != "pages_processed" {
			return nil
		}
		n, ok, err := c.Count()
		if ok {
			pages, told = n, true
		}
		return err
	})
	if err == nil && told {
		r.reading.Usage, r.reading.RawUsage = &meter.Usage{meter.Pages: pages}, bytes.Clone(c.Raw())
	}
	return err
}

// Reading implements wire.ResponseReader.
func (r *reader) Reading() wire.Reading {
	out := r.reading
	out.Terminal = r.frames.One()
	r.frames.Finish(&out, r.status, tokens.Read)
	return out
}
