package openai

import "keel/filter/wire/walk"

// chatReading reads bodies and chunks of Chat Completions.
type chatReading struct {
	choices  int64 // asked for
	finished int64 // choices that told their finish_reason
}

// chunk is what one document or event says of itself.
type chunk struct {
	choices    int  // entries of choices
	listed     bool // choices is an array
	usage      bool
	failed     bool
	completion bool // object is a whole completion, not a chunk of one
}

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
	switch {
	case k.completion && k.usage && done:
		// Perplexity streams whole completions and sends no [DONE].
		return terminalEvent
	case k.usage && k.listed && k.choices == 0 && !k.failed:
		return usageEvent
	}
	return plainEvent
}

func (d *chatReading) member(c *walk.Cursor, key []byte, b *body, k *chunk) error {
	switch string(key) {
	case "model":
		return readName(c, &b.reading.Model)
	case "service_tier":
		return readName(c, &b.reading.ServiceTier)
	case "object":
		object, err := c.Text()
		k.completion = string(object) == "chat.completion" || string(object) == "chat.completion.done"
		return err
	case "usage":
		ok, err := b.readUsage(c)
		k.usage = k.usage || ok
		return err
	case "x_groq":
		return c.Object(func(key []byte) error {
			switch string(key) {
			case "usage":
				ok, err := b.readUsage(c)
				k.usage = k.usage || ok
				return err
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

// messageMember adds up what the model wrote. Hosts repeat the same reasoning
// under up to three names; it is collected a name and the longest counts.
func messageMember(c *walk.Cursor, key []byte, b *body, reasoning *[3]int64) (err error) {
	switch string(key) {
	case "content", "refusal":
		if c.Kind() == '[' {
			return c.Array(func() error { return textsOf(c, b) })
		}
		return b.addText(c)
	case "tool_calls":
		return c.Array(func() error { return textsOf(c, b) })
	case "function_call", "audio":
		return textsOf(c, b)
	case "reasoning":
		reasoning[0], err = c.TextLen()
	case "reasoning_content":
		reasoning[1], err = c.TextLen()
	case "reasoning_details":
		return c.Array(func() error {
			return c.Object(func(key []byte) error {
				switch string(key) {
				case "text", "summary":
					n, err := c.TextLen()
					reasoning[2] += n
					return err
				}
				return nil
			})
		})
	}
	return err
}

// textsOf adds up the written members of a part, a call or an item.
func textsOf(c *walk.Cursor, b *body) error {
	return c.Object(func(key []byte) error {
		switch string(key) {
		case "text", "refusal", "name", "arguments", "input", "transcript", "code":
			return b.addText(c)
		case "function", "custom":
			return textsOf(c, b)
		case "content", "summary":
			return c.Array(func() error { return textsOf(c, b) })
		}
		return nil
	})
}
