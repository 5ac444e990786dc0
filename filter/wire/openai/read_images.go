package openai

import (
	"bytes"

	"keel/filter/wire"
	"keel/filter/wire/walk"
	"keel/pricing/meter"
)

// imageReading reads images that were made, whole or as a stream of events.
type imageReading struct {
	asked     int64
	completed int64
}

func (d *imageReading) writes() bool { return false }

func (d *imageReading) document(c *walk.Cursor, key []byte, b *body) error {
	switch string(key) {
	case "created", "created_at", "id", "model", "service_tier":
		_, err := b.describes(c, key)
		return err
	case "usage":
		told, err := b.readUsage(c)
		if told {
			b.counts.drawn()
		}
		return err
	case "data":
		return c.Array(func() error {
			b.calls.images++
			return nil
		})
	case "error":
		return b.readFailure(c)
	}
	return nil
}

// event reads an event. One for each image is the last of it and tells its usage; they add up.
func (d *imageReading) event(data []byte, b *body) eventKind {
	var kind []byte
	before, told := b.counts, b.reported
	b.reported = false
	err := walk.Response(data, func(c *walk.Cursor, key []byte) (err error) {
		if string(key) == "type" {
			kind, err = c.Text()
			return err
		}
		return d.document(c, key, b)
	})
	switch {
	case !b.reported:
		b.counts, b.reported = before, told
	case told:
		b.counts.plus(&before)
	}
	if err != nil || !bytes.HasSuffix(kind, []byte(".completed")) {
		return plainEvent
	}
	b.calls.images++
	if d.completed++; d.completed >= d.asked {
		return terminalEvent
	}
	return plainEvent
}

// settle counts images where no tokens were told for them: xAI tells their
// cost and nothing else, older models of OpenAI not even that. Where not even a
// usage object is there, they are no usage that was reported but are billed.
func (d *imageReading) settle(b *body, out *wire.Reading) {
	switch images := (meter.Usage{meter.Images: b.calls.images}); {
	case b.calls.images == 0:
	case out.Usage == nil:
		out.Parts = []meter.Part{{Usage: images}}
	case out.Usage.InputTokens()+out.Usage.OutputTokens() == 0:
		*out.Usage, out.Partial = images, false
	}
}
