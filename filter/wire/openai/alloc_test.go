//go:build !race

package openai

import (
	"testing"

	"keel/filter/wire"
)

// TestNoAllocationAnEvent: reading a delta costs no memory once buffers stand. Under
// the race detector sync.Pool forgets on purpose, so it is not built there.
func TestNoAllocationAnEvent(t *testing.T) {
	reader := Chat{}.NewReader(&wire.Request{Stream: true, Choices: 1, UsageForced: true}, 200, eventStream)
	chunk := []byte(delta)
	reader.Feed(chunk, false)
	if n := testing.AllocsPerRun(1000, func() { reader.Feed(chunk, false) }); n >= 1 {
		t.Errorf("%v allocations an event", n)
	}
}
