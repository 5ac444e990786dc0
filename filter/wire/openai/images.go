package openai

import (
	"keel/filter/wire"
	"keel/filter/wire/media"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// images is the codec of making and editing images. OpenAI's reference lets a
// request name no model.
var images = &format{
	api: wire.OpenAIImages, task: tokens.Draw, nameless: true,
	member: func(r *request, c *walk.Cursor, key []byte) error {
		switch string(key) {
		case "prompt":
			r.Prompt.Messages++
			return c.Segment(&r.Prompt, tokens.Text)
		case "n":
			return r.readChoices(c)
		case "image", "images", "mask", "input_references": // OpenAI and xAI; the last OpenRouter
			var e element
			return e.source(c, &r.Prompt, source{image: true, bare: true, reference: "image URL"})
		}
		return nil
	},
	field: func(r *request, f *field) error {
		switch f.name {
		case "image", "image[]", "mask":
			r.Prompt.Images = append(r.Prompt.Images, media.RawImage(f.value))
		}
		return nil
	},
	dialect: func(r *wire.Request) dialect { return &imageReading{asked: r.Choices} },
}
