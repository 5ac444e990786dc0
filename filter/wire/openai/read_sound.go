package openai

import (
	"keel/filter/wire"
	"keel/filter/wire/walk"
	"keel/pricing/meter"
)

// soundReading reads text made of speech and speech made of text.
type soundReading struct {
	characters int64 // that were asked to be spoken
}

func (d *soundReading) writes() bool { return d.characters == 0 }

func (d *soundReading) document(c *walk.Cursor, key []byte, b *body) error {
	if read, err := b.describes(c, key); read {
		return err
	}
	switch string(key) {
	case "usage":
		_, err := b.readUsage(c)
		return err
	case "duration":
		return seconds(c, &b.duration)
	case "text":
		return b.addText(c)
	case "error":
		return b.readFailure(c)
	}
	return nil
}

func (d *soundReading) event(data []byte, b *body) eventKind {
	var kind []byte
	var text, delta int64
	err := walk.Response(data, func(c *walk.Cursor, key []byte) (err error) {
		switch string(key) {
		case "type":
			kind, err = c.Text()
			return err
		case "delta":
			delta, err = c.TextLen()
			return err
		case "text": // the whole again
			text, err = c.TextLen()
			return err
		case "audio": // base64
			return nil
		}
		return d.document(c, key, b)
	})
	if err != nil {
		return plainEvent
	}
	switch string(kind) {
	case "speech.audio.done":
		if b.reported { // what goes out is sound, though usage does not say so
			b.counts.completionAudio = max(b.counts.completionAudio, b.counts.completion)
		}
		return terminalEvent
	case "transcript.text.done":
		b.reading.OutputBytes = max(b.reading.OutputBytes, text)
	default:
		b.reading.OutputBytes += delta
	}
	return plainEvent
}

// settle adds what is billed where no usage is told: seconds of sound, as older
// transcriptions and xAI state them beside the text, or the characters that were spoken.
func (d *soundReading) settle(b *body, out *wire.Reading) {
	switch {
	case out.Usage != nil:
	case b.duration >= 0:
		out.Parts = []meter.Part{{Usage: meter.Usage{meter.InputSeconds: b.duration}}}
	case d.characters > 0:
		out.Parts = []meter.Part{{Usage: meter.Usage{meter.Characters: d.characters}}}
	}
}
