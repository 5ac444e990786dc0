package alert

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"keel/budget/ledger"
	"keel/budget/ledger/pgserver"
)

// lab is a database, and a watcher that does nothing by itself.
type lab struct {
	t    *testing.T
	dsn  string
	pool *pgxpool.Pool
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, dsn: pgserver.ForTest(t)}
	if err := ledger.Migrate(t.Context(), l.dsn, nil); err != nil {
		t.Fatal(err)
	}
	var err error
	if l.pool, err = pgxpool.New(t.Context(), l.dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.pool.Close)
	return l
}

// watcher is one that looks and delivers when the test says so.
func (l *lab) watcher(hook Webhook) *Watcher {
	l.t.Helper()
	w, err := newWatcher(Options{Database: l.dsn, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Metrics: prometheus.NewRegistry(), Webhook: hook})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(w.Close)
	return w
}

func (l *lab) exec(sql string, args ...any) {
	l.t.Helper()
	if _, err := l.pool.Exec(context.Background(), sql, args...); err != nil {
		l.t.Fatalf("%s: %v", sql, err)
	}
}

func (l *lab) look(w *Watcher) {
	l.t.Helper()
	if err := w.look(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
}

// told are the alerts that are written down, by key.
func (l *lab) told() []string {
	l.t.Helper()
	var all []string
	if err := l.pool.QueryRow(context.Background(), "select coalesce(array_agg(org || ' ' || key || ' ' || text order by org, key), '{}') from keel.alerts").Scan(&all); err != nil {
		l.t.Fatal(err)
	}
	return all
}

func contains(told []string, text string) bool {
	return slices.ContainsFunc(told, func(t string) bool { return strings.Contains(t, text) })
}

// spend puts money into the account of a budget's current window.
func (l *lab) spend(org, budget, key string, settled, held int64) {
	l.t.Helper()
	l.exec(`insert into keel.accounts (org, budget, account_key, window_start, window_end, settled_n, held_n, forced_n)
		select b.org, b.name, $3, coalesce(w.window_start, '-infinity'), coalesce(w.window_end, 'infinity'), $4, $5, $4 from keel.budgets b cross join lateral keel.window_bounds(b."window", b.timezone, now()) w
		where b.org = $1 and b.name = $2
		on conflict (org, budget, account_key, window_start, window_end) do update set settled_n = excluded.settled_n, held_n = excluded.held_n`, org, budget, key, settled, held)
}

// want compares what is told with words that must be in each.
func (l *lab) want(words ...string) {
	l.t.Helper()
	told := l.told()
	if len(told) != len(words) {
		l.t.Errorf("%d alerts, want %d:\n%s", len(told), len(words), strings.Join(told, "\n"))
		return
	}
	for i, w := range words {
		for part := range strings.SplitSeq(w, "|") {
			if !strings.Contains(told[i], part) {
				l.t.Errorf("%q is missing in %q", part, told[i])
			}
		}
	}
}

func TestBudgetsThatFillUp(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	w := l.watcher(Webhook{})
	l.exec(`insert into keel.budgets (org, name, limit_usd, "window", tiers) values
		('acme', 'life', 0.000001, 'lifetime', '[{"at": "50%", "do": "warn"}, {"at": "90%", "do": "prefer-cheap"}]'),
		('acme', 'none', 0, 'lifetime', '[]'),
		('acme', 'roll', 0.000001, 'rolling 24h', '[{"at": "150%", "do": "deny"}]'),
		('zeta', 'each', 0.000001, 'lifetime', '[]')`)
	l.exec("update keel.budgets set per = '{team}', mode = 'observe' where name = 'each'")
	l.spend("acme", "life", "", 499, 0)
	l.look(w)
	l.want()
	l.spend("acme", "life", "", 499, 1) // what is held counts
	l.spend("acme", "none", "", 0, 0)
	l.look(w)
	l.want("acme tier/life/1/lifetime//50%|budget life reached 50% (warn): $0.0000005 of $0.000001 are spent or held")
	if n := testutil.ToFloat64(w.raised.WithLabelValues("tier")); n != 1 {
		t.Errorf("%v are counted", n)
	}
	l.look(w)
	l.spend("acme", "life", "", 1500, 0) // past two tiers at once: the highest is told
	l.spend("acme", "roll", "", 999, 0)
	l.spend("zeta", "each", "team=x", 1000, 0)
	l.spend("zeta", "each", "team=y", 999, 0)
	l.look(w)
	want := []string{"acme tier/life/1/lifetime//100%|(deny)", "acme tier/life/1/lifetime//50%", "zeta tier/each/2/lifetime/team=x/100%|budget each for team=x reached 100% (is spent)"}
	l.want(want...)
	l.exec("update keel.budgets set limit_usd = 0.00000155 where name = 'life'") // another version, and 96%
	l.spend("acme", "roll", "", 1500, 0)
	l.look(w)
	l.look(l.watcher(Webhook{}))
	l.want(want[0], want[1], "acme tier/life/2/lifetime//90%|(prefer-cheap)", "acme tier/roll/1/|//150%|(deny)", want[2])
	if n := testutil.ToFloat64(w.raised.WithLabelValues("tier")); n != 5 {
		t.Errorf("%v are counted", n)
	}
}

// A budget that no call ever met costs a look one entry of an index at most: its window is not computed.
func TestBudgetsThatNobodyMet(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.exec(`insert into keel.budgets (name, limit_usd) select 'more-' || i, 100 from generate_series(1, 500) i`)
	l.exec(`insert into keel.budgets (name, limit_usd, "window") values ('met', 100, 'lifetime')`)
	l.spend("default", "met", "", 1, 0)
	var plan string
	if err := l.pool.QueryRow(t.Context(), "explain (analyze, costs off, timing off, format json) "+fullSQL, mostFound).Scan(&plan); err != nil {
		t.Fatal(err)
	}
	_, windows, found := strings.Cut(plan, `"Function Name": "window_bounds"`)
	_, windows, looped := strings.Cut(windows, `"Actual Loops": `)
	if loops, _, _ := strings.Cut(windows, ","); !found || !looped || strings.TrimSpace(strings.SplitN(loops, "\n", 2)[0]) != "1" {
		t.Errorf("windows were computed %q times of one budget that was met:\n%s", loops, plan)
	}
}

func TestForecastsBeyondTheLimit(t *testing.T) {
	t.Parallel()
	a := account{org: "acme", budget: "b", mode: "enforce", version: 3}
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	end := start.AddDate(0, 1, 0)
	a.start, a.end, a.now = &start, &end, start.AddDate(0, 0, 10)
	for _, c := range []struct {
		settled, held, limit int64
		want                 string
	}{
		{300, 0, 900, ""},
		{301, 0, 900, "forecast b/3/2026-11-01T00:00:00Z/ budget b is on its way to $0.000000903 by 2026-12-01 00:00 UTC, beyond its limit of $0.0000009"},
		{900, 0, 900, "tier b/3/2026-11-01T00:00:00Z//100% budget b reached 100% (deny): $0.0000009 of $0.0000009 are spent or held"}, // it is there already
		{100, 799, 900, ""},
		{0, 901, 900, "tier b/3/2026-11-01T00:00:00Z//100% budget b reached 100% (deny): $0.000000901 of $0.0000009 are spent or held"},
	} {
		a.settled, a.held, a.limit = big.NewInt(c.settled), big.NewInt(c.held), big.NewInt(c.limit)
		var got []string
		for _, found := range a.alerts() {
			got = append(got, string(found.Kind)+" "+found.Key+" "+found.Text)
		}
		if strings.Join(got, "\n") != c.want {
			t.Errorf("%+v:\n%s, want\n%s", c, strings.Join(got, "\n"), c.want)
		}
	}
	// The query finds them too: by the window that runs.
	l := newLab(t)
	l.exec(`insert into keel.budgets (org, name, limit_usd, "window") values ('acme', 'hour', 9000, 'year'), ('acme', 'small', 0.001, 'year')`)
	l.spend("acme", "hour", "", 1, 0)
	l.spend("acme", "small", "", 999_999, 0)
	l.look(l.watcher(Webhook{}))
	l.want("acme forecast/small/1/|budget small is on its way to $0.001")
}

func TestWhatIsNotPriced(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	w := l.watcher(Webhook{})
	const decide = `insert into keel.decisions (org, epoch, decision_id, decided_at, subject, api, provider, model, path, stream, max_output_tokens, choices, service_tier, prompt, action, reason, route,
		routed_provider, routed_model, output_cap, input_tokens, input_tokens_bound, output_tokens, output_tokens_bound, expected_n, bound_n, bound_kind, method, unpriced, rules, price_version, unmetered, debt)
		select $1, gen_random_uuid(), (left(keel.uuid_at(now())::text, 14) || '7' || right(gen_random_uuid()::text, 21))::uuid, now(), '{}', 'openai-chat', 'openai', $2, '/', false, 0, 1, '', '{}', 'allow', '', '', 'openai', $2, 0, 0, 0, 0, 0, 0, 0, 'none', '', $3, '[]', '', $4, false`
	l.exec("insert into keel.epochs (org, epoch) values ('acme', gen_random_uuid()), ('zeta', gen_random_uuid())")
	l.exec(decide, "acme", "gpt-5", "", false)
	l.exec(decide, "acme", "gpt-nobody-knows", "no price for openai/gpt-nobody-knows", false)
	l.exec(decide, "acme", "gpt-nobody-knows", "no price for openai/gpt-nobody-knows", false)
	l.exec(decide, "zeta", "", "", true)
	l.exec("insert into keel.statement_outbox (org, decisions) select org, array_agg(decision_id) from keel.decisions group by org")
	store, err := ledger.OpenStore(t.Context(), l.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := store.FoldStatements(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.look(w)
	l.look(w)
	l.want("acme unpriced/|/openai/gpt-nobody-knows|add a Price document", "zeta unmetered/|1 calls passed unmetered")
}

// Nothing is lost while nobody looks: what was stored since the last look is found when it is over, once for the day
// of the calls, also where it is settled later than it was decided, and where there is more than one look can tell.
func TestNobodyLooked(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	w := l.watcher(Webhook{})
	l.look(w)
	l.exec("update keel.alert_marks set through = '2026-08-01Z'") // when the last processor went down
	day := func(at string) string {
		return fmt.Sprintf(`insert into keel.decisions (org, epoch, decision_id, decided_at, stored_at, subject, api, provider, model, path, stream, max_output_tokens, choices, service_tier, prompt, action, reason, route,
			routed_provider, routed_model, output_cap, input_tokens, input_tokens_bound, output_tokens, output_tokens_bound, expected_n, bound_n, bound_kind, method, unpriced, rules, price_version, unmetered, debt)
			select 'acme', gen_random_uuid(), (left(keel.uuid_at('%[1]s')::text, 14) || '7' || right(gen_random_uuid()::text, 21))::uuid, '%[1]s', $2::timestamptz, '{}', 'openai-chat', 'openai', $1 || n, '/', false, 0, 1, '', '{}', 'allow', '', '', 'openai', $1 || n, 0, 0, 0, 0, 0, 0, 0, 'none', '', 'no price', '[]', '', false, false
			from generate_series(1, $3) n`, at)
	}
	l.exec("select keel.ensure_partitions('2026-07-01Z', '2026-12-31Z')")
	l.exec(day("2026-07-30 10:00Z"), "seen", "2026-07-31 23:40Z", 1)         // the last processor saw it
	l.exec(day("2026-07-31 23:59Z"), "late", "2026-07-31 23:55Z", 1)         // its transaction began before the last look and ended after it
	l.exec(day("2026-09-02 12:00Z"), "old", "2026-09-02 12:00Z", 1)          // nobody looked that month
	l.exec(day("2026-09-02 13:00Z"), "uploaded", "2026-11-20 08:00Z", 1)     // its journal came when somebody was there again
	l.exec(day("2026-11-20 08:00Z"), "many", "2026-11-20 08:00Z", mostFound) // more than one look tells
	l.exec(`insert into keel.statements (org, day, team, provider, model, meter, calls, unmetered) values ('acme', (now() at time zone 'UTC')::date - 3, '', '', '', '', 9, 9), ('acme', (now() at time zone 'UTC')::date - 200, '', '', '', '', 9, 9)`)
	l.exec(`with r as (insert into keel.reconciliations (org, at, actor, provider, file, sha256, timezone, since, until) values ('acme', '2026-09-02Z', 'ada', 'openai', 'bill.csv', '', 'UTC', '2026-08-01Z', '2026-09-01Z') returning reconciliation_id)
		insert into keel.reconciled (org, reconciliation_id, n, day, model, account, meter, recorded_n, stated_n, causes) select 'acme', reconciliation_id, 0, '2026-08-01', 'm', '', '', 1, 900, '[]' from r`)
	for range 3 {
		l.look(w)
	}
	told := l.told()
	for _, want := range []string{"unpriced/2026-07-31/openai/late1", "unpriced/2026-09-02/openai/old1", "unpriced/2026-09-02/openai/uploaded1", "unpriced/2026-11-20/openai/many1000", "9 calls passed unmetered", "the bill of openai"} {
		if !contains(told, want) {
			t.Errorf("lost: %s", want)
		}
	}
	if len(told) != mostFound+5 || contains(told, "seen1") {
		t.Errorf("%d alerts: %.2000q", len(told), told)
	}
	var marks int
	if err := l.pool.QueryRow(t.Context(), "select count(*) from keel.alert_marks where through > now() - interval '1 minute' and kind in ('unpriced', 'variance')").Scan(&marks); err != nil || marks != 2 {
		t.Errorf("%d marks moved, %v", marks, err)
	}
	// Alerts that were dropped with age are not found again.
	l.exec("delete from keel.alerts")
	l.look(w)
	if told := l.told(); len(told) != 1 || !contains(told, "unmetered") { // a day that is not over for alerts
		t.Errorf("%q", told)
	}
}

// What reconciliation and verification find comes the same way.
func TestRaise(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	a := Alert{Org: "acme", Kind: Variance, Key: "openai/2026-10", Text: "the bill is higher", Facts: map[string]string{"variance_usd": "1.5"}}
	for i, want := range []bool{true, false} {
		if fresh, err := Raise(t.Context(), l.pool, a); err != nil || fresh != want {
			t.Errorf("time %d: %v, %v", i, fresh, err)
		}
	}
	if _, err := Raise(t.Context(), l.pool, Alert{Org: "acme", Kind: "weather", Key: "x"}); err == nil {
		t.Error("a kind that is none was raised")
	}
	l.want("acme variance/openai/2026-10 the bill is higher")
}

// hook is a webhook that checks signatures as a receiver does, by the words of the standard alone.
type hook struct {
	*httptest.Server
	secret []byte
	mu     sync.Mutex
	ids    []string
	bodies []string
	answer func(n int) int // the status of the nth request
}

func newHook(t *testing.T) *hook {
	t.Helper()
	h := &hook{secret: []byte("0123456789abcdef0123456789abcdef")}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		id, at := r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp")
		mac := hmac.New(sha256.New, h.secret)
		mac.Write(bytes.Join([][]byte{[]byte(id), []byte(at), body}, []byte(".")))
		if got, want := r.Header.Get("webhook-signature"), "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)); got != want {
			t.Errorf("signature %s, want %s", got, want)
		}
		if seconds, err := strconv.ParseInt(at, 10, 64); err != nil || time.Since(time.Unix(seconds, 0)).Abs() > time.Minute {
			t.Errorf("timestamp %q", at)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.ids, h.bodies = append(h.ids, id), append(h.bodies, string(body))
		status := http.StatusNoContent
		if h.answer != nil {
			status = h.answer(len(h.ids))
		}
		if status == 302 {
			w.Header().Set("location", "/elsewhere")
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) webhook() Webhook { return Webhook{h.URL, h.secret} }

func (l *lab) due() { l.exec("update keel.alerts set next_at = now()") }

// Each alert is delivered once, however many processors deliver, and again until it is taken.
func TestDelivery(t *testing.T) {
	t.Parallel()
	l, h := newLab(t), newHook(t)
	const n = 12
	for i := range n {
		if _, err := Raise(t.Context(), l.pool, Alert{Org: "acme", Kind: Variance, Key: strconv.Itoa(i), Text: "text " + strconv.Itoa(i), Facts: map[string]string{"i": strconv.Itoa(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for range 3 {
		w := l.watcher(h.webhook())
		wg.Go(func() { w.deliverAll(t.Context()) })
	}
	wg.Wait()
	slices.Sort(h.ids)
	if len(h.ids) != n || len(slices.Compact(slices.Clone(h.ids))) != n {
		t.Errorf("%d deliveries of %d alerts: %v", len(h.ids), n, h.ids)
	}
	var m struct {
		Type      string
		Timestamp time.Time
		Data      struct {
			ID, Org, Kind, Text string
			Facts               map[string]string
		}
	}
	if err := json.Unmarshal([]byte(h.bodies[0]), &m); err != nil || m.Type != "keel.alert.variance" || m.Data.Org != "acme" || m.Data.Facts["i"] == "" || !strings.HasPrefix(m.Data.Text, "text ") || m.Timestamp.IsZero() {
		t.Errorf("%v: %s", err, h.bodies[0])
	}
	// Refused ones are tried again, later and ever less often, under the same id.
	h.ids = nil
	h.answer = func(n int) int { return []int{500, 302, 429, 204}[min(n, 4)-1] }
	if _, err := Raise(t.Context(), l.pool, Alert{Org: "acme", Kind: Tier, Key: "again", Text: "again"}); err != nil {
		t.Fatal(err)
	}
	w := l.watcher(h.webhook())
	for i, want := range []string{"30s", "1m", "2m"} {
		w.deliverAll(t.Context())
		w.deliverAll(t.Context()) // not due
		var wait float64
		var attempts int
		var said string
		if err := l.pool.QueryRow(t.Context(), "select extract(epoch from next_at - now()), attempts, coalesce(last_error, '') from keel.alerts where key = 'tier/again' and delivered_at is null").Scan(&wait, &attempts, &said); err != nil {
			t.Fatal(err)
		}
		d, _ := time.ParseDuration(want)
		if attempts != i+1 || wait > d.Seconds() || wait < d.Seconds()/2 || !strings.Contains(said, "status ") {
			t.Errorf("try %d: %d attempts, next in %.0f s, want %s; %q", i+1, attempts, wait, want, said)
		}
		l.due()
	}
	w.deliverAll(t.Context())
	l.due()
	w.deliverAll(t.Context())
	if len(h.ids) != 4 || len(slices.Compact(slices.Clone(h.ids))) != 1 {
		t.Errorf("deliveries %v", h.ids)
	}
	if delivered, failed := testutil.ToFloat64(w.sent.WithLabelValues("delivered")), testutil.ToFloat64(w.sent.WithLabelValues("failed")); delivered != 1 || failed != 3 {
		t.Errorf("delivered %v, failed %v", delivered, failed)
	}
}

// A processor that dies between the delivery and its note leaves an alert that is delivered again: at least once.
func TestDeliveryIsAtLeastOnce(t *testing.T) {
	t.Parallel()
	l, h := newLab(t), newHook(t)
	if _, err := Raise(t.Context(), l.pool, Alert{Org: "acme", Kind: Tier, Key: "x", Text: "x"}); err != nil {
		t.Fatal(err)
	}
	dies := l.watcher(h.webhook())
	d, err := dies.claim(t.Context())
	if err != nil || d == nil {
		t.Fatal(d, err)
	}
	if err := dies.deliver(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	next := l.watcher(h.webhook())
	next.deliverAll(t.Context()) // it may still be under way
	if len(h.ids) != 1 {
		t.Errorf("delivered %d times while one is under way", len(h.ids))
	}
	l.due()
	next.deliverAll(t.Context())
	if len(h.ids) != 2 || h.ids[0] != h.ids[1] {
		t.Errorf("deliveries %v", h.ids)
	}
}

// A running watcher finds and delivers by itself.
func TestWatcherRuns(t *testing.T) {
	t.Parallel()
	l, h := newLab(t), newHook(t)
	l.exec(`insert into keel.budgets (org, name, limit_usd, "window") values ('acme', 'life', 0.000001, 'lifetime')`)
	l.spend("acme", "life", "", 5000, 0)
	w, err := Start(Options{Database: l.dsn, Webhook: h.webhook(), Every: 20 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for {
		h.mu.Lock()
		n := len(h.bodies)
		h.mu.Unlock()
		if n > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !strings.Contains(h.bodies[0], `"budget life reached 100% (deny): $0.000005 of $0.000001 are spent or held"`) {
		t.Error(h.bodies[0])
	}
}

func TestReadWebhook(t *testing.T) {
	t.Parallel()
	write := func(text string) string {
		file := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	good := write("0123456789abcdef\n")
	for _, c := range []struct{ url, file, want string }{
		{"https://alerts.example/keel", good, ""},
		{"http://127.0.0.1:9/keel", good, ""},
		{"https://alerts.example/keel", write("whsec_" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef"))), ""},
		{"http://alerts.example/keel", good, "use https"},
		{"alerts.example", good, "no http or https address"},
		{"https://alerts.example/keel", "", "needs --alert-secret"},
		{"https://alerts.example/keel", write("short"), "16 or more"},
		{"https://alerts.example/keel", write("whsec_!"), "is not base64"},
		{"https://alerts.example/keel", "/nonexistent", "alert secret"},
	} {
		h, err := ReadWebhook(c.url, c.file)
		if c.want == "" && (err != nil || string(h.Secret) != "0123456789abcdef") || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %q, %v", c, h.Secret, err)
		}
	}
}

// The example of docs/review.md is what a webhook gets.
func TestWebhookPage(t *testing.T) {
	page, err := os.ReadFile("../../../docs/review.md")
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile("(?s)```json\n(.*?)```").FindSubmatch(page)
	if example == nil {
		t.Fatal("there is none")
	}
	var m message
	var data messageData
	read := func(text []byte, into any) {
		t.Helper()
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(into); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
	}
	read(example[1], &m)
	read(m.Data, &data)
	if m.Type != "keel.alert."+string(data.Kind) || m.Timestamp.IsZero() || data.Org == "" || data.Text == "" || len(data.Facts) < 3 {
		t.Errorf("%+v, %+v", m, data)
	}
}
