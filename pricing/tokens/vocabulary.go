package tokens

import "keel/pricing/tokens/bpe"

// vocabulary is one of the published ones that package bpe counts in.
type vocabulary uint8

const (
	o200k vocabulary = iota
	cl100k
	gemma3
	numVocabularies
)

// counter counts one prompt in a vocabulary, within the work that package bpe grants a
// request. Behind that it charges a token a byte: never too few, so that bounds stay bounds.
type counter struct {
	vocabulary
	bpe bpe.Counter
}

func (v vocabulary) counter() counter {
	switch v {
	case cl100k:
		return counter{v, bpe.Cl100k().Counter()}
	case gemma3:
		return counter{v, bpe.Gemma3().Counter()}
	}
	return counter{v, bpe.O200k().Counter()}
}

// segment is the number of tokens of a segment.
func (c *counter) segment(s *Segment) int64 {
	if s.Plain {
		return c.text(s.JSON)
	}
	return c.json(s.JSON)
}

// json is the number of tokens of a JSON value: of a string's content, of anything
// else as it stands.
func (c *counter) json(value []byte) int64 {
	n, _ := c.bpe.Segment(value)
	return n
}

func (c *counter) text(text []byte) int64 {
	n, _ := c.bpe.Count(text)
	return n
}
