package escrow

import (
	"context"
	"fmt"
	"log/slog"
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
// the journal, in six budgets, and its closeout: 5,000 a second, one after the other. The bank is a model,
// which counts how often it was asked while a call waited: never.
func BenchmarkDecide(b *testing.B) {
	b.Run("6 budgets", func(b *testing.B) { benchDecide(b, budget.Documents{}) })
	b.Run("and 20 policies and 5 targets", func(b *testing.B) { benchDecide(b, rules()) })
}

// rules are policies of which two match the call, and a route that takes it.
func rules() (docs budget.Documents) {
	policy := func(when string, do budget.PolicyAction) {
		name := fmt.Sprintf("policy-%02d", len(docs.Policies))
		docs.Policies = append(docs.Policies, budget.Policy{Meta: budget.Meta{Name: name, Version: 1}, When: when, Do: do})
	}
	policy(`subject.team == "research" && request.bound_cost > usd("5")`, budget.PolicyAction{Deny: "too dear"})
	policy(`request.model.startsWith("gpt-4o") && request.input_tokens > 10`, budget.PolicyAction{MaxOutputTokens: 400})
	policy(`budgets["budget-1"].used_percent >= 0 && request.stream == false`, budget.PolicyAction{Warn: "nearly spent"})
	for i := range 17 {
		policy(fmt.Sprintf(`subject.team == "team-%d" && request.model in ["gpt-5", "o3"] && request.input_tokens > 1000`, i), budget.PolicyAction{Deny: "no"})
	}
	route := budget.Route{Meta: budget.Meta{Name: "route", Version: 1}, Models: []string{"gpt-4o*"}, Mode: budget.PreferCheap, MinQuality: "0.5"}
	for _, model := range []string{"gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-5"} {
		route.Targets = append(route.Targets, budget.Target{Provider: "openai", Model: model, Quality: "0.8"})
	}
	docs.Routes = append(docs.Routes, route)
	return docs
}

func benchDecide(b *testing.B, docs budget.Documents) {
	bank := newModel()
	for i := range 6 {
		name := fmt.Sprint("budget-", i)
		bank.ceilings[name] = 1 << 60
		docs.Budgets = append(docs.Budgets, budget.Budget{
			Meta: budget.Meta{Name: name, Version: 1}, Limit: 1_000_000_000_000_000_000, Window: "month", Mode: budget.Enforce,
			Selector: []map[string]string{nil, {"team": "research"}, {"user": "ada"}, {"app": "ide"}, {"model": "gpt-4o*"}, {"provider": "openai"}}[i],
		})
	}
	config, err := budget.Compile(docs, pricing.Catalog())
	if err != nil {
		b.Fatal(err)
	}
	folder, err := journal.Open(b.TempDir(), journal.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	r, err := Open(folder, bank, Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Kill()
	decider := &budget.Decider{Ledger: silent{r}, Estimator: tokens.New(), Health: budget.NewHealth()}
	text := []byte(`"` + strings.Repeat("a word and another ", 100) + `"`)
	call := func() *budget.Call {
		return &budget.Call{
			ID: uuid.Must(uuid.NewV7()), At: time.Now(), Subject: budget.Subject{"org": "default", "team": "research", "user": "ada", "app": "ide"},
			API: "openai.chat", Provider: "openai", Model: "gpt-4o-mini", Path: "/v1/chat/completions", MaxOutputTokens: 500, Choices: 1,
			Prompt: &tokens.Prompt{Messages: 1, Segments: []tokens.Segment{{JSON: text}}},
		}
	}
	one := func() (time.Duration, *budget.Decision) {
		c := call()
		began := time.Now()
		d := decider.Decide(context.Background(), config, c)
		return time.Since(began), d
	}
	for range 100 { // slices are leased
		if _, d := one(); d.Action == budget.Deny || len(d.Holds) != 6 {
			b.Fatalf("%s, %d holds: %s", d.Action, len(d.Holds), d.Reason)
		}
		time.Sleep(time.Millisecond)
	}
	var took []time.Duration
	b.ReportAllocs()
	next := time.Now()
	for b.Loop() {
		for time.Now().Before(next) { // not asleep: a processor that serves 5,000 calls a second is not, either
		}
		next = next.Add(200 * time.Microsecond)
		t, d := one()
		took = append(took, t)
		r.CloseOut(&budget.Closeout{ID: d.ID, Org: d.Org, At: time.Now(), Outcome: budget.Complete, CostKnown: true, Cost: pricing.Cost{Total: d.Estimate.Expected}})
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
