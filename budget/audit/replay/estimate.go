package replay

import (
	"keel/budget"
	"keel/budget/audit/spend"
	"keel/pricing/tokens"
)

// estimator answers with the counts of the record that is replayed. It is set before each decision.
type estimator struct {
	shipped  *tokens.Estimator
	record   *spend.Record
	in       tokens.Input
	out      tokens.Output
	limit    int64 // on the output, with which out was made
	provider string
	model    string
}

var _ budget.Estimator = (*estimator)(nil)

// Input is the recorded count, whatever the target: text is not kept, so no other vocabulary can count it.
func (e *estimator) Input(provider, model string, _ *tokens.Prompt) tokens.Input {
	in := e.in
	if provider != e.provider || model != e.model {
		in.Key.Provider, in.Kind = provider, tokens.Calibrated
	}
	return in
}

// Likely is the recorded count, too: it was of a call that went out.
func (e *estimator) Likely(_, _ string, _ *tokens.Prompt) int64 { return e.in.Uncorrected }

// Output is the recorded estimate for the recorded target and limit; else what the estimator knows of such calls.
func (e *estimator) Output(provider, model string, p *tokens.Prompt, stated, choices int64) tokens.Output {
	if provider == e.provider && model == e.model && stated == e.limit && choices == e.out.Choices {
		return e.out
	}
	return e.shipped.Output(provider, model, p, stated, choices)
}

// set takes the facts of a record, and returns its prompt as far as records keep it: in sizes.
func (e *estimator) set(r *spend.Record, zeros *[]byte) (*tokens.Prompt, error) {
	shape, in, out, err := r.Estimate()
	if err != nil {
		return nil, err
	}
	e.record, e.in, e.out, e.provider, e.model = r, in, out, r.Provider, r.ModelRouted
	if e.limit = out.Bound; out.Choices > 1 {
		e.limit /= out.Choices
	}
	if r.MaxOutputTokens == 0 && out.Kind != tokens.Provable {
		e.limit = 0 // the bound is the model's, and no limit was stated
	} else if r.MaxOutputTokens > 0 && out.Choices > 0 && r.MaxOutputTokens*out.Choices == out.Bound {
		e.limit = r.MaxOutputTokens
	}
	p := &tokens.Prompt{Messages: shape.Messages, Tools: shape.Tools, ToolChoice: shape.ToolChoice, TokenIDs: shape.TokenIDs, Thinking: shape.Thinking,
		Citations: shape.Citations, Hosted: shape.Hosted}
	for task := tokens.Generate; task <= tokens.Store; task++ {
		if task.String() == shape.Task {
			p.Task = task
		}
	}
	for class := range tokens.Class(tokens.NumClasses) {
		if n := shape.Bytes[class.String()]; n > 0 {
			for int64(len(*zeros)) < n {
				*zeros = append(*zeros, make([]byte, max(1<<12, len(*zeros)))...)
			}
			p.Segments = append(p.Segments, tokens.Segment{Class: class, JSON: (*zeros)[:n], Plain: true})
		}
	}
	for _, i := range shape.Images {
		p.Images = append(p.Images, tokens.Image(i))
	}
	for _, m := range shape.Media {
		kind := tokens.Document
		for k := tokens.Document; k <= tokens.Video; k++ {
			if k.String() == m.Kind {
				kind = k
			}
		}
		p.Media = append(p.Media, tokens.Media{Kind: kind, Bytes: m.Bytes, Pages: m.Pages, Millis: m.Millis})
	}
	return p, nil
}
