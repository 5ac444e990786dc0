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
	bank := newModel()
	var docs budget.Documents
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
	decider := &budget.Decider{Ledger: silent{r}, Estimator: tokens.New()}
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
		if _, d := one(); d.Action != budget.Allow || len(d.Holds) != 6 {
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

// silent has no access log.
type silent struct{ *Replica }

func (silent) Annotate(budget.Annotation) {}
