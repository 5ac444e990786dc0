package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// furtherChunk is what each chunk of an answer costs a variant beyond the first: what a call of many takes more than one whose answer comes in one
// piece, which has the cost of the call itself in it. The two are of different loads, so it is about that. It is 0 where one of them was not measured.
func (r *report) furtherChunk(variant string) time.Duration {
	streamed, whole := r.results.of(streamCell, variant), r.results.of(wholeCell, variant)
	if len(streamed) == 0 || len(whole) == 0 {
		return 0
	}
	return max(0, middle(streamed, figures.cpu)-middle(whole, figures.cpu)) / (sseChunks - 1)
}

// writeChunks says what a chunk costs without the call that it is of, which the limits have in.
func (r *report) writeChunks(w io.Writer) {
	var said []string
	for _, c := range [][2]string{{"full", "nothing-log"}, {"fast", "envoy-usage-log"}, {"fast", "envoy-read-log"}} {
		if above, below := r.furtherChunk(c[0]), r.furtherChunk(c[1]); above > 0 && below > 0 {
			said = append(said, fmt.Sprintf("`%s` takes %s µs for it, %.2f of the %s µs of `%s`", c[0], microseconds(above), float64(above)/float64(below), microseconds(below), c[1]))
		}
	}
	if len(said) > 0 {
		fmt.Fprintf(w, "\nThe limits of a chunk have a share of the call in them. A further chunk by itself: %s.\n", strings.Join(said, "; "))
	}
}
