package pages

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"keel/budget"
	"keel/budget/ledger"
	"keel/budget/ledger/pgserver"
	"keel/pricing"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// as lets everybody in as one viewer.
type as Viewer

func (v as) Viewer(http.ResponseWriter, *http.Request) *Viewer { return (*Viewer)(&v) }

// everybody may see all.
var everybody = as{Orgs: []string{"*"}}

// database makes an empty database with Keel's schema.
func database(t testing.TB) string {
	t.Helper()
	dsn := pgserver.ForTest(t)
	if err := ledger.Migrate(t.Context(), dsn, nil); err != nil {
		t.Fatal(err)
	}
	return dsn
}

func server(t testing.TB, dsn string, signIn SignIn) *Server {
	t.Helper()
	s, err := New(Options{Database: dsn, SignIn: signIn, Version: "test", Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// get asks for a page.
func get(t testing.TB, h http.Handler, address string) (status int, body string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, address, nil))
	return w.Code, w.Body.String()
}

// page asks for a page that has to be there.
func page(t testing.TB, h http.Handler, address string) string {
	t.Helper()
	status, body := get(t, h, address)
	if status != http.StatusOK {
		t.Fatalf("%s: status %d\n%s", address, status, body)
	}
	return body
}

// began is when the first call of a filled ledger was decided.
var began = time.Date(2026, 3, 2, 6, 0, 0, 0, time.UTC)

const documents = `
kind: Budget
org: ORG
name: research-life
selector: {team: research}
limit: 2 USD
window: lifetime
tiers: [{at: 1%, do: warn}, {at: 100%, do: deny}]
---
kind: Budget
org: ORG
name: interns-life
selector: {team: interns}
limit: 0.000001 USD
window: lifetime
---
kind: Budget
org: ORG
name: each-team
limit: 10 USD
window: lifetime
per: [team]
mode: observe
---
kind: Route
org: ORG
name: large
models: [gpt-5]
mode: prefer-cheap
targets:
  - {provider: openai, model: gpt-5, quality: 1.0}
  - {provider: openai, model: gpt-5-mini, quality: 0.8}
---
kind: Route
org: ORG
name: watched
models: [claude-sonnet-4-5]
mode: observe
targets:
  - {provider: anthropic, model: claude-sonnet-4-5, quality: 1.0}
  - {provider: anthropic, model: claude-haiku-4-5, quality: 0.9}
`

// fill stores an org with calls of every kind, decided by the real Decider and settled by the real ledger:
// the same ones every time. n is how often each kind comes.
func fill(t testing.TB, dsn, org string, n int) (ids []uuid.UUID) {
	t.Helper()
	ctx := t.Context()
	docs, err := budget.ReadDocuments(strings.NewReader(strings.ReplaceAll(documents, "ORG", org)), "documents")
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(ctx, dsn, ledger.Options{Logger: quiet, Journal: t.TempDir(), JournalSegment: 1 << 20, MaxConns: 4, SweepEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	end := func() {
		if closed {
			return
		}
		closed = true
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := l.Close(ctx); err != nil {
			t.Error(err)
		}
	}
	defer end()
	if _, err := l.Apply(ctx, docs, "ada of "+org); err != nil {
		t.Fatal(err)
	}
	if docs, err = l.Load(ctx); err != nil {
		t.Fatal(err)
	}
	cfg, err := budget.Compile(docs, pricing.Catalog())
	if err != nil {
		t.Fatal(err)
	}
	decider := &budget.Decider{Ledger: l, Estimator: tokens.New()}
	kinds := []struct {
		team, provider, model, api string
		usage                      meter.Usage
		end                        budget.Outcome
	}{
		{"research", "openai", "gpt-5", "openai-chat", meter.Usage{meter.Input: 1213, meter.CachedInput: 1024, meter.Output: 311, meter.Reasoning: 640}, budget.Complete},
		{"research", "anthropic", "claude-sonnet-4-5", "anthropic-messages", meter.Usage{meter.Input: 87, meter.CachedInput: 3300, meter.Output: 777, meter.WebSearch: 2}, budget.Complete},
		{"", "openai", "gpt-4o-mini", "openai-chat", meter.Usage{meter.Input: 333, meter.Output: 95}, budget.Complete},
		{"interns", "openai", "gpt-4o-mini", "openai-chat", meter.Usage{}, budget.Denied},
		{"research", "openai", "gpt-4o-mini", "openai-chat", meter.Usage{meter.Input: 150, meter.Output: 33}, budget.Aborted},
		{"sales & <b>co</b>", "openai", "gpt-4o-mini", "openai-chat", meter.Usage{}, budget.Failed},
		{"sales & <b>co</b>", "openai", "gpt-4o-mini", "openai-chat", meter.Usage{}, budget.Orphaned},
		{"research", "openai", "gpt-4o-mini", "openai-chat", meter.Usage{}, "open"},
	}
	for i := range n * len(kinds) {
		k := kinds[i%len(kinds)]
		at := began.Add(time.Duration(i) * 7 * time.Minute)
		id := idOf(org, at, i)
		ids = append(ids, id)
		d := decider.Decide(ctx, cfg, &budget.Call{ID: id, Org: org, At: at, Subject: budget.Subject{"org": org, "team": k.team, "user": "u-" + org}, API: k.api,
			Provider: k.provider, Model: k.model, Path: "/v1/chat/completions", MaxOutputTokens: 1000, Choices: 1,
			Prompt: &tokens.Prompt{Messages: 1, Segments: []tokens.Segment{{Class: tokens.Text, JSON: []byte(`"` + strings.Repeat("All work and no play. ", 40) + `"`)}}}})
		if d.Action == budget.Deny {
			l.Record(d)
			continue
		}
		c := &budget.Closeout{ID: id, Org: org, At: at.Add(3 * time.Second), Outcome: k.end, Attempts: 1, HTTPStatus: 200, Model: d.RoutedModel, Detail: "end of stream"}
		reported := &budget.Reported{Usage: &k.usage, Model: d.RoutedModel, Raw: []byte(`{"total_tokens":53}`)}
		switch k.end {
		case "open":
			continue
		case budget.Aborted:
			d.ChargeSeen(c, cfg, reported, 400)
		case budget.Orphaned:
			d.ChargeHeld(c)
		case budget.Failed:
			c.HTTPStatus = 500
			d.Free(c)
		default:
			d.ChargeUsage(c, cfg, reported)
		}
		l.CloseOut(c)
	}
	// What is open stays so only while its processor lives: the sums that tests look at are of the end of it.
	end()
	store, err := ledger.OpenStore(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := store.FoldStatements(ctx); err != nil {
		t.Fatal(err)
	}
	return ids
}

// idOf is a UUIDv7 of an instant that is the same every time.
func idOf(org string, at time.Time, n int) (id uuid.UUID) {
	ms := at.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	id[6], id[8] = 0x70, 0x80
	copy(id[9:13], org)
	id[14], id[15] = byte(n>>8), byte(n)
	return id
}

func query[T any](t testing.TB, dsn, sql string, args ...any) (v T) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func exec(t testing.TB, dsn, sql string, args ...any) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// every is the address of every page of an org.
func every(org string, id uuid.UUID) []string {
	var all []string
	for _, p := range []string{"budgets", "statement?month=2026-03", "statement?month=2026-03&team=research", "statement?month=2026-03&noteam=1", "pressure", "pressure?by=budget&since=month",
		"decisions", "decisions?team=research", "decisions/" + id.String(), "history", "history?kind=Budget", "reconciliation", "verification"} {
		join := "?"
		if strings.Contains(p, "?") {
			join = "&"
		}
		all = append(all, Root+p+join+"org="+org)
	}
	return all
}
