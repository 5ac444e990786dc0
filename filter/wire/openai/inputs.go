package openai

import (
	"bytes"

	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// inputs reads texts to embed, to check, to rank or to complete: one string, a
// list of strings or parts, the ids of tokens, or a list of lists of them. Each
// text counts as a message.
func inputs(c *walk.Cursor, p *tokens.Prompt) error {
	if c.Kind() != '[' {
		return input(c, p)
	}
	ids := false
	err := c.Array(func() error {
		if c.Kind() == '0' {
			ids = true
			p.TokenIDs++
			return nil
		}
		return input(c, p)
	})
	if ids {
		p.Messages++
	}
	return err
}

// input reads one of them.
func input(c *walk.Cursor, p *tokens.Prompt) error {
	p.Messages++
	if c.Kind() != '[' {
		return content(c, p, tokens.Text)
	}
	// A list of ids has nothing in it but numbers, thousands of them.
	raw, err := c.Value()
	if err != nil {
		return err
	}
	if first := bytes.TrimLeft(raw[1:], " \t\r\n"); first[0] == '-' || first[0] >= '0' && first[0] <= '9' {
		p.TokenIDs += 1 + int64(bytes.Count(raw, []byte{','}))
		return nil
	}
	p.Segments = append(p.Segments, tokens.Segment{JSON: raw}) // chunks of one document (Voyage)
	return nil
}
