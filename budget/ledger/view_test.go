package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"keel/budget"
)

func TestWindowBoundsAgreeWithGo(t *testing.T) {
	t.Parallel()
	conn, err := pgx.Connect(t.Context(), database(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	zones := []string{"UTC", "Europe/Berlin", "Europe/London", "America/New_York", "America/St_Johns", "America/Havana", "America/Sao_Paulo",
		"Asia/Kolkata", "Asia/Kathmandu", "Asia/Beirut", "Asia/Gaza", "Africa/Cairo", "Africa/Casablanca", "Australia/Lord_Howe",
		"Pacific/Apia", "Pacific/Chatham", "Pacific/Kiritimati", "America/Asuncion", "Atlantic/Azores", "America/Nuuk"}
	windows := []string{"hour", "day", "week", "month", "quarter", "year", "lifetime"}
	rng := rand.New(rand.NewPCG(1, 2))
	for _, zone := range zones {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		var instants []time.Time
		at := time.Date(2009, 1, 1, 0, 0, 0, 0, time.UTC)
		for range 24 { // around every change of the clock
			_, change := at.In(loc).ZoneBounds()
			if change.IsZero() {
				break
			}
			at = change
			for _, d := range []time.Duration{-25 * time.Hour, -time.Hour, -time.Minute, -time.Second, 0, time.Second, 30 * time.Minute, time.Hour, 2 * time.Hour, 24 * time.Hour} {
				instants = append(instants, change.Add(d))
			}
		}
		for range 30 {
			instants = append(instants, time.Unix(1_167_000_000+rng.Int64N(900_000_000), 0))
		}
		for _, window := range windows {
			w, err := budget.ParseWindow(window, zone)
			if err != nil {
				t.Fatal(err)
			}
			rows, err := conn.Query(t.Context(), `select coalesce(b.window_start, '0001-01-01Z'), coalesce(b.window_end, '0001-01-01Z')
				from unnest($3::timestamptz[]) with ordinality u(i, n), keel.window_bounds($1, $2, i) b order by n`, window, zone, instants)
			if err != nil {
				t.Fatal(err)
			}
			for n := 0; rows.Next(); n++ {
				var start, end time.Time
				if err := rows.Scan(&start, &end); err != nil {
					t.Fatal(err)
				}
				wantStart, wantEnd := w.Bounds(instants[n])
				if !start.Equal(wantStart) || !end.Equal(wantEnd) {
					t.Errorf("%s in %s at %s: SQL [%s, %s), Go [%s, %s)", window, zone, instants[n].UTC().Format(time.RFC3339),
						start.UTC().Format(time.RFC3339), end.UTC().Format(time.RFC3339), wantStart.Format(time.RFC3339), wantEnd.Format(time.RFC3339))
				}
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestBudgetStatus(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	l := open(t, dsn, testOptions(t))
	docs := budget.Documents{}
	for _, b := range []budget.Budget{{Window: "day", Timezone: "Asia/Kathmandu", Limit: 100 * cent}, {Window: "lifetime", Limit: cent}, {Window: "hour", Limit: 0}} {
		b.Meta = budget.Meta{Org: "acme", Name: b.Window}
		docs.Budgets = append(docs.Budgets, b)
	}
	if _, err := l.Apply(t.Context(), docs, "ann"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"day", "lifetime"} {
		zone := map[string]string{"day": "Asia/Kathmandu"}[name]
		w, err := budget.ParseWindow(name, zone)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"ann", "bob"} { // per: [user]
			h := budget.Hold{Account: budget.Account{Org: "acme", Budget: name, Key: key}, Amount: cent, Ceiling: 100 * cent}
			h.WindowStart, h.WindowEnd = w.Bounds(time.Now())
			permitted(t, l, h)
			l.CloseOut(closeout(permitted(t, l, h), cent/2))
			h.WindowStart, h.WindowEnd = h.WindowStart.AddDate(0, 0, -1), h.WindowStart // yesterday's
			if name == "day" {
				permitted(t, l, h)
			}
		}
	}
	flush(t, l)
	for name, want := range map[string]string{
		"day": "1 0.01 0.02 1 0.97 enforce 1", "lifetime": "1 0.01 0.02 1 0.97 enforce 2", "hour": "0 0 0 0 0 enforce 1"} {
		got := query[string](t, dsn, `select concat_ws(' ', trim_scale(limit_usd), trim_scale(settled_usd), trim_scale(held_usd), (leased_usd > held_usd)::int, trim_scale(remaining_usd), mode, version)
			from keel.budget_status where org = 'acme' and budget = $1 and (window_start <= now() and window_end > now() or budget = 'lifetime')`, name)
		if got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestSpendRecords(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	l := open(t, dsn, testOptions(t))
	record := func(id uuid.UUID) string {
		return query[string](t, dsn, `select concat_ws(' ', action, outcome, metered, coalesce(trim_scale(actual_cost_usd)::text, '-'), coalesce(trim_scale(held_usd)::text, '-'),
			coalesce(attempts::text, '-'), coalesce(http_status::text, '-'), coalesce(input_tokens::text, '-'), coalesce(cached_input_tokens::text, '-'), coalesce(output_tokens::text, '-'), coalesce(reasoning_tokens::text, '-'),
			model_requested, model_routed, subject->>'team', rules->0->>'name', closed_at is not null)
			from keel.spend_records where decision_id = $1`, id)
	}
	d := decision(hold("a", cent, 100*cent), hold("b", cent/2, 100*cent))
	d.RoutedModel = "gpt-5-mini"
	limit(t, l, d.Holds...)
	if err := l.Permit(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	flush(t, l)
	if got, want := record(d.ID), "allow open none - 0.01 - - - - - - gpt-5 gpt-5-mini research b f"; got != want {
		t.Errorf("in flight: %s, want %s", got, want)
	}
	l.CloseOut(closeout(d, cent/4))
	denied := decision(hold("a", cent, 0))
	denied.Action, denied.Denial = budget.Deny, &budget.Denial{Status: 429, Code: "budget_exceeded", Message: "full", RetryAfter: 1500 * time.Millisecond}
	l.Record(denied)
	unmetered := decision()
	unmetered.Unmetered = true
	l.Record(unmetered)
	flush(t, l)
	if got, want := record(d.ID), "allow complete provider 0.0025 0.01 1 200 5 2 48 8 gpt-5 gpt-5-mini research b t"; got != want {
		t.Errorf("closed: %s, want %s", got, want)
	}
	if got, want := record(denied.ID), "deny denied none 0 - 0 429 - - - - gpt-5 gpt-5 research b t"; got != want {
		t.Errorf("denied: %s, want %s", got, want)
	}
	if got, want := record(unmetered.ID), "allow unmetered none - - - - - - - - gpt-5 gpt-5 research b f"; got != want {
		t.Errorf("unmetered: %s, want %s", got, want)
	}
	wantAccount(t, dsn, "a", cent/4, 0)
}

func TestExplain(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	l := open(t, dsn, testOptions(t))
	b := budget.Budget{Meta: budget.Meta{Org: "acme", Name: "b"}, Limit: 7 * cent, Window: "month"}
	apply := func(limit string) {
		t.Helper()
		if _, err := l.Apply(t.Context(), budget.Documents{Budgets: []budget.Budget{b}}, "limit "+limit); err != nil {
			t.Fatal(err)
		}
		b.Limit = 9 * cent
	}
	apply("0.07")
	d := decision(hold("b", cent, 7*cent))
	if err := l.Permit(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	apply("0.09")
	l.CloseOut(closeout(d, cent))
	l.Annotate(budget.Annotation{ID: d.ID, Org: d.Org, At: time.Now(), HTTPStatus: 200, Attempts: 2, Flags: "-"})
	flush(t, l)
	e, err := l.Explain(t.Context(), d.ID)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Rules) != 1 || !strings.Contains(string(e.Rules[0].Document), "0.07") || *e.Rules[0].ChangedBy != "limit 0.07" {
		t.Errorf("rules: the version of the time is missing: %+v", e.Rules)
	}
	if len(e.Holds) != 1 || e.Holds[0].Amount != cent || *e.Holds[0].Settled != cent {
		t.Errorf("holds: %+v", e.Holds)
	}
	if e.Closeout == nil || !strings.Contains(string(e.Closeout.RawUsage), "53") || e.Annotation == nil || e.Annotation.Attempts != 2 {
		t.Errorf("closeout %+v, annotation %+v", e.Closeout, e.Annotation)
	}
	text, err := json.Marshal(e)
	if err != nil || !strings.Contains(string(text), `"amount_usd":"0.01"`) {
		t.Errorf("%s, %v", text, err)
	}
	if _, err := l.Explain(t.Context(), uuid.New()); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown decision: %v", err)
	}
}
