package replay_test

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/budget/audit/replay"
	"keel/budget/audit/sample"
	"keel/budget/audit/spend"
	"keel/budget/ledger"
	"keel/budget/ledger/pgserver"
	"keel/pricing"
)

func filled(t *testing.T, n int) string {
	t.Helper()
	dsn := pgserver.ForTest(t)
	if err := ledger.Migrate(t.Context(), dsn, nil); err != nil {
		t.Fatal(err)
	}
	if err := sample.Fill(t.Context(), dsn, n); err != nil {
		t.Fatal(err)
	}
	return dsn
}

func run(t *testing.T, dsn, documents string, since time.Time) (*replay.Report, []replay.Call) {
	t.Helper()
	docs, err := budget.ReadDocuments(strings.NewReader(documents), "test")
	if err != nil {
		t.Fatal(err)
	}
	config, err := budget.Compile(docs, pricing.Catalog())
	if err != nil {
		t.Fatal(err)
	}
	reader, err := spend.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var calls []replay.Call
	report, err := replay.Run(t.Context(), reader, replay.Options{Query: spend.Query{Org: sample.Org, Since: since}, Config: config, Documents: docs,
		Each: func(c *replay.Call) error {
			calls = append(calls, *c)
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	return report, calls
}

// Under the documents that they were decided by, calls are decided as they were, and cost what they cost.
func TestSameConfiguration(t *testing.T) {
	t.Parallel()
	dsn := filled(t, 220)
	report, calls := run(t, dsn, sample.Config, sample.Begin)
	if len(calls) != 221 {
		t.Fatalf("%d calls", len(calls))
	}
	for _, c := range calls {
		if c.Effect != replay.Same || c.Was.Action != c.Is.Action {
			t.Errorf("%s: %s, was %v, is %v: %s", c.ID, c.Effect, c.Was, c.Is, c.Reason)
		}
		if c.WasCost != c.IsCost && len(c.Approx) == 0 {
			t.Errorf("%s cost %s, and %s in the replay", c.ID, c.WasCost, c.IsCost)
		}
	}
	if report.Recorded == 0 {
		t.Error("nothing was spent")
	}
}

// What a limit lets through is what fits: no more is spent than it, and the sum of the calls that were let out is what the report says.
func TestLimitHolds(t *testing.T) {
	t.Parallel()
	dsn := filled(t, 220)
	limit, err := pricing.ParseUSD("0.3")
	if err != nil {
		t.Fatal(err)
	}
	documents := sample.Config + "---\nkind: Budget\norg: acme\nname: tight\nselector: {team: research}\nlimit: 0.3 USD\nwindow: month\n"
	report, calls := run(t, dsn, documents, sample.Begin)
	var research, denied, all pricing.NanoUSD
	for _, c := range calls {
		all += c.IsCost
		if c.Subject["team"] != "research" {
			continue
		}
		research += c.IsCost
		if c.Effect == replay.NowDenied {
			denied += c.WasCost
			if c.By != "Budget tight" || c.IsCost != 0 {
				t.Errorf("%s denied by %q, %s", c.ID, c.By, c.IsCost)
			}
		}
	}
	if research > limit || research < limit/2 || denied == 0 || all != report.Replayed || report.Recorded-report.Replayed < denied/2 {
		t.Errorf("research spent %s of %s, denied %s; report %+v", research, limit, denied, report.Sum)
	}
	// Begun in the middle of the month, what was spent in it before counts.
	later, _ := run(t, dsn, documents, sample.Begin.Add(20*time.Hour))
	for _, row := range later.Effects {
		if row.Effect == replay.NowDenied && row.Calls == 0 || later.CountedFrom != "2026-10-01T00:00:00Z" {
			t.Errorf("%+v", later)
		}
	}
	one, _ := json.Marshal(report)
	again, _ := run(t, dsn, documents, sample.Begin)
	if two, _ := json.Marshal(again); string(one) != string(two) {
		t.Error("two replays say two things")
	}
}

// A cap costs less, and says that it is approximated.
func TestCap(t *testing.T) {
	t.Parallel()
	dsn := filled(t, 110)
	_, calls := run(t, dsn, strings.Replace(sample.Config, "max_output_tokens: 2000", "max_output_tokens: 50", 1), sample.Begin)
	n := 0
	for _, c := range calls {
		if c.Subject["team"] == "support" && len(c.Approx) > 0 && c.Approx[0] == replay.OutputCut {
			if n++; c.IsCost >= c.WasCost || c.Is.Cap != 50 {
				t.Errorf("%s was %s, is %s with a cap of %d", c.ID, c.WasCost, c.IsCost, c.Is.Cap)
			}
		}
	}
	if n == 0 {
		t.Error("no output was cut")
	}
}

// The ledger in memory keeps a rolling window as a list of all calls does.
func TestRollingAgreesWithAList(t *testing.T) {
	type spent struct {
		end    time.Time
		amount pricing.NanoUSD
	}
	rng := rand.New(rand.NewPCG(1, 2))
	l := replay.NewAccounts()
	var list []spent
	at := sample.Begin
	window := time.Hour
	refused := 0
	for range 3000 {
		at = at.Add(time.Duration(rng.IntN(30)) * time.Second)
		start := at.Truncate(window / 60)
		a := budget.Account{Org: "acme", Budget: "b", WindowStart: start, WindowEnd: start.Add(window / 60), Rolling: window}
		amount := pricing.NanoUSD(1 + rng.IntN(50))
		var used pricing.NanoUSD
		for _, s := range list {
			if s.end.After(at.Add(-window)) {
				used += s.amount
			}
		}
		d := &budget.Decision{Call: budget.Call{ID: uuid.New(), At: at}, Holds: []budget.Hold{{Account: a, Amount: amount, Ceiling: 3000}}}
		err := l.Permit(context.Background(), d)
		var full *budget.Refused
		if want := used+amount > 3000; errors.As(err, &full) != want || full != nil && full.Standing.Settled+full.Standing.Held != used {
			t.Fatalf("at %s: %v, used %d", at, err, used)
		}
		if err != nil {
			refused++
			continue
		}
		list = append(list, spent{a.WindowEnd, amount})
		if rng.IntN(2) == 0 {
			l.CloseOut(&budget.Closeout{ID: d.ID, Cost: pricing.Cost{Total: amount}, CostKnown: true})
		}
	}
	if refused < 100 || refused > 2900 {
		t.Errorf("%d refused", refused)
	}
}
