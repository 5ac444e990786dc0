package bedrock

import (
	"bytes"
	"cmp"

	"keel/filter/wire"
	"keel/filter/wire/anthropic"
	"keel/filter/wire/walk"
)

// claudeMarks are those of package anthropic, which reads the bodies that
// InvokeModel takes for Claude: they are Anthropic's own but for the model.
type claudeMarks struct{ own any }

// isClaude reports whether a body is Claude's. The name of a profile or a provisioned
// model need not tell, but the body has to name the version of its form
// (Bedrock user guide, Anthropic Claude Messages API).
func isClaude(model string, body []byte) bool {
	of := family(model)
	return of == "anthropic." || of == "" && bytes.Contains(body, []byte(`"anthropic_version"`))
}

func readClaude(r *wire.Request, body []byte) error {
	err := anthropic.ReadBody(r, body)
	r.Marks = claudeMarks{r.Marks}
	return err
}

// ofClaude returns r as package anthropic made it, if it did.
func ofClaude(r *wire.Request) (*wire.Request, bool) {
	marks, ok := r.Marks.(claudeMarks)
	if !ok {
		return nil, false
	}
	own := *r
	own.Marks = marks.own
	return &own, true
}

// claudeReading is what Claude's own documents told, and what stood around them. They
// tell more than Bedrock's figures: how long a cache is kept, what was reasoning.
func (r *reader) claudeReading() wire.Reading {
	out := r.claude.Reading()
	out.OutputBytes += r.reading.OutputBytes
	out.Failure = cmp.Or(r.reading.Failure, out.Failure)
	out.ServiceTier = cmp.Or(r.reading.ServiceTier, out.ServiceTier)
	out.Speed = cmp.Or(r.reading.Speed, out.Speed)
	return out
}

// claudeDocument reads a body or an event of Claude's.
func (r *reader) claudeDocument(doc []byte) error {
	if err := r.claude.Document(doc); err != nil {
		return err
	}
	return walk.Response(doc, func(c *walk.Cursor, key []byte) error {
		switch string(key) {
		case "amazon-bedrock-invocationMetrics":
			return r.member(c, key)
		case "completion": // of models that only know complete
			return r.written(c, key)
		case "Message":
			return r.failure(c)
		}
		return nil
	})
}
