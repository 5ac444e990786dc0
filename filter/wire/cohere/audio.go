package cohere

import (
	"strings"
	"unicode/utf8"

	"keel/filter/wire"
	"keel/filter/wire/formdata"
	"keel/filter/wire/media"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// audio is the wire.Codec of cohere.audio: a form with a file. Its answers tell
// no usage.
type audio struct{}

var _ wire.Codec = audio{}

// API implements wire.Codec.
func (audio) API() wire.API { return wire.CohereAudio }

// ReadRequest implements wire.Codec.
func (audio) ReadRequest(_ string, body []byte) (*wire.Request, error) {
	r := &wire.Request{API: wire.CohereAudio, Choices: 1, Prompt: tokens.Prompt{Task: tokens.Transcribe}}
	var model wire.Span
	err := formdata.Read(body, func(f formdata.Field) error {
		switch f.Name {
		case "model":
			if len(f.Value) == 0 || !utf8.Valid(f.Value) {
				return &wire.RequestError{Field: f.Name, Reason: "must be a name"}
			}
			r.Model, model = string(f.Value), f.At
		case "file":
			r.Prompt.Messages++
			r.Prompt.Media = append(r.Prompt.Media, media.RawFile(tokens.Audio, f.Value))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if r.Model == "" {
		return nil, &wire.RequestError{Field: "model", Reason: "is missing: name the model"}
	}
	r.Marks = model
	return r, nil
}

// Rewrite implements wire.Codec. A model with a line break in its name, which would end
// its part of the form, is left as it is.
func (audio) Rewrite(r *wire.Request, path string, body []byte, edit wire.Edit) (string, []byte) {
	model, ok := r.Marks.(wire.Span)
	if !ok || edit.Model == "" || edit.Model == r.Model || strings.ContainsAny(edit.Model, "\r\n") {
		return path, body
	}
	return path, walk.Splice(body, walk.Replacement{At: model, With: []byte(edit.Model)})
}

// NewReader implements wire.Codec.
func (audio) NewReader(_ *wire.Request, status int, _ wire.Header) wire.ResponseReader {
	return &reader{task: tokens.Transcribe, status: status}
}

// Refuse implements wire.Codec.
func (audio) Refuse(r wire.Refusal) (string, []byte) { return refuse(r) }
