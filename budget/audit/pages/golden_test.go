package pages

import (
	"flag"
	"math/big"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"keel/budget/audit/answers"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// dollarsOf is an amount of a test.
func dollarsOf(nano int64) usd { return usd{big.NewInt(nano)} }

// Pages of given facts are the same bytes: what people and their tools see is a matter of decision.
func TestGoldenPages(t *testing.T) {
	t.Parallel()
	s := server(t, "postgres://127.0.0.1:1/nowhere", everybody)
	day := func(d, hour int) time.Time { return time.Date(2026, 11, d, hour, 0, 0, 0, time.UTC) }
	start, end, pending := day(1, 0), day(31, 0), int64(4)
	full := &budgetRow{Name: "research-month", Window: "month", Timezone: "Europe/Berlin", Mode: "enforce", Selector: "team: research", Version: 3, UpdatedAt: day(2, 9), UpdatedBy: "ada", Pending: &pending,
		Start: &start, End: &end, Limit: dollarsOf(2_500_000_000_000), Spent: dollarsOf(1_900_000_000_001), Held: dollarsOf(12_500_000_000), Leased: dollarsOf(50_000_000_000), Left: dollarsOf(587_499_999_999),
		Tiers: []tier{{"75%", "warn"}, {"90%", "prefer-cheap"}}, Forecast: made{dollarsOf(3_000_000_000_000), "spent ÷ 19.0 days × 30.0 days"}}
	full.Bar = newBar(full)
	each := &budgetRow{Name: "each-user", Window: "rolling 24h", Timezone: "UTC", Mode: "observe", Per: []string{"user"}, Version: 1, UpdatedAt: day(1, 0), UpdatedBy: "<script>", Start: &start,
		Limit: dollarsOf(50_000_000), Spent: dollarsOf(60_000_000), Held: dollarsOf(0), Leased: dollarsOf(0), Left: dollarsOf(-10_000_000), Forecast: made{How: "a rolling window has no end"},
		Accounts: []accountRow{{"user=ada", dollarsOf(40_000_000), dollarsOf(0), dollarsOf(10_000_000), 800}}, More: 7}
	total := sums{Calls: 12_345, Denied: 45, Unmetered: 1, Closed: 12_290, Estimated: 30, Unknown: 2, Cost: dollarsOf(1_234_567_890_123), EstimatedCost: dollarsOf(1_000_000)}
	behind := day(26, 18)
	paper := &statement{Month: day(1, 0), Total: total, Days: []daySums{{day(1, 0), total}}, Teams: []teamSums{{"research", 1, total}, {"", 1, sums{Cost: dollarsOf(0), EstimatedCost: dollarsOf(0)}}}, Rest: &teamSums{Count: 9, sums: total},
		Models: []modelSums{{Provider: "openai", Model: "gpt-5", sums: total, Meters: []meterSums{{"input", "12000000", dollarsOf(1_000_000_000_000)}, {"without_usage", "0", dollarsOf(234_567_890_123)}}}},
		Meters: []meterSums{{"input", "12000000", dollarsOf(1_000_000_000_000)}}, Chart: newColumns(day(1, 0), map[int]usd{1: total.Cost, 2: dollarsOf(600_000_000_000), 3: dollarsOf(1)}), Behind: &behind, Before: "/before", After: "/after",
		TrueUps: &trueUps{Count: 3, Sum: dollarsOf(-499_999_999), Total: dollarsOf(1_234_067_890_124),
			Rows: []trueUpRow{{"openai", "gpt-5", "price_difference", 2, dollarsOf(-500_000_000)}, {"anthropic", "", "rounding", 1, dollarsOf(1)}}}}
	id := uuid.MustParse("019aaf00-0000-7000-8000-000000000002")
	changed := day(2, 9)
	run := &reconcileRun{ID: id, At: day(26, 9), Since: day(1, 0), Until: day(8, 0), Actor: "ada", File: "bill & co.csv", Provider: "openai", Timezone: "Europe/Berlin",
		Recorded: dollarsOf(2_000_000_015), Stated: dollarsOf(2_000_000_000), Variance: dollarsOf(-15), Accepted: dollarsOf(0), Cells: 2}
	for _, p := range []struct {
		name, title string
		body        any
	}{
		{"budgets", "Budgets now", []*budgetRow{each, full}},
		{"statement", "Statement", paper},
		{"decisions", "Decisions", &decisionList{Filters: []filter{{Name: "team", Label: "Team", Value: `a"b`}, {Name: "action", Label: "Decision", Value: "deny", Options: []string{"allow", "deny"}}}, Filtered: true, Older: "/older",
			Rows: []decisionRow{{ID: id, At: day(26, 18), Team: "research", User: "ada", Requested: "gpt-5", Provider: "openai", Sent: "gpt-5-mini", Action: "substitute", Outcome: "open", Estimated: dollarsOf(5_000), Metered: "none"},
				{ID: id, At: day(26, 17), Requested: "<i>", Action: "deny", Outcome: "denied", Estimated: usd{}, Cost: dollarsOf(0), Metered: "none"}}}},
		{"decision", "Decision", &decisionPage{Answers: &answers.Answers{Decision: id.String(), At: day(26, 18), Facts: []answers.Line{{Name: "who", Text: "org=acme team=research"}}},
			Questions: []question{{answers.AskEstimated, []answers.Line{{Name: "expected", Text: "$0.000005", Note: "3 input + 100 output tokens"}}}, {answers.AskRules, []answers.Line{{Name: "none"}}}},
			Rules:     []ruleText{{Kind: "Budget", Name: "research-month", Version: 3, ChangedBy: "ada", ChangedAt: &changed, Document: []field{{"limit_usd", "2500"}}}}, Record: "{}"}},
		{"history", "Configuration history", &history{Filters: []filter{{Name: "kind", Label: "Kind", Options: kinds}}, Newest: "/newest",
			Changes: []change{{Revision: 9, Version: 3, Kind: "Budget", Name: "research-month", Op: "update", At: changed, By: "ada", Fields: []difference{{Name: "limit_usd", Before: "2000", After: "2500"}}}}}},
		{"pressure", "Routing pressure", &pressurePage{By: "route", Since: "day", Bys: []string{"route", "team"}, Sinces: []string{"day", "week"},
			Rows: []pressureRow{{Name: "large", Calls: 12, Substituted: 3, Unpriced: 1, Asked: dollarsOf(100), Routed: dollarsOf(60), Cheap: dollarsOf(40), Enforce: dollarsOf(30), Saved: dollarsOf(40), Left: dollarsOf(20), SavedAt: 400, LeftAt: 200}}}},
		{"reconciliation", "Reconciliation", &reconciliation{Since: day(19, 18), Runs: []reconcileRun{*run}, Shown: run, Causes: []causeRow{{"rounding", 2, dollarsOf(-15)}}, Stated: []statedRow{{"openrouter", "gpt-5", 12, "0.00123456789012", dollarsOf(1_234_568), "0.00000000010988"}}}},
		{"verification", "Verification", &verification{Leaves: 1_234_567, Waiting: 2, WaitingAt: &behind, Missing: 1, Checkpoints: []checkpointRow{{1_234_567, day(26, 18), "keel.example/log\n1234567\nHASH=\n\n— keel sig\n"}}, Keys: []keyRow{{"keel+1234+KEY", day(1, 0)}}}},
	} {
		w := httptest.NewRecorder()
		page := p.name
		if page == "decision" {
			page = "decisions"
		}
		s.render(w, 200, p.name, &sheet{Title: p.title, Page: page, Org: "acme", Orgs: []string{"acme", "zeta"}, Viewer: &Viewer{Name: "ann", SignOut: "/review/sign-in/out"}, At: day(26, 18), Style: "/review/style.css", Version: "test", Body: p.body})
		file := filepath.Join("testdata", p.name+".html")
		if *update {
			if err := os.WriteFile(file, w.Body.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), w.Body.String()); diff != "" {
			t.Errorf("%s is not %s (-update rewrites it):\n%s", p.name, file, diff)
		}
	}
}
