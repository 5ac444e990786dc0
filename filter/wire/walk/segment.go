package walk

import "keel/pricing/tokens"

// Segment reads the value, whatever its type, as a piece of what the model
// reads, and appends it to p as it stands in the body. null and "" add
// nothing.
func (c *Cursor) Segment(p *tokens.Prompt, class tokens.Class) error {
	raw, err := c.Value()
	if err != nil || raw[0] == 'n' || len(raw) == 2 && raw[0] == '"' {
		return err
	}
	if p.Segments == nil {
		// Seldom more than one every 512 bytes in what agents send: no growth.
		p.Segments = make([]tokens.Segment, 0, min(8+len(c.body)>>9, 256))
	}
	p.Segments = append(p.Segments, tokens.Segment{Class: class, JSON: raw})
	return nil
}
