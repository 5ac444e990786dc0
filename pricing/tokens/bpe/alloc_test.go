//go:build !race

package bpe

import (
	"encoding/json"
	"testing"

	"keel/pricing/tokens/bpe/sample"
)

// TestAllocations is not built under the race detector, where sync.Pool forgets on purpose.
func TestAllocations(t *testing.T) {
	v := O200k()
	text := sample.English(30_000)
	quoted, err := json.Marshal(string(text))
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func(){
		"Count":     func() { v.Count(text) },
		"CountJSON": func() { v.CountJSON(quoted) },
		"Segment":   func() { v.Segment(quoted) },
	} {
		if n := testing.AllocsPerRun(50, f); n >= 1 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
