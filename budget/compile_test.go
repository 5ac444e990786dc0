package budget

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"keel/pricing"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

func testBudget(name string, change ...func(*Budget)) Budget {
	b := Budget{Meta: Meta{Name: name, Version: 1}, Limit: 1_000_000_000, Window: "day"}
	for _, c := range change {
		c(&b)
	}
	return b
}

func testPrice(name, model string) Price {
	return Price{Meta: Meta{Name: name}, Price: pricing.Price{
		Provider: "openai", Model: model, Tiers: []pricing.Step{{Rates: map[meter.Kind]pricing.PicoUSD{meter.Input: 1, meter.Output: 2}}},
	}}
}

func euro(name, model string) Price {
	p := testPrice(name, model)
	p.Currency = "EUR"
	return p
}

func exchangeRate(name, org string) ExchangeRate {
	return ExchangeRate{Meta: Meta{Org: org, Name: name, Version: 1}, Exchange: pricing.Exchange{
		From: "EUR", To: pricing.USD, Rate: pricing.Decimal{Digits: 12, Places: 1}, EffectiveFrom: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	}}
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		docs Documents
		want string
	}{
		{"window", Documents{Budgets: []Budget{testBudget("b", func(b *Budget) { b.Window = "rolling 400d" })}}, `Budget b: window: window "rolling 400d": a rolling window is at most 366 days long`},
		{"zone", Documents{Budgets: []Budget{testBudget("b", func(b *Budget) { b.Timezone = "Mars" })}}, "Budget b: timezone: unknown time zone"},
		{"org in the name", Documents{Budgets: []Budget{testBudget("b", func(b *Budget) { b.Org, b.Mode = "acme", "x" })}}, `Budget b of org acme: mode: mode "x"`},
		{"twice", Documents{Budgets: []Budget{testBudget("b"), testBudget("b")}}, "Budget b: it is there twice"},
		{"two settings", Documents{Settings: []Settings{{Meta: Meta{Name: "a"}}, {Meta: Meta{Name: "b"}}}}, "Settings b: the org has settings already (a)"},
		{"policy to no route", Documents{Policies: []Policy{{Meta: Meta{Name: "p"}, When: "true", Do: PolicyAction{Route: "r"}}}}, `Policy p: do.route: there is no route "r"`},
		{"price twice", Documents{Prices: []Price{testPrice("a", "m"), testPrice("b", "m")}}, "Price b: price of openai/m is there twice"},
		{"price without an exchange rate", Documents{Prices: []Price{euro("eur", "m")}}, "Price eur: price of openai/m is in EUR, which has no exchange rate"},
		{"exchange rate of another org", Documents{Prices: []Price{euro("eur", "m")}, ExchangeRates: []ExchangeRate{exchangeRate("x", "acme")}}, "Price eur: price of openai/m is in EUR"},
		{"exchange rate twice", Documents{ExchangeRates: []ExchangeRate{exchangeRate("x", ""), exchangeRate("y", "")}}, "ExchangeRate y: exchange rate between USD and EUR from 2026-01-01T00:00:00Z is there twice"},
		{"CEL", Documents{Policies: []Policy{{Meta: Meta{Name: "p"}, When: "tru", Do: PolicyAction{Deny: "x"}}}}, "Policy p: when: 1:1: undeclared reference to 'tru'"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg, err := Compile(tt.docs, pricing.Catalog())
			if err == nil || !strings.Contains(err.Error(), tt.want) || cfg != nil {
				t.Errorf("got %v; want %s", err, tt.want)
			}
		})
	}
}

func TestCompileKeeping(t *testing.T) {
	t.Parallel()
	good := Documents{
		Budgets: []Budget{testBudget("kept"), testBudget("changed"), testBudget("deleted")},
		Prices:  []Price{testPrice("p", "m")},
	}
	first, err := Compile(good, pricing.Catalog())
	if err != nil {
		t.Fatal(err)
	}
	next := Documents{
		Budgets: []Budget{
			testBudget("kept", func(b *Budget) { b.Version, b.Window = 2, "fortnight" }),
			testBudget("changed", func(b *Budget) { b.Version, b.Limit = 2, 5 }),
			testBudget("never-good", func(b *Budget) { b.Window = "fortnight" }),
		},
		Prices: []Price{testPrice("p", "m"), testPrice("q", "m")},
	}
	second, err := CompileKeeping(next, pricing.Catalog(), first)
	for _, want := range []string{"Budget kept: window", "Budget never-good: window", "Price q: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("err = %v; want %s", err, want)
		}
	}
	var got []string
	for _, b := range second.org(DefaultOrg).budgets {
		got = append(got, fmt.Sprint(b.Name, " ", b.Version, " ", b.Window))
	}
	if want := []string{"changed 2 day", "kept 1 day"}; !slices.Equal(got, want) {
		t.Errorf("budgets %v; want %v", got, want)
	}
	if _, ok := second.Book("").Rates("openai", "m", pricing.Terms{At: testTime}); !ok {
		t.Error("the good price is gone")
	}

	// What was kept is kept again.
	third, err := CompileKeeping(next, pricing.Catalog(), second)
	if err == nil || len(third.org(DefaultOrg).budgets) != 2 || third.Version != second.Version {
		t.Errorf("third: %v, %d budgets", err, len(third.org(DefaultOrg).budgets))
	}
}

// The prices of a list are compiled at once, and what is wrong with one, or what is kept
// of another, stays its own.
func TestCompileManyPrices(t *testing.T) {
	t.Parallel()
	var docs Documents
	for i := range 1000 {
		docs.Prices = append(docs.Prices, testPrice(fmt.Sprintf("p%03d", i), fmt.Sprintf("m%03d", i)))
	}
	first, err := Compile(docs, pricing.Catalog())
	if err != nil {
		t.Fatal(err)
	}
	docs.Prices = docs.Prices[:10]
	docs.Prices[3].Tiers = nil
	docs.Prices = append(docs.Prices, testPrice("p004", "again"), testPrice("z", "m005"))
	second, err := CompileKeeping(docs, pricing.Catalog(), first)
	for _, want := range []string{"Price p003: ", "Price p004: it is there twice", "Price z: price of openai/m005 is there twice"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("err = %v; want %s", err, want)
		}
	}
	docs.Prices = docs.Prices[:11] // these go together
	third, err := CompileKeeping(docs, pricing.Catalog(), first)
	if err == nil || strings.Contains(err.Error(), "m005") {
		t.Errorf("err = %v", err)
	}
	if second.Book("").Version() != third.Book("").Version() {
		t.Error("prices that are added at once make another book than one by one")
	}
	for model, want := range map[string]bool{"m000": true, "m003": true, "m009": true, "m010": false, "again": false} {
		if _, ok := third.Book("").Rates("openai", model, pricing.Terms{At: testTime}); ok != want {
			t.Errorf("%s has a price: %v", model, ok)
		}
	}
}

// A bad new version of an exchange rate leaves the prices of its currency as they were.
func TestCompileKeepsExchangeRates(t *testing.T) {
	t.Parallel()
	docs := func() Documents {
		return Documents{Prices: []Price{euro("eur", "m")}, ExchangeRates: []ExchangeRate{exchangeRate("x", "")}}
	}
	first, err := Compile(docs(), pricing.Catalog())
	if err != nil {
		t.Fatal(err)
	}
	next := docs()
	next.ExchangeRates[0].Rate = pricing.Decimal{}
	second, err := CompileKeeping(next, pricing.Catalog(), first)
	if err == nil || !strings.Contains(err.Error(), "ExchangeRate x: rate: an exchange rate is more than 0") {
		t.Errorf("err = %v", err)
	}
	if second.Version != first.Version || second.Book("").Version() != first.Book("").Version() {
		t.Error("the configuration is another one")
	}
	next = docs()
	next.ExchangeRates[0].Rate.Digits = 13
	third, err := Compile(next, pricing.Catalog())
	if err != nil || third.Book("").Version() == first.Book("").Version() {
		t.Errorf("a new exchange rate leaves the book as it was: %v", err)
	}
	next.ExchangeRates = nil
	if _, err = CompileKeeping(next, pricing.Catalog(), third); err == nil || !strings.Contains(err.Error(), "Price eur: price of openai/m is in EUR") {
		t.Errorf("without the exchange rate: %v", err)
	}
}

func TestConfigVersion(t *testing.T) {
	t.Parallel()
	version := func(docs Documents) string {
		cfg, err := Compile(docs, pricing.Catalog())
		if err != nil {
			t.Fatal(err)
		}
		return cfg.Version
	}
	a, b := testBudget("a"), testBudget("b")
	base := version(Documents{Budgets: []Budget{a, b}})
	if version(Documents{Budgets: []Budget{b, a}}) != base {
		t.Error("the order of documents changes the version")
	}
	a.Version++
	if version(Documents{Budgets: []Budget{a, b}}) == base {
		t.Error("a new version of a document does not change the version")
	}
}

func TestOrgsAreApart(t *testing.T) {
	t.Parallel()
	acme := testPrice("p", "m")
	acme.Org = "acme"
	cfg, err := Compile(Documents{
		Prices:   []Price{acme},
		Subjects: []SubjectRule{{Meta: Meta{Name: "s", Org: "acme"}, Label: "team", From: Source{Header: "x"}}},
		Settings: []Settings{{Meta: Meta{Name: "s", Org: "acme"}, Unknown: UnknownDeny}},
	}, pricing.Catalog())
	if err != nil {
		t.Fatal(err)
	}
	for org, want := range map[string]bool{"acme": true, "": false, DefaultOrg: false, "other": false} {
		_, priced := cfg.Book(org).Rates("openai", "m", pricing.Terms{At: testTime})
		if priced != want || (len(cfg.Subjects(org)) > 0) != want || (cfg.Settings(org).Unknown == UnknownDeny) != want {
			t.Errorf("org %q: price %v, subjects %v, settings %+v", org, priced, cfg.Subjects(org), cfg.Settings(org))
		}
	}
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "anything", true},
		{"a", "a", true}, {"a", "ab", false}, {"A", "a", false}, {"a*", "", false},
		{"gpt-*", "gpt-5", true}, {"gpt-*", "gpt-", true}, {"gpt-*", "xgpt-5", false},
		{"*-mini", "gpt-5-mini", true}, {"*-mini", "-mini", true}, {"*-mini", "mini", false},
		{"a*a", "a", false}, {"a*a", "aa", true}, {"a*b*c", "abc", true}, {"a*b*c", "acb", false}, {"a*bc*c", "abc", false},
		{"*x*", "axb", true}, {"*x*", "ab", false}, {"*a*a*", "a", false}, {"*a*a*", "aa", true},
	} {
		g, err := parseGlob(tt.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if g.match(tt.s) != tt.want {
			t.Errorf("%q matches %q: %v", tt.pattern, tt.s, !tt.want)
		}
	}
}

func TestRouteFor(t *testing.T) {
	t.Parallel()
	route := func(name string, models ...string) Route {
		return Route{Meta: Meta{Name: name}, Models: models, Targets: []Target{{Provider: "p", Model: "m"}}}
	}
	cfg, err := Compile(Documents{Routes: []Route{
		route("any", "*"), route("b", "gpt-*"), route("a", "gpt-*"), route("mini", "gpt-5*mini"), route("exact", "o1", "gpt-5"),
	}}, pricing.Catalog())
	if err != nil {
		t.Fatal(err)
	}
	for model, want := range map[string]string{"gpt-5": "exact", "gpt-5-mini": "mini", "gpt-4": "a", "claude": "any"} {
		if got := cfg.org("").routeFor(model).Name; got != want {
			t.Errorf("route for %s is %s; want %s", model, got, want)
		}
	}
}

// The index finds what a look at every budget finds.
func TestMatchingIsExact(t *testing.T) {
	t.Parallel()
	value := rapid.SampledFrom([]string{"", "a", "b", "ab", "aab", "abb", "ba"})
	rapid.Check(t, func(t *rapid.T) {
		selectors := rapid.SliceOfN(rapid.MapOf(rapid.SampledFrom([]string{"team", "user", "model", "provider"}), rapid.SampledFrom([]string{"", "a", "b", "a*", "*b", "ab*", "*ab", "a*b", "*a*", "*"})), 0, 30).Draw(t, "selectors")
		var docs Documents
		for i, s := range selectors {
			docs.Budgets = append(docs.Budgets, testBudget(fmt.Sprintf("b%02d", i), func(b *Budget) { b.Selector = s }))
		}
		cfg, err := Compile(docs, pricing.Catalog())
		if err != nil {
			t.Fatal(err)
		}
		labels := traits{subject: rapid.MapOf(rapid.SampledFrom([]string{"team", "user"}), value).Draw(t, "subject"), model: value.Draw(t, "model"), provider: value.Draw(t, "provider")}
		var want, got []string
		for i, selector := range selectors {
			matches := true
			for label, pattern := range selector {
				v := labels.label(label)
				matches = matches && regexp.MustCompile("^"+strings.ReplaceAll(pattern, "*", ".*")+"$").MatchString(v)
			}
			if matches {
				want = append(want, fmt.Sprintf("b%02d", i))
			}
		}
		for _, b := range cfg.org("").matching(nil, &labels) {
			got = append(got, b.Name)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %v; want %v", got, want)
		}
	})
}

// However many budgets there are, a call looks at those that its own values name.
func TestIndexLooksAtFew(t *testing.T) {
	t.Parallel()
	var docs Documents
	add := func(selector map[string]string) {
		docs.Budgets = append(docs.Budgets, testBudget(fmt.Sprintf("b%04d", len(docs.Budgets)), func(b *Budget) { b.Selector = selector }))
	}
	for i := range 500 {
		add(map[string]string{"user": fmt.Sprintf("u%d", i), "model": "gpt-*"})
		add(map[string]string{"team": fmt.Sprintf("t%d-*", i), "provider": "openai"})
		add(map[string]string{"user": fmt.Sprintf("*@c%d.example", i), "model": "*"})
		add(map[string]string{"app": fmt.Sprintf("*-a%d-*", i), "api": fmt.Sprintf("x%d*y", i)})
	}
	add(nil)
	add(map[string]string{"model": "*"})
	cfg, err := Compile(docs, pricing.Catalog())
	if err != nil {
		t.Fatal(err)
	}
	org := cfg.org("")
	call := traits{subject: Subject{"user": "ada@c7.example", "team": "t8-web", "app": "the-a9-app"}, provider: "openai", model: "gpt-5", api: "x9y"}
	if n := len(org.index.candidates(nil, &call)); n != 5 || len(org.matching(nil, &call)) != 5 {
		t.Errorf("%d of %d budgets looked at, %d match; want 5, 5", n, len(docs.Budgets), len(org.matching(nil, &call)))
	}
}

// No two combinations of label values share an account, and a key is always
// text that a database index can keep.
func TestAccountKeysAreDistinct(t *testing.T) {
	t.Parallel()
	value := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", ",user=", "%2C", "a,b", "\x00", "\xff", "~"}), rapid.StringN(300, 400, -1))
	rapid.Check(t, func(t *rapid.T) {
		per := []string{"team", "user"}
		draw := func() (string, [2]string) {
			v := [2]string{value.Draw(t, "team"), value.Draw(t, "user")}
			return accountKey(per, &traits{subject: Subject{"team": v[0], "user": v[1]}}), v
		}
		a, av := draw()
		b, bv := draw()
		if (a == b) != (av == bv) {
			t.Fatalf("%q and %q for %q and %q", a, b, av, bv)
		}
		if len(a) > maxKeyLength || strings.ToValidUTF8(a, "") != a || strings.Contains(a, "\x00") {
			t.Fatalf("key %q", a)
		}
	})
}

func TestConfigIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	cfg := compiled(t, testPrices+fmt.Sprintf(testRoute, "prefer-cheap")+"kind: Budget\nname: b\nlimit: 1 USD\nwindow: hour\nper: [user]\n---\nkind: Policy\nname: p\nwhen: subject.team == ''\ndo: {deny: x}\n")
	decider := &Decider{Ledger: freeLedger{}, Estimator: tokens.New()}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				call := testCall()
				call.At = call.At.Add(time.Duration(i*j) * time.Minute)
				if d := decider.Decide(t.Context(), cfg, call); len(d.Holds) != 1 || call.At.Before(d.Holds[0].WindowStart) || !call.At.Before(d.Holds[0].WindowEnd) {
					t.Errorf("hold %+v at %s", d.Holds, call.At)
				}
			}
		})
	}
	wg.Wait()
}
