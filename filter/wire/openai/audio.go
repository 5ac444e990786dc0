package openai

import (
	"strings"
	"unicode/utf8"

	"keel/filter/wire"
	"keel/filter/wire/media"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// transcriptions is the codec of speech to text: transcriptions and
// translations. xAI's takes no model.
var transcriptions = &format{
	api: wire.OpenAIAudio, task: tokens.Transcribe, nameless: true,
	member: func(r *request, c *walk.Cursor, key []byte) error {
		switch string(key) {
		case "prompt":
			r.Prompt.Messages++
			return c.Segment(&r.Prompt, tokens.Text)
		case "input_audio", "file", "file_url": // OpenRouter, Mistral
			var e element
			return e.source(c, &r.Prompt, referenced["input_audio"])
		}
		return nil
	},
	field: func(r *request, f *field) error {
		switch f.name {
		case "file":
			r.Prompt.Media = append(r.Prompt.Media, media.RawFile(soundOr(f.contentType), f.value))
		case "file_url", "url", "file_id":
			hosted(&r.Prompt, "audio URL")
		}
		return nil
	},
	dialect: func(*wire.Request) dialect { return &soundReading{} },
}

// soundOr is the kind of a file to transcribe: video by its type, else sound.
func soundOr(contentType string) tokens.MediaKind {
	if strings.HasPrefix(contentType, "video/") {
		return tokens.Video
	}
	return tokens.Audio
}

// speech is the codec of text to speech. Its answer is sound and tells no
// usage unless it is streamed as events; most models are billed by the
// characters of the text, which the request shows.
var speech = &format{
	api: wire.OpenAIAudio, task: tokens.Speak,
	member: func(r *request, c *walk.Cursor, key []byte) error {
		switch string(key) {
		case "input":
			if c.Kind() == '"' {
				text, err := c.Text()
				if err != nil {
					return err
				}
				r.marks.characters = int64(utf8.RuneCount(text))
				r.Prompt.Messages++
				segment(&r.Prompt, tokens.Text, c.Raw())
			}
		case "instructions":
			return c.Segment(&r.Prompt, tokens.Text)
		case "stream_format":
			word, err := c.Value()
			r.Stream = string(word) == `"sse"`
			return err
		}
		return nil
	},
	dialect: func(r *wire.Request) dialect {
		d := &soundReading{}
		if m, ok := r.Marks.(*marks); ok {
			d.characters = m.characters
		}
		return d
	},
}
