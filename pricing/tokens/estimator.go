package tokens

import (
	"slices"
	"sync/atomic"
)

// version names this estimator's rules and figures in records. It changes whenever an
// uncorrected number can.
const version = "tokens/3"

// An Estimator estimates what requests will use: shipped facts about model
// families, corrected by what closeouts taught. It is safe for concurrent use.
type Estimator struct {
	calibration atomic.Pointer[calibration] // never nil
	lessons     lessons
}

// New returns an Estimator with the shipped facts that has learned nothing.
func New() *Estimator {
	e := new(Estimator)
	e.calibration.Store(new(calibration))
	return e
}

// Key is what corrections are learned by.
type Key struct {
	Provider string       `json:"provider"` // as routed
	Family   string       `json:"family"`   // of models that share a tokenizer and a template; "" where not known
	Class    RequestClass `json:"class"`
}

// RequestClass is the kind of a request as far as estimates differ by it.
type RequestClass string

// The classes of requests: the first that a request fits, from below.
const (
	ClassText   RequestClass = "text"
	ClassSchema RequestClass = "schema" // text with an output schema
	ClassTools  RequestClass = "tools"  // with function tools
	ClassImages RequestClass = "images" // with inline images
	ClassMedia  RequestClass = "media"  // with inline audio, video or documents
	ClassHosted RequestClass = "hosted" // the provider adds what the request does not show
	ClassTask   RequestClass = "task"   // anything but generating text: embeddings, images, …
)

// RequestClass returns the class of p.
func (p *Prompt) RequestClass() RequestClass {
	switch {
	case p.Task != Generate:
		return ClassTask
	case p.Hosted != "":
		return ClassHosted
	case len(p.Media) > 0:
		return ClassMedia
	case len(p.Images) > 0:
		return ClassImages
	case p.Tools > 0 || p.has(ToolSchema):
		return ClassTools
	case p.has(Schema):
		return ClassSchema
	}
	return ClassText
}

// has reports whether there is a segment of that class; what was counted is known after Release.
func (p *Prompt) has(class Class) bool {
	for _, m := range p.counts {
		if m != nil {
			return m.segments[class] > 0
		}
	}
	return slices.ContainsFunc(p.Segments, func(s Segment) bool { return s.Class == class })
}

// Input is an estimate of input tokens.
type Input struct {
	Expected int64     `json:"expected"` // likely
	Bound    int64     `json:"bound"`    // at most, as far as Kind goes; never below Expected
	Kind     BoundKind `json:"kind"`
	Method   string    `json:"method"` // version of the rules, and of the calibration where it changed a number

	// What Learn needs: the key of the correction, and Expected and Bound before it.
	Key         Key   `json:"key"`
	Uncorrected int64 `json:"uncorrected"`
	Shipped     int64 `json:"shipped_bound"`
}

// Output is an estimate of output tokens of all choices together, reasoning included.
type Output struct {
	Expected int64     `json:"expected"` // the mean, which is what many calls cost on average; never above Bound
	P50      int64     `json:"p50"`      // half of such calls are at most this
	P90      int64     `json:"p90"`
	P99      int64     `json:"p99"`
	Bound    int64     `json:"bound"`
	Kind     BoundKind `json:"kind"`
	Method   string    `json:"method"`

	Key     Key   `json:"key"`
	Choices int64 `json:"choices"`
}
