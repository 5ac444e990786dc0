package ledger

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"keel/budget"
	"keel/pricing"
	"keel/pricing/meter"
)

func sample() budget.Documents {
	m := func(name string) budget.Meta { return budget.Meta{Org: "default", Name: name} }
	return budget.Documents{
		Budgets: []budget.Budget{{Meta: m("research-month"), Selector: map[string]string{"team": "research", "model": "gpt-*"},
			Limit: 2500_000_000_001, Window: "month", Timezone: "Europe/Berlin", Mode: budget.Enforce, Hold: budget.HoldBound, Cut: budget.CutNow,
			Tiers: []budget.Tier{{AtPercent: 75, Do: budget.Warn}, {AtPercent: 90, Do: budget.EffectPreferCheap}, {AtPercent: 100, Do: budget.EffectDeny}}, Per: []string{"user"}, Template: true}},
		Routes: []budget.Route{{Meta: m("chat-large"), Models: []string{"gpt-5", "gpt-5-2*"}, Mode: budget.PreferCheap, MinQuality: "0.7",
			Targets: []budget.Target{{Provider: "openai", Model: "gpt-5", Quality: "1.0"}, {Provider: "openai", Model: "gpt-5-mini", Quality: "0.8"}}}},
		Policies: []budget.Policy{{Meta: m("cap-output"), When: `subject.team == "interns"`, Do: budget.PolicyAction{MaxOutputTokens: 1024, Constraint: budget.Constraint{Choices: 2, Tools: budget.ToolsOwn, Effort: "low", ServiceTier: "flex"}}},
			{Meta: m("deny-all"), When: "true", Do: budget.PolicyAction{Deny: "closed"}},
			{Meta: m("watch"), When: "true", Do: budget.PolicyAction{Watch: &budget.Watch{Extend: 50_000_001, End: budget.WatchError}}}},
		Prices: []budget.Price{{Meta: m("openai-gpt-5-2026"), Price: pricing.Price{Provider: "openai", Model: "gpt-5", EffectiveFrom: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
			Contract: "acme-2026", Tiers: []pricing.Step{{Rates: map[meter.Kind]pricing.PicoUSD{meter.Input: 1_250_000, meter.CachedInput: 125_001}}, {Above: 200000, Rates: map[meter.Kind]pricing.PicoUSD{meter.Output: 10_000_000}}}}},
			{Meta: m("deepseek-night"), Price: pricing.Price{Provider: "deepseek", Model: "deepseek-chat", ServiceTier: "batch", Region: "cn", SearchContext: "low", Daily: hours("16:30-00:30"),
				Currency: "EUR", Tiers: []pricing.Step{{Rates: map[meter.Kind]pricing.PicoUSD{meter.Input: 1, meter.WebSearch: 1, meter.Pages: 10_000_000_001}}}}}},
		ExchangeRates: []budget.ExchangeRate{
			{Meta: m("eur-2026"), Exchange: pricing.Exchange{From: "EUR", To: "USD", Rate: pricing.Decimal{Digits: 10842, Places: 4}, EffectiveFrom: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}},
			{Meta: m("usd-krw"), Exchange: pricing.Exchange{From: "USD", To: "KRW", Rate: pricing.Decimal{Digits: 1<<63 - 1, Places: 15}}}},
		Subjects: []budget.SubjectRule{{Meta: m("team"), Label: "team", From: budget.Source{Header: "x-team"}}, {Meta: m("peer"), Label: "app", From: budget.Source{PeerSAN: true}, Pseudonym: true}},
		Settings: []budget.Settings{{Meta: m("default"), Unknown: budget.UnknownDeny, Malformed: budget.UnknownPass, Offline: budget.OfflineAllowDebt, Durability: "os", MaxAttempts: 4, UnknownAttempt: budget.ChargeNone, OutputFloor: 5, Policies: budget.PoliciesFirst}},
	}
}

func hours(text string) pricing.Hours {
	h, err := pricing.ParseHours(text)
	if err != nil {
		panic(err)
	}
	return h
}

var byName = cmpopts.SortSlices(func(a, b budget.Meta) bool { return a.Name < b.Name })

func sameDocuments(t *testing.T, got, want budget.Documents) {
	t.Helper()
	ignoreVersion := cmpopts.IgnoreFields(budget.Meta{}, "Version")
	sort := cmp.Options{cmpopts.SortSlices(func(a, b budget.SubjectRule) bool { return a.Name < b.Name }),
		cmpopts.SortSlices(func(a, b budget.Price) bool { return a.Name < b.Name }), byName}
	if diff := cmp.Diff(want, got, ignoreVersion, sort); diff != "" {
		t.Error(diff)
	}
}

func store(t *testing.T, dsn string) *Store {
	t.Helper()
	s, err := OpenStore(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestApplyLoadChangeDelete(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := store(t, database(t))
	planned, err := s.Plan(ctx, sample(), "ann")
	if err != nil || len(planned) != 12 {
		t.Fatalf("Plan: %d changes, %v", len(planned), err)
	}
	if docs, err := s.Load(ctx); err != nil || len(docs.Budgets) != 0 {
		t.Fatalf("Plan kept %+v, %v", docs, err)
	}
	changes, err := s.Apply(ctx, sample(), "ann")
	if err != nil || len(changes) != 12 {
		t.Fatalf("Apply: %d changes, %v", len(changes), err)
	}
	if c := changes[0]; c.Op != "create" || c.By != "ann" || c.Version != 1 || c.Before != nil || !strings.Contains(string(c.After), "2500.000000001") {
		t.Errorf("%+v", c)
	}
	docs, err := s.Load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sameDocuments(t, docs, sample())

	if changes, err := s.Apply(ctx, docs, "bob"); err != nil || len(changes) != 0 {
		t.Errorf("same documents again: %v, %v", changes, err)
	}
	docs.Budgets[0].Limit = 500 * 1_000_000_000
	if changes, err = s.Apply(ctx, docs, "bob"); err != nil || len(changes) != 1 || changes[0].Version != 2 || changes[0].Op != "update" {
		t.Errorf("a new limit: %+v, %v", changes, err)
	}
	gone, err := s.Delete(ctx, "default", budget.KindBudget, "research-month", "eve")
	if err != nil || gone.Op != "delete" || gone.Version != 3 || gone.By != "eve" {
		t.Errorf("Delete: %+v, %v", gone, err)
	}
	if _, err := s.Delete(ctx, "default", budget.KindBudget, "research-month", "eve"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Delete again: %v", err)
	}
	if _, err := s.Get(ctx, "default", budget.KindBudget, "research-month"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if changes, err = s.Apply(ctx, sample(), "ann"); err != nil || len(changes) != 1 || changes[0].Version != 4 {
		t.Errorf("versions are reused: %+v, %v", changes, err)
	}
	history, err := s.Changes(ctx, "default", budget.KindBudget, "research-month", 10)
	if err != nil || len(history) != 4 || history[0].Version != 4 || history[3].Version != 1 {
		t.Errorf("history: %+v, %v", history, err)
	}
}

func TestEditsBySQL(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	s := store(t, dsn)
	if _, err := s.Apply(t.Context(), sample(), "ann"); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []struct{ sql, message string }{
		{"update keel.budgets set limit_usd = -1", "limit_usd must be from 0"},
		{"update keel.budgets set limit_usd = 'NaN'", "limit_usd must be from 0"},
		{"update keel.budgets set limit_usd = 'Infinity'", "limit_usd must be from 0"},
		{"update keel.budgets set limit_usd = 0.0000000001", "at most 9 decimals"},
		{"update keel.budgets set mode = 'strict'", "mode must be observe, prefer-cheap or enforce"},
		{"update keel.budgets set hold = 'all'", "hold must be bound or expected"},
		{`update keel.budgets set "window" = 'fortnight'`, "window: hour"},
		{"update keel.budgets set timezone = 'Europe/Atlantis'", `unknown time zone "Europe/Atlantis"`},
		{"update keel.budgets set timezone = 'europe/berlin'", "unknown time zone"},
		{`update keel.budgets set selector = '{"team": 7}'`, "selector must be an object of strings"},
		{`update keel.budgets set selector = '[]'`, "selector must be an object of strings"},
		{`update keel.budgets set tiers = '[{"at": 75, "do": "warn"}]'`, "tiers must be ascending"},
		{`update keel.budgets set tiers = '[{"at": "90%", "do": "warn"}, {"at": "75%", "do": "deny"}]'`, "tiers must be ascending"},
		{`update keel.budgets set tiers = '[{"at": "90%"}]'`, "tiers must be ascending"},
		{"update keel.budgets set per = '{null}'", "per must be label names"},
		{"update keel.budgets set name = 'other'", "cannot be changed"},
		{"update keel.budgets set org = 'other'", "cannot be changed"},
		{"truncate keel.budgets", "cannot be truncated"},
		{"update keel.routes set targets = '[]'", "targets must be"},
		{`update keel.routes set targets = '[{"provider": "openai", "model": "x", "quality": 2}]'`, "targets must be"},
		{`update keel.routes set targets = '[{"provider": "openai", "model": "x", "wieght": 1}]'`, "targets must be"},
		{"update keel.routes set min_quality = 1.1", "min_quality must be from 0 to 1"},
		{`update keel.policies set "do" = '{"deny": "x", "route": "y"}'`, "do: {deny}"},
		{`update keel.policies set "do" = '{"constrain": {"max_output_tokens": 0}}'`, "do: {deny}"},
		{`update keel.prices set rates = '[{"above": 0, "per_million": {"inputs": 1}}]'`, "rates:"},
		{`update keel.prices set rates = '[{"above": 0, "per_million": {"input": -1}}]'`, "rates:"},
		{`update keel.prices set rates = '[{"above": 0, "per_million": {"input": 0.0000001}}]'`, "rates:"},
		{`update keel.prices set rates = '[{"above": 5, "per_million": {"input": 1}}]'`, "rates:"},
		{`update keel.prices set rates = '[{"above": 0}]'`, "rates:"},
		{`update keel.prices set rates = '[{"above": 0, "per_unit": null}]'`, "rates:"},
		{`update keel.prices set rates = '[{"above": 0, "per_unit": ["calls"]}]'`, "rates:"},
		{`update keel.prices set rates = '[{"above": 0, "per_unit": {"input": 0.000001}}]'`, "rates:"},
		{`update keel.prices set rates = '[{"above": 0, "per_million": {"pages": 1}}]'`, "rates:"},
		{`update keel.prices set rates = '[{"above": 0, "per_million": {"calls": 5000}, "per_unit": {"calls": 0.005}}]'`, "rates:"},
		{`update keel.prices set rates = '[{"above": 0, "per_unit": {"calls": 0.0000000000001}}]'`, "rates:"},
		{`update keel.prices set rates = '[{"above": 0, "per_unit": {"calls": 9000001}}]'`, "rates:"},
		{`update keel.prices set rates = '[{"above": 0, "per_unit": {"calls": "1"}}]'`, "rates:"},
		{"update keel.prices set search_context = 'big'", "search_context must be low, medium, high or empty"},
		{"update keel.prices set daily = '9-17'", "daily must be like 16:30-00:30"},
		{"update keel.prices set daily = '24:00-01:00'", "daily must be like 16:30-00:30"},
		{"update keel.prices set daily = '09:00-09:00'", "daily must be like 16:30-00:30"},
		{"update keel.prices set currency = ''", "currency must be an ISO 4217 code"},
		{"update keel.prices set currency = 'euro'", "currency must be an ISO 4217 code"},
		{`update keel.exchange_rates set "from" = 'euro'`, "from and to must be ISO 4217 codes"},
		{`update keel.exchange_rates set "to" = 'GBP' where name = 'eur-2026'`, "either from or to must be USD"},
		{`update keel.exchange_rates set "from" = 'USD' where name = 'eur-2026'`, "either from or to must be USD"},
		{"update keel.exchange_rates set rate = 0", "rate must be a number above 0"},
		{"update keel.exchange_rates set rate = 'NaN'", "rate must be a number above 0"},
		{"update keel.exchange_rates set rate = 'Infinity'", "rate must be a number above 0"},
		{"update keel.exchange_rates set rate = 0.0000000000000000001", "rate must have at most 18 decimals"},
		{"update keel.exchange_rates set rate = 9223.372036854775808", "rate has too many digits"},
		{"update keel.exchange_rates set effective_from = 'infinity'", "effective_from must be a finite time"},
		{"update keel.exchange_rates set name = 'other'", "cannot be changed"},
		{"truncate keel.exchange_rates", "cannot be truncated"},
		{`update keel.subjects set "from" = '{"header": "X-Team"}'`, "from: one of"},
		{`update keel.subjects set "from" = '{"header": "x", "claim": "y"}'`, "from: one of"},
		{"update keel.settings set offline = 'allow'", "offline must be deny or allow_debt"},
		{"update keel.settings set malformed = 'drop'", "malformed must be pass or deny"},
		{"insert into keel.settings (org, name) values ('default', 'second')", "an org has one settings row"},
	} {
		if err := execute(t, dsn, bad.sql); err == nil || !strings.Contains(err.Error(), bad.message) {
			t.Errorf("%s: %v, want %q", bad.sql, err, bad.message)
		}
	}
	docs, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sameDocuments(t, docs, sample())

	if err := execute(t, dsn, "update keel.budgets set limit_usd = 500.00000000000, version = 77 where name = 'research-month'"); err != nil {
		t.Fatal(err)
	}
	docs, err = s.Load(t.Context())
	if err != nil || docs.Budgets[0].Limit != 500_000_000_000 || docs.Budgets[0].Version != 2 {
		t.Errorf("%+v, %v", docs.Budgets, err)
	}
	if err := execute(t, dsn, "update keel.budgets set limit_usd = 500 where name = 'research-month'"); err != nil {
		t.Fatal(err)
	}
	if v := query[int64](t, dsn, "select version from keel.budgets"); v != 2 {
		t.Errorf("version %d after an edit that changes nothing", v)
	}
	if by := query[string](t, dsn, "select changed_by || case when changed_by like session_user || '%' then ' ok' else '' end from keel.config_versions where version = 2"); !strings.HasSuffix(by, " ok") {
		t.Errorf("changed by %q", by)
	}
}

// Rates as documents had them before there was per_unit are read, and what people write by hand, too.
func TestPricesWrittenBySQL(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	s := store(t, dsn)
	for _, sql := range []string{
		`insert into keel.prices (name, provider, model, rates) values ('old', 'openai', 'gpt-5', '[{"above": 0, "per_million": {"input": 1.25, "web_search": 10000}}]')`,
		`insert into keel.prices (name, provider, model, currency, daily, rates) values ('new', 'mistral', 'ocr', 'EUR', '22:00-06:00', '[{"above": 0, "per_unit": {"pages": 0.00100}}]')`,
		`insert into keel.exchange_rates (name, "from", rate) values ('eur', 'EUR', 1.0800)`,
	} {
		if err := execute(t, dsn, sql); err != nil {
			t.Fatal(err)
		}
	}
	m := func(name string) budget.Meta { return budget.Meta{Org: "default", Name: name} }
	want := budget.Documents{
		Prices: []budget.Price{
			{Meta: m("new"), Price: pricing.Price{Provider: "mistral", Model: "ocr", Currency: "EUR", Daily: hours("22:00-06:00"), Tiers: []pricing.Step{{Rates: map[meter.Kind]pricing.PicoUSD{meter.Pages: 1_000_000_000}}}}},
			{Meta: m("old"), Price: pricing.Price{Provider: "openai", Model: "gpt-5", Tiers: []pricing.Step{{Rates: map[meter.Kind]pricing.PicoUSD{meter.Input: 1_250_000, meter.WebSearch: 10_000_000_000}}}}},
		},
		ExchangeRates: []budget.ExchangeRate{{Meta: m("eur"), Exchange: pricing.Exchange{From: "EUR", To: "USD", Rate: pricing.Decimal{Digits: 108, Places: 2}}}},
	}
	docs, err := s.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sameDocuments(t, docs, want)
	gone, err := s.Delete(t.Context(), "default", budget.KindExchangeRate, "eur", "ann")
	if err != nil || gone.Kind != budget.KindExchangeRate || gone.Version != 2 {
		t.Errorf("Delete: %+v, %v", gone, err)
	}
}

func TestMetersOfTheSchemaAreTheMeters(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	for k := range meter.NumKinds {
		if name := meter.Kind(k).String(); !query[bool](t, dsn, "select keel.is_meter($1)", name) {
			t.Errorf("keel.is_meter does not know %s: add a migration", name)
		}
		if name := meter.Kind(k).String(); query[bool](t, dsn, "select keel.is_by_million($1)", name) != pricing.ByMillion(meter.Kind(k)) {
			t.Errorf("keel.is_by_million is wrong about %s: add a migration", name)
		}
	}
}

func TestWatchSeesEditsBySQL(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	s := store(t, dsn)
	if _, err := s.Apply(t.Context(), sample(), "ann"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan pricing.NanoUSD, 10)
	var wg sync.WaitGroup
	wg.Go(func() {
		s.Watch(ctx, Snapshot{}, func(docs budget.Documents) { seen <- docs.Budgets[0].Limit }, nil)
	})
	defer wg.Wait()
	defer cancel()
	next := func(want pricing.NanoUSD, within time.Duration) {
		t.Helper()
		start := time.Now()
		select {
		case got := <-seen:
			t.Logf("after %s", time.Since(start))
			if got != want {
				t.Errorf("limit %s, want %s", got, want)
			}
		case <-time.After(within):
			t.Errorf("not seen within %s", within)
		}
	}
	next(2500_000_000_001, 5*time.Second)
	if err := execute(t, dsn, "update keel.budgets set limit_usd = 500"); err != nil {
		t.Fatal(err)
	}
	next(500_000_000_000, 500*time.Millisecond) // by notification
	if err := execute(t, dsn, "create or replace function keel.config_notify_off() returns int language sql as 'select 1'; "+
		"alter table keel.budgets disable trigger config_after_update; update keel.budgets set limit_usd = 400; alter table keel.budgets enable trigger config_after_update; "+
		"update keel.config_revisions set revision = revision + 1"); err != nil {
		t.Fatal(err)
	}
	next(400_000_000_000, 1100*time.Millisecond) // without
	if err := execute(t, dsn, "select pg_terminate_backend(pid) from pg_stat_activity where query like '%config_revisions%' and pid <> pg_backend_pid() and datname = current_database()"); err != nil {
		t.Fatal(err)
	}
	if err := execute(t, dsn, "update keel.budgets set limit_usd = 300"); err != nil {
		t.Fatal(err)
	}
	next(300_000_000_000, 2*time.Second) // after a reconnect
}

func TestConfigCache(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.json")
	want := sample()
	want.Budgets[0].Version = 7
	if err := SaveCache(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := LoadCache(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	content, _ := os.ReadFile(path)
	for _, bad := range [][]byte{content[:len(content)/2], slices.Concat(content[:len(content)-20], []byte("9"), content[len(content)-19:]), {}} {
		if _, err := parseCache(bad); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
		t.Errorf("left %v", files)
	}
}

func FuzzParseCache(f *testing.F) {
	f.Add([]byte(`{"format":1,"sha256":"","documents":[]}`))
	f.Add([]byte(`{"format":1,"sha256":"4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945","documents":[]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		_, _ = parseCache(content)
	})
}
