package openai

import (
	"keel/filter/wire/walk"
	"keel/pricing/meter"
)

// readBreakdown reads what a compound system (Groq) used of each model.
func (b *body) readBreakdown(c *walk.Cursor) error {
	if c.Kind() != '{' {
		return nil
	}
	b.parts = nil
	return c.Object(func(key []byte) error {
		if string(key) != "models" {
			return nil
		}
		return c.Array(func() error {
			var part meter.Part
			told := false
			err := c.Object(func(key []byte) error {
				switch string(key) {
				case "model":
					return readName(c, &part.Model)
				case "usage":
					u, err := readCounts(c)
					part.Usage, _ = u.normalise()
					told = err == nil && u.told()
					return err
				}
				return nil
			})
			if told && part.Model != "" {
				b.parts = append(b.parts, part)
			}
			return err
		})
	})
}

// breakdown returns the parts if they add up to usage. In streams Groq was seen
// to repeat the total for each model, which says nothing of who used what.
func (b *body) breakdown(usage *meter.Usage) []meter.Part {
	var in, out int64
	for i := range b.parts {
		in += b.parts[i].Usage.InputTokens()
		out += b.parts[i].Usage.OutputTokens()
	}
	if len(b.parts) == 0 || in != usage.InputTokens() || out != usage.OutputTokens() {
		return nil
	}
	return b.parts
}
