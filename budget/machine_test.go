package budget

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"keel/pricing"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

// spending runs calls of all kinds against a ledger, and keeps what should be.
type spending struct {
	cfg     *Config
	ledger  *memoryLedger
	decider *Decider
	open    []*Decision
	denied  int

	extended map[uuid.UUID][]pricing.NanoUSD
}

const machineConfig = testPrices + `
kind: Budget
name: all
limit: 0.30 USD
window: lifetime
tiers: [{at: 50%, do: prefer-cheap}, {at: 90%, do: deny}]
---
kind: Budget
name: per-user
selector: {team: research}
limit: 0.05 USD
window: month
per: [user]
---
kind: Budget
name: large
selector: {model: gpt-4.1}
limit: 0.08 USD
window: day
---
kind: Budget
name: watched
limit: 0.01 USD
window: hour
mode: observe
---
kind: Policy
name: cap
when: request.max_output_tokens == 0
do: {constrain: {max_output_tokens: 800}}
---
kind: Route
name: chat
models: [chat, gpt-4.1]
mode: prefer-cheap
min_quality: 0.5
targets:
  - {provider: openai, model: gpt-4.1, quality: 1}
  - {provider: openai, model: gpt-4.1-mini, quality: 0.6}
`

func (s *spending) decide(t *rapid.T) {
	call := &Call{
		ID: uuid.New(), Org: DefaultOrg, At: testTime, API: "openai.chat", Provider: "openai",
		Subject:         Subject{"team": rapid.SampledFrom([]string{"research", "sales"}).Draw(t, "team"), "user": rapid.SampledFrom([]string{"ada", "bob", ""}).Draw(t, "user")},
		Model:           rapid.SampledFrom([]string{"chat", "gpt-4.1", "gpt-4.1-nano", "gpt-unheard-of"}).Draw(t, "model"),
		MaxOutputTokens: rapid.SampledFrom([]int64{0, 1, 500, 3000}).Draw(t, "max"), Choices: rapid.Int64Range(1, 2).Draw(t, "choices"),
		Prompt: &tokens.Prompt{TokenIDs: rapid.Int64Range(1, 4000).Draw(t, "prompt")},
	}
	before := fmt.Sprint(s.ledger.accounts)
	preview := s.decider.Preview(s.cfg, call)
	d := s.decider.Decide(context.Background(), s.cfg, call)
	if preview.Action != d.Action || preview.RoutedModel != d.RoutedModel {
		t.Fatalf("the preview said %s %s, the decision %s %s", preview.Action, preview.RoutedModel, d.Action, d.RoutedModel)
	}
	if d.Action == Deny {
		if fmt.Sprint(s.ledger.accounts) != before {
			t.Fatalf("a denied call left a hold: %s", d.Reason)
		}
		s.denied++
		return
	}
	if d.Estimate.Unpriced != "" {
		t.Fatalf("an enforcing budget let a call without a price through")
	}
	s.open = append(s.open, d)
}

// extend sets more aside for a call, as far as there is room.
func (s *spending) extend(t *rapid.T) {
	if len(s.open) == 0 {
		t.Skip("no open call")
	}
	d := rapid.SampledFrom(s.open).Draw(t, "which")
	more := make([]pricing.NanoUSD, len(d.Holds))
	for i := range more {
		more[i] = pricing.NanoUSD(rapid.Int64Range(0, 20_000_000).Draw(t, "more"))
	}
	before := fmt.Sprint(s.ledger.accounts)
	err := s.ledger.Extend(context.Background(), d.ID, more)
	if err != nil && fmt.Sprint(s.ledger.accounts) != before {
		t.Fatalf("an extension that was refused left a hold: %v", err)
	}
	if err == nil {
		s.extended[d.ID] = sums(s.extended[d.ID], more)
	}
}

func sums(a, b []pricing.NanoUSD) []pricing.NanoUSD {
	for i := range a {
		b[i] += a[i]
	}
	return b
}

// close ends a call at a usage within what was held.
func (s *spending) close(t *rapid.T) {
	if len(s.open) == 0 {
		t.Skip("no open call")
	}
	i := rapid.IntRange(0, len(s.open)-1).Draw(t, "which")
	d := s.open[i]
	s.open = append(s.open[:i], s.open[i+1:]...)
	c := &Closeout{ID: d.ID, Org: d.Org, At: testTime, Outcome: Complete, Attempts: 1}
	said := &Reported{Model: rapid.SampledFrom([]string{"", d.RoutedModel, "unheard-of"}).Draw(t, "reported")}
	switch rapid.IntRange(0, 3).Draw(t, "end") {
	case 0:
		d.ChargeHeld(c)
	case 1:
		d.ChargeSeen(c, s.cfg, said, rapid.Int64Range(0, 20_000).Draw(t, "bytes"))
	default:
		in := rapid.Int64Range(0, d.Estimate.InputTokensBound).Draw(t, "input")
		cached := rapid.Int64Range(0, in).Draw(t, "cached")
		out := rapid.Int64Range(0, d.Estimate.OutputTokensBound).Draw(t, "output")
		reasoning := rapid.Int64Range(0, out).Draw(t, "reasoning")
		said.Usage = &meter.Usage{meter.Input: in - cached, meter.CachedInput: cached, meter.Output: out - reasoning, meter.Reasoning: reasoning}
		d.ChargeUsage(c, s.cfg, said)
	}
	if c.CostKnown && c.Cost.Total > d.Estimate.Bound {
		t.Fatalf("cost %s is above the bound %s", c.Cost.Total, d.Estimate.Bound)
	}
	s.ledger.CloseOut(c)
	s.ledger.CloseOut(c) // closing twice changes nothing
}

// check is what holds after every step: no enforced budget is above its
// ceiling, and what is held is what the open calls hold.
func (s *spending) check(t *rapid.T) {
	held := make(map[Account]pricing.NanoUSD)
	for _, d := range s.open {
		if len(d.Holds) == 0 {
			t.Fatalf("an open call holds nothing")
		}
		for i, h := range d.Holds {
			if held[h.Account] += h.Amount; s.extended[d.ID] != nil {
				held[h.Account] += s.extended[d.ID][i]
			}
		}
	}
	for account, standing := range s.ledger.accounts {
		if standing.Held != held[account] {
			t.Fatalf("%s holds %s; the open calls hold %s", account.Budget, standing.Held, held[account])
		}
		if standing.Settled < 0 || standing.Held < 0 {
			t.Fatalf("%s: %+v", account.Budget, standing)
		}
		ceiling := map[string]string{"all": "0.27", "per-user": "0.05", "large": "0.08"}[account.Budget]
		if ceiling == "" {
			continue
		}
		if limit, err := pricing.ParseUSD(ceiling); err != nil || standing.Settled+standing.Held > limit {
			t.Fatalf("%s %s: %s settled and %s held are above %s", account.Budget, account.Key, standing.Settled, standing.Held, ceiling)
		}
	}
}

func TestSpendingStaysWithinLimits(t *testing.T) {
	t.Parallel()
	cfg := compiled(t, machineConfig)
	denied := 0
	rapid.Check(t, func(t *rapid.T) {
		s := &spending{cfg: cfg, ledger: newMemoryLedger(), extended: map[uuid.UUID][]pricing.NanoUSD{}}
		s.decider = &Decider{Ledger: s.ledger, Estimator: tokens.New()}
		t.Repeat(map[string]func(*rapid.T){"": s.check, "decide": s.decide, "decide again": s.decide, "extend": s.extend, "close": s.close})
		denied += s.denied
	})
	if denied == 0 {
		t.Error("nothing was ever denied: the limits were not reached")
	}
}
