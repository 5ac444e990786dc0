//go:build !race

package escrow

import (
	"context"
	"testing"

	"keel/budget"
)

// TestAllocationsOfADecision has what a decision may cost in memory, with its intent in the journal, so that a change that costs more is noticed.
// Under the race detector sync.Pool forgets on purpose, so this is not built there.
func TestAllocationsOfADecision(t *testing.T) {
	for _, test := range []struct {
		name string
		docs budget.Documents
		most float64
	}{{"6 budgets", budget.Documents{}, 8}, {"and 20 policies", twentyPolicies(), 11}, {"and 5 targets", fiveTargets(twentyPolicies()), 14}} {
		r, decider, config := sixBudgets(t, test.docs)
		leased(t, r, decider, config)
		const calls = 200
		var made []*budget.Call
		for range calls + 1 {
			made = append(made, decidable())
		}
		// What the uploader needs meanwhile is not a decision's, and here is also what the bank of the test does: it is kept waiting.
		upload := &r.current.Load().upload
		upload.turn.Lock()
		if n := testing.AllocsPerRun(calls, func() {
			decider.Decide(context.Background(), config, made[0])
			made = made[1:]
		}); n > test.most {
			t.Errorf("%s: %v allocations a decision, of %v", test.name, n, test.most)
		} else {
			t.Logf("%s: %v allocations a decision", test.name, n)
		}
		upload.turn.Unlock()
	}
}
