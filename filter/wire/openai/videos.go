package openai

import (
	"keel/filter/wire"
	"keel/filter/wire/walk"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

// createVideo is the codec of starting a video, as OpenAI and xAI make them: a job that
// is asked for under its id.
var createVideo = &format{
	api: wire.OpenAIVideos, task: tokens.Draw, nameless: true,
	member: func(r *request, c *walk.Cursor, key []byte) error {
		switch string(key) {
		case "prompt":
			r.Prompt.Messages++
			return c.Segment(&r.Prompt, tokens.Text)
		case "input_reference", "image", "reference_images": // OpenAI; the others xAI
			var e element
			return e.source(c, &r.Prompt, source{image: true, bare: true, reference: "image URL"})
		case "video":
			return present(c, &r.Prompt, "video URL")
		}
		return nil
	},
	field:   func(*request, *field) error { return nil }, // OpenAI's clients send a form
	whole:   func(r *request) { r.Background = true },
	dialect: func(*wire.Request) dialect { return &videoReading{} },
}

// pollVideo is the codec of asking for a video.
var pollVideo = &format{
	api: wire.OpenAIVideos, task: tokens.Retrieve, bodyless: true,
	dialect: func(*wire.Request) dialect { return &videoReading{} },
}

// videoReading reads the job that makes a video. It is billed by the second: OpenAI
// tells no usage, xAI the cost.
type videoReading struct {
	made    bool
	seconds int64
}

func (d *videoReading) writes() bool { return false }

func (d *videoReading) document(c *walk.Cursor, key []byte, b *body) error {
	if read, err := b.describes(c, key); read {
		return err
	}
	switch string(key) {
	case "request_id": // xAI
		return readName(c, &b.reading.ID)
	case "status":
		status, err := c.Text()
		d.made = string(status) == "completed" || string(status) == "done"
		return err
	case "seconds": // OpenAI, in quotes
		return seconds(c, &d.seconds)
	case "video": // xAI
		return c.Object(func(key []byte) error {
			if string(key) == "duration" {
				return seconds(c, &d.seconds)
			}
			return nil
		})
	case "usage":
		_, err := b.readUsage(c)
		return err
	case "error":
		return b.readFailure(c)
	}
	return nil
}

func (d *videoReading) event([]byte, *body) eventKind { return plainEvent }

func (d *videoReading) settle(_ *body, out *wire.Reading) {
	switch made := (meter.Usage{meter.OutputSeconds: d.seconds}); {
	case !d.made:
	case out.Usage != nil:
		*out.Usage, out.Partial = made, false
	case d.seconds > 0:
		out.Parts = []meter.Part{{Usage: made}}
	}
}
