package ledger

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"keel/budget"
	"keel/pricing"
)

// modelCall is what the model remembers of a decision.
type modelCall struct {
	decision *budget.Decision
	settled  pricing.NanoUSD // in each account, when closed
	closed   bool
	presumed bool
	full     bool // settled at each account's own hold
}

// TestLedgerFollowsItsModel runs random histories of permits, debts,
// closeouts, orphans and repeats against a model in Go.
func TestLedgerFollowsItsModel(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	l := open(t, dsn, testOptions())
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		names := []string{fmt.Sprint("x", run), fmt.Sprint("y", run), fmt.Sprint("z", run)}
		limits := map[string]pricing.NanoUSD{}
		for _, n := range names {
			limits[n] = pricing.NanoUSD(rapid.IntRange(0, 12).Draw(rt, "limit"))
		}
		var calls []*modelCall
		standing := func(name string) (s budget.Standing) {
			for _, c := range calls {
				for _, h := range c.decision.Holds {
					switch {
					case h.Budget != name:
					case !c.closed:
						s.Held += h.Amount
					case c.full:
						s.Settled += h.Amount
					default:
						s.Settled += c.settled
					}
				}
			}
			return s
		}
		drawn := func(rt *rapid.T) *budget.Decision {
			var holds []budget.Hold
			for _, n := range rapid.Permutation(names).Draw(rt, "order")[:rapid.IntRange(1, 3).Draw(rt, "budgets")] {
				holds = append(holds, hold(n, pricing.NanoUSD(rapid.IntRange(0, 5).Draw(rt, "amount")), limits[n]))
			}
			return decision(holds...)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"permit": func(rt *rapid.T) {
				d := drawn(rt)
				want := ""
				for _, h := range d.Holds {
					if s := standing(h.Budget); s.Settled+s.Held+h.Amount > h.Ceiling {
						want = h.Budget
						break
					}
				}
				err := l.Permit(t.Context(), d)
				var r *budget.Refused
				switch {
				case err == nil && want == "":
					calls = append(calls, &modelCall{decision: d})
				case errors.As(err, &r) && r.Hold.Budget == want && r.Standing == standing(want):
				default:
					rt.Fatalf("Permit: %v, want refused by %q at %+v", err, want, standing(want))
				}
			},
			"debt": func(rt *rapid.T) {
				d := drawn(rt)
				d.Debt = true
				calls = append(calls, &modelCall{decision: d})
				l.Record(d)
				flush(t, l)
			},
			"close": func(rt *rapid.T) {
				if len(calls) == 0 {
					rt.Skip()
				}
				c := rapid.SampledFrom(calls).Draw(rt, "call")
				out := closeout(c.decision, pricing.NanoUSD(rapid.IntRange(0, 7).Draw(rt, "cost")))
				out.CostKnown = rapid.Bool().Draw(rt, "known")
				if !out.CostKnown {
					out.Cost = pricing.Cost{}
				}
				orphan := rapid.Bool().Draw(rt, "orphan")
				if orphan {
					out.Outcome = budget.Orphaned
				}
				if !c.closed || c.presumed && !orphan {
					c.closed, c.presumed, c.full, c.settled = true, orphan, !out.CostKnown, out.Cost.Total
				}
				for range rapid.IntRange(1, 2).Draw(rt, "times") {
					l.CloseOut(out)
				}
				flush(t, l)
			},
			"": func(rt *rapid.T) {
				for _, n := range names {
					var got budget.Standing
					if err := l.back.QueryRow(t.Context(), "select coalesce(sum(settled_n), 0)::bigint, coalesce(sum(held_n), 0)::bigint from keel.accounts where budget = $1", n).
						Scan(&got.Settled, &got.Held); err != nil {
						rt.Fatal(err)
					}
					if want := standing(n); got != want {
						rt.Fatalf("account %s: %+v, want %+v", n, got, want)
					}
				}
			},
		})
	})
}
