package openai

import (
	"slices"
	"strings"

	"keel/filter/wire"
	"keel/filter/wire/walk"
	"keel/pricing/meter"
)

// chatReading reads bodies and chunks of Chat Completions and of the older
// completions.
type chatReading struct {
	choices  int64 // asked for
	finished int64 // choices that told their finish_reason
	unmarked bool  // see Chat
}

// chunk is what one document or event says of itself.
type chunk struct {
	choices    int  // entries of choices
	listed     bool // choices is an array
	usage      bool
	failed     bool
	completion bool // object is a whole completion, not a chunk of one
}

func (d *chatReading) writes() bool { return true }

func (d *chatReading) document(c *walk.Cursor, key []byte, b *body) error {
	var k chunk
	return d.member(c, key, b, &k)
}

func (d *chatReading) event(data []byte, b *body) eventKind {
	var k chunk
	err := walk.Response(data, func(c *walk.Cursor, key []byte) error { return d.member(c, key, b, &k) })
	if err != nil {
		return plainEvent
	}
	done := d.finished >= d.choices
	if k.usage {
		b.running = !done // Perplexity, DeepSeek and Databricks tell it in chunks before the last, too
	}
	alone := k.usage && k.listed && k.choices == 0 && !k.failed
	switch {
	case d.unmarked && alone:
		return terminalEvent
	case k.completion && k.usage && done:
		// Perplexity streams whole completions and sends no [DONE].
		return terminalEvent
	case alone:
		return usageEvent
	}
	return plainEvent
}

func (d *chatReading) member(c *walk.Cursor, key []byte, b *body, k *chunk) error {
	if read, err := b.describes(c, key); read {
		return err
	}
	switch string(key) {
	case "model_id": // watsonx
		return readName(c, &b.reading.Model)
	case "object":
		object, err := c.Text()
		k.completion = string(object) == "chat.completion" || string(object) == "chat.completion.done"
		return err
	case "usage":
		told, err := b.readUsage(c)
		k.usage = k.usage || told
		return err
	case "usage_breakdown":
		return b.readBreakdown(c)
	case "x_groq":
		return c.Object(func(key []byte) error {
			switch string(key) {
			case "usage":
				told, err := b.readUsage(c)
				k.usage = k.usage || told
				return err
			case "usage_breakdown":
				return b.readBreakdown(c)
			case "error":
				return b.readFailure(c)
			}
			return nil
		})
	case "error":
		k.failed = c.Kind() != 'n'
		return b.readFailure(c)
	case "choices":
		k.listed = c.Kind() == '['
		return c.Array(func() error {
			k.choices++
			return c.Object(func(key []byte) error { return d.choiceMember(c, key, b) })
		})
	}
	return nil
}

func (d *chatReading) choiceMember(c *walk.Cursor, key []byte, b *body) error {
	switch string(key) {
	case "text":
		return b.addText(c)
	case "delta", "message":
		var reasoning [3]int64
		err := c.Object(func(key []byte) error { return messageMember(c, key, b, &reasoning) })
		b.reading.OutputBytes += max(reasoning[0], reasoning[1], reasoning[2])
		return err
	case "finish_reason":
		reason, err := c.Text()
		if len(reason) > 0 {
			d.finished++
		}
		return err
	case "error": // OpenRouter
		return b.readFailure(c)
	}
	return nil
}

// settle adds what the usage object leaves out. OpenAI's search models search
// once a request and bill it as one call (its price list); usage does not show
// it. Groq's compound systems show their tools in the message.
func (d *chatReading) settle(b *body, out *wire.Reading) {
	if out.Usage == nil {
		return
	}
	if b.counts.searches < 0 && searches(out.Model) {
		out.Usage[meter.WebSearch] = 1
	}
	out.Parts = b.breakdown(out.Usage)
	if tools := b.calls.executedUsage(); len(b.calls.executed) > 0 {
		out.Usage[meter.WebSearch] += tools[meter.WebSearch]
		out.Usage[meter.HostedTools] += tools[meter.HostedTools]
		if out.Parts != nil {
			out.Parts = append(slices.Clip(out.Parts), meter.Part{Usage: tools})
		}
	}
}

func searches(model string) bool {
	return strings.HasPrefix(model, "gpt-") && (strings.Contains(model, "-search-preview") || strings.Contains(model, "-search-api"))
}
