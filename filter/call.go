package filter

import (
	"net/http"
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/filter/wire"
	"keel/filter/wire/encoding"
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
	remove   []string // x-keel-* request headers, Keel's own

	// Decided from the request body.
	request   *wire.Request
	decision  *budget.Decision
	bodiless  bool // answered at its headers
	retrieval bool // fetches what an earlier call made
	released  time.Time
	sent      bool // the answer that lets the call out was handed to Envoy

	// Observed in the response.
	status   int
	header   http.Header
	details  string // Envoy's response_code_details
	attempts int
	answered time.Time         // when the response headers came
	tries    []budget.Attempt  // as the filter in the cluster saw them
	decoder  *encoding.Decoder // nil for a plain body
	reader   wire.ResponseReader
	buffered bool   // Envoy holds the whole body, and the headers with it
	watch    *watch // nil for an answer that no policy watches
	fault    error
	ended    bool // a terminal marker was seen

	closed bool
}
