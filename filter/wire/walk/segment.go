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
		// About one a kilobyte in what agents send; a few growths less are
		// a tenth of the time that reading takes.
		p.Segments = make([]tokens.Segment, 0, min(8+len(c.body)>>10, 256))
	}
	p.Segments = append(p.Segments, tokens.Segment{Class: class, JSON: raw})
	return nil
}
