package filter

import (
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/filter/wire"
	"keel/filter/wire/encoding"
	"keel/pricing/tokens"
)

// Call is one request by an application, from its headers to its closeout. Each
// phase fills the fields of its own section and reads those above. It belongs to
// the goroutine of its stream.
type Call struct {
	// Identified from the request headers.
	id       uuid.UUID
	at       time.Time
	config   *budget.Config // the one in force when the call came; it does not change under a call
	method   string
	host     string
	path     string
	encoding string // content-encoding of the request
	org      string
	subject  budget.Subject
	unkeyed  string // a label that asks for a pseudonym, of which this processor can make none
	provider string
	codec    wire.Codec // nil for unknown traffic
	dryRun   bool
	logged   bool      // its answer does not pass here: the access log ends it, see logged.go
	checked  bool      // of a logged call: ext_authz asks about it, and can change no more than its headers
	changer  bool      // of a checked call: a filter behind ext_authz can change its body, see change.go
	force    bool      // of a logged call: usage may be forced, though the event that tells it can't be hidden
	parent   [2]string // traceparent and tracestate
	remove   []string  // x-keel-* request headers, Keel's own
	admitted bool      // Envoy was told what to remove of its headers, and its name, and waits for its body to be decided

	// Decided from the request body.
	request   *wire.Request
	decision  *budget.Decision
	bodiless  bool           // answered at its headers
	retrieval bool           // fetches what an earlier call made
	beside    string         // of a logged call: what is billed, and is not in the usage that Envoy can read
	change    *carriedChange // of a checked call that has to pass the filter that changes it; else nil
	released  time.Time
	sent      bool // the answer that lets the call out was handed to Envoy

	// Observed in the response.
	status   int
	encoded  string // content-encoding of the response, "" for a plain one
	details  string // Envoy's response_code_details
	attempts int
	answered time.Time         // when the response headers came
	tries    []budget.Attempt  // as the filter in the cluster saw them
	decoder  *encoding.Decoder // nil for a plain body
	reader   wire.ResponseReader
	buffered bool   // Envoy holds the whole body, and the headers with it
	watch    *watch // nil for an answer that no policy watches
	fault    error
	size     int64 // of the answer, for a call that the access log ends
	ended    bool  // a terminal marker was seen

	closed bool
}

// slim drops what was needed until the call was let out: from here on it waits for its provider, and then for its client.
func (s *Server) slim(call *Call) {
	call.host, call.encoding, call.remove, call.subject = "", "", nil, nil // the decision has whose it is
	if s.spans == nil {                                                    // which tell of the whole decision, at its end
		call.decision.Written()
	}
}

// slimRequest drops what was needed of the request until the reader of its answer was made: what the prompt is made of, and the marks of its body,
// which are most of it. An answer that comes in one piece is not waited for.
func (call *Call) slimRequest() {
	if call.request.Stream {
		slim := *call.request
		slim.Prompt, slim.Marks = tokens.Prompt{}, nil
		call.request = &slim
	}
}
