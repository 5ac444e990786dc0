package openai

import (
	"keel/filter/wire"
	"keel/filter/wire/walk"
	"keel/pricing/meter"
)

// inputReading reads the answers of calls that produce no tokens: embeddings,
// ranks, verdicts.
type inputReading struct{}

func (d *inputReading) writes() bool { return false }

func (d *inputReading) document(c *walk.Cursor, key []byte, b *body) error {
	if read, err := b.describes(c, key); read {
		return err
	}
	switch string(key) {
	case "usage":
		told, err := b.readUsage(c)
		if told { // Voyage tells the total alone
			orElse(&b.counts.completion, 0)
		}
		return err
	case "model_id": // watsonx
		return readName(c, &b.reading.Model)
	case "input_token_count": // watsonx tells no usage object
		return b.readInputCount(c, key)
	case "error":
		return b.readFailure(c)
	}
	return nil
}

func (d *inputReading) event([]byte, *body) eventKind { return plainEvent }

func (d *inputReading) settle(*body, *wire.Reading) {}

// countReading reads a count of tokens, which costs nothing.
type countReading struct{ inputReading }

func (d *countReading) document(c *walk.Cursor, key []byte, b *body) error {
	if string(key) != "input_tokens" {
		return d.inputReading.document(c, key, b)
	}
	return b.readInputCount(c, key)
}

// readInputCount takes over a count that stands among a body's own members.
func (b *body) readInputCount(c *walk.Cursor, key []byte) error {
	u := noCounts()
	u.completion = 0
	if err := count(c, &u.prompt); err != nil || u.prompt < 0 {
		return err
	}
	b.counts, b.reported = u, true
	b.raw = walk.Object(walk.Member(nil, string(key), c.Raw()))
	return nil
}

func (d *countReading) settle(_ *body, out *wire.Reading) {
	if out.Usage != nil {
		*out.Usage = meter.Usage{meter.UnbilledInput: out.Usage.InputTokens()}
	}
}
