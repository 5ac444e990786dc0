package openai

import "keel/filter/wire/walk"

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
	case "executed_tools":
		return b.calls.readExecuted(c)
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
		case "content", "summary", "thinking": // the last Mistral
			return c.Array(func() error { return textsOf(c, b) })
		}
		return nil
	})
}
