package escrow

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/budget/ledger/journal"
	"keel/pricing"
	"keel/pricing/tokens"
)

// BenchmarkDecide is a call from the parsed request to the decision with its intent in
// the journal, and its closeout, with the documents of e2e/bench and a text that nobody has sent: 5,000 a second, one after
// the other. The bank is a model, which counts how often it was asked while a call waited: never.
//
// Cold is with caches that have seen other things since the last call, as beside a gateway and a database on the same processors.
func BenchmarkDecide(b *testing.B) {
	for _, cold := range []bool{false, true} {
		name := map[bool]string{false: "warm", true: "cold"}[cold]
		b.Run("6 budgets/"+name, func(b *testing.B) { benchDecide(b, budget.Documents{}, cold) })
		b.Run("and 20 policies/"+name, func(b *testing.B) { benchDecide(b, twentyPolicies(), cold) })
		b.Run("and 5 targets/"+name, func(b *testing.B) { benchDecide(b, fiveTargets(twentyPolicies()), cold) })
	}
}

// twentyPolicies are policies of which two match the call, as in e2e/bench.
func twentyPolicies() (docs budget.Documents) {
	policy := func(when string, do budget.PolicyAction) {
		name := fmt.Sprintf("policy-%02d", len(docs.Policies))
		docs.Policies = append(docs.Policies, budget.Policy{Meta: budget.Meta{Name: name, Version: 1}, When: when, Do: do})
	}
	policy(`subject.team == "research" && request.bound_cost > usd("500")`, budget.PolicyAction{Deny: "too dear"})
	policy(`request.model.startsWith("gpt-5") && request.input_tokens > 10`, budget.PolicyAction{Tag: map[string]string{"size": "some"}})
	policy(`budgets["budget-1"].used_percent >= 0 && request.choices < 2`, budget.PolicyAction{Warn: "budget-1 is in use"})
	for i := range 17 {
		policy(fmt.Sprintf(`subject.team == "team-%d" && request.model in ["gpt-5", "o3"] && request.input_tokens > 1000`, i), budget.PolicyAction{Deny: "no"})
	}
	return docs
}

// fiveTargets adds a route that takes the call.
func fiveTargets(docs budget.Documents) budget.Documents {
	route := budget.Route{Meta: budget.Meta{Name: "five", Version: 1}, Models: []string{"gpt-5*"}, Mode: budget.PreferCheap, MinQuality: "0.5"}
	for _, model := range []string{"gpt-5-mini", "gpt-5", "gpt-4.1", "gpt-4o", "o3"} {
		route.Targets = append(route.Targets, budget.Target{Provider: "openai", Model: model, Quality: "0.8"})
	}
	docs.Routes = append(docs.Routes, route)
	return docs
}

// sixBudgets opens a replica and a configuration with six budgets that enforce and match decidable calls.
func sixBudgets(t testing.TB, docs budget.Documents) (*Replica, *budget.Decider, *budget.Config) {
	bank := newModel()
	for i := range 6 {
		name := fmt.Sprint("budget-", i)
		bank.ceilings[name] = 1 << 60
		docs.Budgets = append(docs.Budgets, budget.Budget{
			Meta: budget.Meta{Name: name, Version: 1}, Limit: 1_000_000_000_000_000_000, Window: "month", Mode: budget.Enforce,
			Selector: []map[string]string{nil, {"team": "research"}, {"user": "ada"}, {"app": "ide"}, {"model": "gpt-5*"}, {"provider": "openai"}}[i],
		})
	}
	config, err := budget.Compile(docs, pricing.Catalog())
	if err != nil {
		t.Fatal(err)
	}
	folder, err := journal.Open(t.TempDir(), journal.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(folder, bank, Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Kill() })
	return r, &budget.Decider{Ledger: silent{r}, Estimator: tokens.New(), Health: budget.NewHealth()}, config
}

// decidable is a chat request of 1 KB that nobody has sent.
func decidable() *budget.Call {
	message := func() tokens.Segment {
		var text strings.Builder
		fmt.Fprintf(&text, "\"%016x", rand.Uint64())
		for text.Len() < 500 {
			text.WriteString(" " + benchWords[rand.IntN(len(benchWords))])
		}
		return tokens.Segment{JSON: []byte(text.String() + "\"")}
	}
	return &budget.Call{
		ID: uuid.Must(uuid.NewV7()), Org: "default", At: time.Now(), Subject: budget.Subject{"team": "research", "user": "ada", "app": "ide"},
		API: "openai.chat", Provider: "openai", Model: "gpt-5-mini", Path: "/v1/chat/completions", MaxOutputTokens: 200, Choices: 1,
		Prompt: &tokens.Prompt{Messages: 2, System: true, Segments: []tokens.Segment{message(), message()}},
	}
}

var benchWords = strings.Fields("the budget of a team is what it may spend in a window, and every call holds what it can cost at most before a provider sees it; " +
	"policies (there are 20) say what is denied or constrained, and a `route` says where it goes instead of where it was asked to go: 100 USD, 2026-11-27.")

// closed ends a call at what was expected.
func closed(r *Replica, d *budget.Decision) {
	r.CloseOut(&budget.Closeout{ID: d.ID, Org: d.Org, At: time.Now(), Outcome: budget.Complete, CostKnown: true, Cost: pricing.Cost{Total: d.Estimate.Expected}})
}

// leased has slices leased for calls.
func leased(t testing.TB, r *Replica, decider *budget.Decider, config *budget.Config) {
	for range 100 {
		d := decider.Decide(context.Background(), config, decidable())
		if d.Action == budget.Deny || len(d.Holds) != 6 {
			t.Fatalf("%s, %d holds: %s", d.Action, len(d.Holds), d.Reason)
		}
		closed(r, d)
		time.Sleep(time.Millisecond)
	}
}

func benchDecide(b *testing.B, docs budget.Documents, cold bool) {
	r, decider, config := sixBudgets(b, docs)
	leased(b, r, decider, config)
	others := make([]byte, 8<<20) // more than the caches near a processor
	var took []time.Duration
	b.ReportAllocs()
	next := time.Now()
	for b.Loop() {
		call := decidable()
		for time.Now().Before(next) { // not asleep: a processor that serves 5,000 calls a second is not, either
		}
		next = next.Add(200 * time.Microsecond)
		if cold {
			for i := 0; i < len(others); i += 64 {
				others[i]++
			}
		}
		began := time.Now()
		d := decider.Decide(context.Background(), config, call)
		took = append(took, time.Since(began))
		closed(r, d)
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2])/1e3, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100])/1e3, "p99-µs")
	b.ReportMetric(float64(r.counts.slow.Load()), "round-trips")
}

// BenchmarkExtend is a step of a stream whose cost passes its hold, in six budgets, beside a permit of the same
// holds with its closeout. The slices have room.
func BenchmarkExtend(b *testing.B) {
	for name, extends := range map[string]bool{"permit and closeout": false, "extend": true} {
		b.Run(name, func(b *testing.B) { benchExtend(b, extends) })
	}
}

func benchExtend(b *testing.B, extends bool) {
	bank := newModel()
	folder, err := journal.Open(b.TempDir(), journal.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	r, err := Open(folder, bank, Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Kill()
	more := make([]pricing.NanoUSD, 6)
	decision := func(amount pricing.NanoUSD) *budget.Decision {
		d := &budget.Decision{Call: budget.Call{ID: uuid.Must(uuid.NewV7()), Org: "acme", At: time.Now()}, Action: budget.Allow}
		for i := range more {
			name := fmt.Sprint("budget-", i)
			bank.ceilings[name], more[i] = 1<<60, 1
			d.Holds = append(d.Holds, budget.Hold{Account: budget.Account{Org: "acme", Budget: name}, Amount: amount, Ceiling: 1 << 60, Limit: 1 << 60, Mode: budget.Enforce})
		}
		return d
	}
	permit := func(d *budget.Decision) {
		if err := r.Permit(context.Background(), d); err != nil {
			b.Fatal(err)
		}
	}
	end := func(d *budget.Decision) {
		r.CloseOut(&budget.Closeout{ID: d.ID, Org: d.Org, At: time.Now(), Outcome: budget.Complete, CostKnown: true, Cost: pricing.Cost{Total: 1}})
	}
	large, d := decision(1<<40), decision(1)
	permit(large)
	end(large) // leaves slices that last
	permit(d)
	time.Sleep(100 * time.Millisecond)
	slow := r.counts.slow.Load()
	b.ReportAllocs()
	for b.Loop() {
		if extends {
			if err := r.Extend(context.Background(), d.ID, more); err != nil {
				b.Fatal(err)
			}
			continue
		}
		next := *d
		next.ID[15]++
		d.ID = next.ID
		permit(&next)
		end(&next)
	}
	b.ReportMetric(float64(r.counts.slow.Load()-slow), "round-trips")
}

// silent has no access log.
type silent struct{ *Replica }

func (silent) Annotate(budget.Annotation) {}
