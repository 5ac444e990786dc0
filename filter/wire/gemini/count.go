package gemini

import (
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// countTokens reads a CountTokensRequest: turns, or in generateContentRequest
// all that a generation would have.
func (r *request) countTokens() func(c *walk.Cursor, key []byte) error {
	member := r.generate()
	return func(c *walk.Cursor, key []byte) error {
		switch string(name(key)) {
		case "generateContentRequest":
			return c.Object(func(key []byte) error { return member(c, key) })
		case "instances": // of older models on Vertex AI
			return r.prompt.text(c, tokens.Text)
		}
		return member(c, key)
	}
}

// readCount reads a CountTokensResponse. Counting is free: what was counted is
// input that nobody bills.
func readCount(r *reader, c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "totalTokens":
		r.figures.free, r.raw = true, r.doc
		return r.figures.count(c, &r.figures.prompt)
	case "cachedContentTokenCount":
		return r.figures.count(c, &r.figures.cached)
	}
	return nil
}
