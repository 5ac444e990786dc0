package budget

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"keel/pricing"
	"keel/pricing/meter"
)

// The documents of the design, word for word.
const designDocuments = `kind: Budget
name: research-month
selector: {team: research, model: "gpt-*"}     # labels; globs; provider, model, route too
limit: 2500 USD
window: month
timezone: Europe/Berlin
mode: enforce            # observe | prefer-cheap | enforce
hold: bound              # bound | expected
tiers: [{at: 75%, do: warn}, {at: 90%, do: prefer-cheap}, {at: 100%, do: deny}]
---
kind: Route
name: chat-large
models: [gpt-5, "gpt-5-2*"]
mode: prefer-cheap
targets:
  - {provider: openai, model: gpt-5, quality: 1.0}
  - {provider: openai, model: gpt-5-mini, quality: 0.8}
min_quality: 0.7
---
# nothing but a comment
---
kind: Policy
name: cap-output
when: 'subject.team == "interns" && request.model.startsWith("claude-opus")'   # CEL
do: {constrain: {max_output_tokens: 1024}}     # or {deny: "reason"}, {route: name}
---
kind: Price
name: openai-gpt-5-2026
provider: openai
model: gpt-5
effective_from: 2026-01-01
per_million: {input: 1.25, cached_input: 0.125, output: 10 USD}
per_unit: {web_search: 0.01}
contract: acme-2026
tiers:
  - {above: 200000, per_million: {input: 2.5, output: 15}}
---
kind: Price
name: deepseek-night
provider: deepseek
model: deepseek-chat
daily: 16:30-00:30
region: cn
search_context: low
currency: EUR
per_million: {input: 0.2, output: 0.8}
per_unit: {pages: 0.001}
---
{kind: ExchangeRate, name: eur-2026, from: EUR, to: USD, rate: 1.0842, effective_from: 2026-01-01}
---
- kind: Subject
  name: team
  from: {header: X-Team}
  label: team
- {kind: Subject, org: acme, name: who, from: {claim: sub}, label: user}
---
kind: Settings
name: default
unknown: pass
offline: deny
durability: os
`

func TestReadDocuments(t *testing.T) {
	t.Parallel()
	got, err := ReadDocuments(strings.NewReader(designDocuments), "keel.yaml")
	if err != nil {
		t.Fatal(err)
	}
	night, err := pricing.ParseHours("16:30-00:30")
	if err != nil {
		t.Fatal(err)
	}
	here := func(name string) Meta { return Meta{Org: DefaultOrg, Name: name} }
	want := Documents{
		Budgets: []Budget{{
			Meta: here("research-month"), Selector: map[string]string{"team": "research", "model": "gpt-*"},
			Limit: 2500_000_000_000, Window: "month", Timezone: "Europe/Berlin", Mode: Enforce, Hold: HoldBound, Cut: CutNow,
			Tiers: []Tier{{75, Warn}, {90, EffectPreferCheap}, {100, EffectDeny}},
		}},
		Routes: []Route{{
			Meta: here("chat-large"), Models: []string{"gpt-5", "gpt-5-2*"}, Mode: PreferCheap,
			Targets: []Target{{Provider: "openai", Model: "gpt-5", Quality: "1.0"}, {Provider: "openai", Model: "gpt-5-mini", Quality: "0.8"}}, MinQuality: "0.7",
		}},
		Policies: []Policy{{
			Meta: here("cap-output"), When: `subject.team == "interns" && request.model.startsWith("claude-opus")`,
			Do: PolicyAction{MaxOutputTokens: 1024},
		}},
		Prices: []Price{{Meta: here("openai-gpt-5-2026"), Price: pricing.Price{
			Provider: "openai", Model: "gpt-5", EffectiveFrom: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Contract: "acme-2026",
			Tiers: []pricing.Step{
				{Rates: map[meter.Kind]pricing.PicoUSD{meter.Input: 1_250_000, meter.CachedInput: 125_000, meter.Output: 10_000_000, meter.WebSearch: 10_000_000_000}},
				{Above: 200_000, Rates: map[meter.Kind]pricing.PicoUSD{meter.Input: 2_500_000, meter.Output: 15_000_000}},
			},
		}}, {Meta: here("deepseek-night"), Price: pricing.Price{
			Provider: "deepseek", Model: "deepseek-chat", Region: "cn", SearchContext: "low", Daily: night, Currency: "EUR",
			Tiers: []pricing.Step{{Rates: map[meter.Kind]pricing.PicoUSD{meter.Input: 200_000, meter.Output: 800_000, meter.Pages: 1_000_000_000}}},
		}}},
		ExchangeRates: []ExchangeRate{{Meta: here("eur-2026"), Exchange: pricing.Exchange{
			From: "EUR", To: "USD", Rate: pricing.Decimal{Digits: 10842, Places: 4}, EffectiveFrom: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		}}},
		Subjects: []SubjectRule{
			{Meta: here("team"), Label: "team", From: Source{Header: "x-team"}},
			{Meta: Meta{Org: "acme", Name: "who"}, Label: "user", From: Source{Claim: "sub"}},
		},
		Settings: []Settings{{Meta: here("default"), Unknown: UnknownPass, Malformed: UnknownDeny, Offline: OfflineDeny, Durability: "os", MaxAttempts: 1, UnknownAttempt: ChargeFull, OutputFloor: 256, Policies: PoliciesAll}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestReadPrices: the ways to write a price that mean the same.
func TestReadPrices(t *testing.T) {
	t.Parallel()
	const head = "kind: Price\nname: p\nprovider: deepseek\nmodel: deepseek-chat\n"
	rates := func(in, out pricing.PicoUSD) []pricing.Step {
		return []pricing.Step{{Rates: map[meter.Kind]pricing.PicoUSD{meter.Input: in, meter.Output: out}}}
	}
	hours, err := pricing.ParseHours("16:30-00:30")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, text string
		want       pricing.Price
	}{
		{"a suffix", "per_million: {input: 9.5 EUR, output: 38 EUR}", pricing.Price{Currency: "EUR", Tiers: rates(9_500_000, 38_000_000)}},
		{"a field", "currency: EUR\nper_million: {input: 9.5, output: 38 EUR}", pricing.Price{Currency: "EUR", Tiers: rates(9_500_000, 38_000_000)}},
		{"a field behind", "per_million: {input: 9.5, output: 38}\ncurrency: EUR", pricing.Price{Currency: "EUR", Tiers: rates(9_500_000, 38_000_000)}},
		{"dollars are what is not said", "per_million: {input: 9.5, output: 38 USD}\ncurrency: USD", pricing.Price{Tiers: rates(9_500_000, 38_000_000)}},
		{"terms", "region: us\nsearch_context: low\ndaily: 16:30-00:30\nper_million: {input: 1, output: 2}", pricing.Price{Region: "us", SearchContext: "low", Daily: hours, Tiers: rates(1_000_000, 2_000_000)}},
		{"units", "per_unit: {pages: 0.000000000001, images: 0.04}", pricing.Price{Tiers: []pricing.Step{{Rates: map[meter.Kind]pricing.PicoUSD{meter.Pages: 1, meter.Images: 40_000_000_000}}}}},
		{"searches and calls by the million, as of old", "per_million: {web_search: 10000, calls: 1}", pricing.Price{Tiers: []pricing.Step{{Rates: map[meter.Kind]pricing.PicoUSD{meter.WebSearch: 10_000_000_000, meter.Calls: 1_000_000}}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			docs, err := ReadDocuments(strings.NewReader(head+tt.text+"\n"), "f.yaml")
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Provider, tt.want.Model = "deepseek", "deepseek-chat"
			if diff := cmp.Diff(tt.want, docs.Prices[0].Price); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestReadDocumentsRefuses(t *testing.T) {
	t.Parallel()
	price := func(lines string) string { return "kind: Price\nname: p\nprovider: o\nmodel: m\n" + lines + "\n" }
	budget := func(line string) string { return "kind: Budget\nname: b\nlimit: 1 USD\nwindow: day\n" + line + "\n" }
	for _, tt := range []struct{ name, text, want string }{
		{"unknown field", budget("limti: 2500 USD"), `f.yaml:5:1: unknown field "limti"; there are cut, hold, kind, limit, mode, name, offline, offline_debt, org, per, selector, template, tiers, timezone, window
    5 | limti: 2500 USD
      | ^`},
		{"unknown nested field", budget("tiers: [{at: 75%, do: warn, to: me}]"), `f.yaml:5:29: unknown field "to"; there are at, do
    5 | tiers: [{at: 75%, do: warn, to: me}]
      |                             ^`},
		{"unknown kind", "kind: Budgets\nname: b\n", `f.yaml:1:7: unknown kind "Budgets"; it is one of Subject, Budget, Route, Policy, ExchangeRate, Price, Settings
    1 | kind: Budgets
      |       ^`},
		{"no kind", "name: b\n", "f.yaml:1:1: a document needs a kind"},
		{"duplicate key", budget("mode: observe\nmode: enforce"), `f.yaml:6:1: "mode" is there twice, first on line 5`},
		{"duplicate key in a mapping", budget("selector: {team: a, team: b}"), `f.yaml:5:21: "team" is there twice, first on line 5`},
		{"duplicate document", budget("") + "---\n" + budget(""), "f.yaml:8:7: Budget b is there twice, first on line 2"},
		{"wrong type: list", budget("mode: [enforce]"), "f.yaml:5:7: mode: a list where text or a number is needed"},
		{"wrong type: bool", budget("mode: true"), "f.yaml:5:7: mode: a truth value (quote it if it is text) where text or a number is needed"},
		{"wrong type: nothing", budget("mode:"), "mode: nothing where text or a number is needed"},
		{"wrong type: scalar", budget("tiers: 75%"), "f.yaml:5:8: tiers: a single value where a list is needed"},
		{"wrong type: document", "just text\n", "f.yaml:1:1: document: a single value where {field: value} is needed"},
		{"anchor", budget("mode: &m enforce"), "anchor or alias, which documents can't have"},
		{"merge", budget("<<: {mode: enforce}"), `unknown field "<<"`},
		{"tag", budget("mode: !!str enforce"), "a tag, which documents can't have"},
		{"bad mode", budget("mode: strict"), `f.yaml:5:7: mode "strict": it is one of observe, prefer-cheap, enforce
    5 | mode: strict
      |       ^`},
		{"bad hold", budget("hold: most"), `f.yaml:5:7: hold "most": it is one of bound, expected`},
		{"bad zone", budget("timezone: Europe/Berln"), `f.yaml:5:11: unknown time zone "Europe/Berln"`},
		{"bad window", "kind: Budget\nname: b\nlimit: 1 USD\nwindow: monthly\n", `f.yaml:4:9: unknown window "monthly"; it is one of hour, day`},
		{"rolling", "kind: Budget\nname: b\nlimit: 1 USD\nwindow: rolling 1w\n", `f.yaml:4:9: window "rolling 1w": write its length in minutes, hours or days`},
		{"rolling too long", "kind: Budget\nname: b\nlimit: 1 USD\nwindow: rolling 367d\n", `f.yaml:4:9: window "rolling 367d": a rolling window is at most 366 days long`},
		{"rolling in a zone", "kind: Budget\nname: b\nlimit: 1 USD\nwindow: rolling 24h\ntimezone: Europe/Berlin\n", `f.yaml:4:9: window "rolling 24h": a rolling window begins at no time of any clock; leave timezone out`},
		{"bad offline", budget("offline: allow"), `f.yaml:5:10: offline "allow": it is one of deny, allow_debt`},
		{"bad cut", budget("cut: later"), `f.yaml:5:6: cut "later": it is one of now, strict`},
		{"debt without currency", budget("offline_debt: 50"), `f.yaml:5:15: offline_debt: `},
		{"negative debt", budget("offline_debt: -1 USD"), `f.yaml:5:15: a debt can't be negative; 0 USD allows none`},
		{"debt where none is allowed", budget("offline_debt: 1 USD\noffline: deny"), `f.yaml:5:15: offline: deny allows no debt; write offline: allow_debt`},
		{"no window", "kind: Budget\nname: b\nlimit: 1 USD\n", `f.yaml:1:1: unknown window ""`},
		{"no limit", "kind: Budget\nname: b\nwindow: day\n", "f.yaml:1:1: a budget needs a limit, such as 2500 USD"},
		{"negative limit", "kind: Budget\nname: b\nlimit: -5 USD\nwindow: day\n", "f.yaml:3:8: a limit can't be negative"},
		{"limit without currency", "kind: Budget\nname: b\nlimit: 5\nwindow: day\n", `f.yaml:3:8: limit: money "5" has no currency: write it as "5 USD"`},
		{"other currency", "kind: Budget\nname: b\nlimit: 5 EUR\nwindow: day\n", `currency "EUR" is not supported`},
		{"exponent", "kind: Budget\nname: b\nlimit: 1e3 USD\nwindow: day\n", "not a decimal number"},
		{"bad glob", budget("selector: {model: 'gpt-?'}"), `f.yaml:5:19: glob "gpt-?": '?' has no meaning; only * does (any text)`},
		{"bad label", budget("selector: {te am: x}"), `label "te am"`},
		{"bad percentage", budget("tiers: [{at: 0.75, do: warn}]"), `f.yaml:5:14: tiers[0].at: "0.75": write a whole percentage such as 75%`},
		{"percentage out of range", budget("tiers: [{at: 0%, do: warn}]"), "f.yaml:5:14: at 0%: a tier is at 1% to 1000% of the limit"},
		{"bad tier effect", budget("tiers: [{at: 10%, do: shout}]"), `f.yaml:5:23: do "shout": it is one of warn, prefer-cheap, deny`},
		{"bad name", "kind: Settings\nname: a b\n", `f.yaml:2:7: name "a b": use letters`},
		{"no name", "kind: Settings\nunknown: pass\n", "f.yaml:1:1: every document needs a name"},
		{"no targets", "kind: Route\nname: r\nmodels: [a]\n", "f.yaml:1:1: a route needs targets"},
		{"target without model", "kind: Route\nname: r\nmodels: [a]\ntargets:\n  - {provider: openai}\n", "f.yaml:5:5: a target needs the exact name of its model"},
		{"bad quality", "kind: Route\nname: r\nmodels: [a]\ntargets: [{provider: p, model: m, quality: 1.5}]\n", `f.yaml:4:44: quality "1.5": it is a decimal from 0 to 1`},
		{"quality out of reach", "kind: Route\nname: r\nmodels: [a]\nmin_quality: 0.9\ntargets: [{provider: p, model: m, quality: 0.5}]\n", "f.yaml:4:14: no target has a quality of 0.9 or more"},
		{"bad CEL, in its place", "kind: Policy\nname: p\nwhen: 'subject.team == 1'\ndo: {deny: no}\n", `f.yaml:3:21: found no matching overload for '_==_' applied to '(string, int)'
    3 | when: 'subject.team == 1'
      |                     ^`},
		{"bad CEL in a block", "kind: Policy\nname: p\nwhen: |\n  true &&\n    request.modle == \"x\"\ndo: {deny: no}\n", `f.yaml:5:12: request has no such field`},
		{"policy that does two things", "kind: Policy\nname: p\nwhen: 'true'\ndo: {deny: no, route: r}\n", "f.yaml:4:5: a policy does one thing"},
		{"watch with an unknown end", "kind: Policy\nname: p\nwhen: 'true'\ndo: {watch: {extend: 1 USD, end: cut}}\n", `f.yaml:4:34: do.watch.end "cut": it is one of finish, error`},
		{"watch with a step below nothing", "kind: Policy\nname: p\nwhen: 'true'\ndo: {watch: {extend: -1 USD}}\n", "f.yaml:4:22: a hold can't grow by less than nothing"},
		{"constrain to nothing", "kind: Policy\nname: p\nwhen: 'true'\ndo: {constrain: {max_output_tokens: 0}}\n", `do.constrain.max_output_tokens: "0": write a whole number of at least 1`},
		{"unknown meter", "kind: Price\nname: p\nprovider: o\nmodel: m\nper_million: {inptu: 1}\n", `f.yaml:5:15: unknown meter "inptu"`},
		{"no rates", "kind: Price\nname: p\nprovider: o\nmodel: m\n", "no rates"},
		{"rate too fine", "kind: Price\nname: p\nprovider: o\nmodel: m\nper_million: {input: 0.0000001}\n", "more than 6 decimals"},
		{"negative rate", "kind: Price\nname: p\nprovider: o\nmodel: m\nper_unit: {calls: -1}\n", "a price can't be negative"},
		{"token by the unit", price("per_unit: {input: 1.25}"), `f.yaml:5:12: the rate of input is for a million: write it under per_million
    5 | per_unit: {input: 1.25}
      |            ^`},
		{"page by the million", price("per_million: {input: 1}\ntiers: [{above: 5, per_million: {pages: 1}}]"), "f.yaml:6:34: the rate of pages is for one: write it under per_unit"},
		{"meter in both", price("per_million: {calls: 5000}\nper_unit: {calls: 0.005}"), "f.yaml:6:12: calls has a rate already"},
		{"rate per unit too fine", price("per_unit: {pages: 0.0000000000001}"), `f.yaml:5:19: per_unit.pages: "0.0000000000001": more than 12 decimals`},
		{"rate too large", price("per_unit: {pages: 10000000}"), "f.yaml:5:19: per_unit.pages: \"10000000\": amount is too large"},
		{"bad currency of a rate", price("per_million: {input: 1 euro}"), `f.yaml:5:22: per_million.input: "1 euro": "euro" is not an ISO 4217 code`},
		{"bad currency", price("currency: euro\nper_million: {input: 1}"), `f.yaml:5:11: currency "euro": write an ISO 4217 code like EUR`},
		{"two currencies", price("per_million: {input: 1 EUR, output: 2 USD}"), "f.yaml:5:37: per_million.output is in USD, and the price in EUR: all rates of a price are in one currency"},
		{"two currencies in steps", price("per_million: {input: 1 EUR}\ntiers: [{above: 5, per_million: {input: 1 GBP}}]"), "f.yaml:6:41: tiers[0].per_million.input is in GBP, and the price in EUR"},
		{"rate in another currency than the price", price("currency: EUR\nper_million: {input: 1, output: 2 USD}"), "f.yaml:6:33: per_million.output is in USD, and the price in EUR"},
		{"one rate without its currency", price("per_million: {input: 1, output: 2 EUR}"), "f.yaml:5:22: per_million.input has no currency, which is USD, and other rates are in EUR: write currency: EUR once"},
		{"bad hours", price("daily: 9-17\nper_million: {input: 1}"), `f.yaml:5:8: daily: time of day "9-17": write it as 16:30-00:30, UTC`},
		{"bad search context", price("search_context: big\nper_million: {input: 1}"), `f.yaml:5:17: search_context "big": it is one of low, medium, high`},
		{"bad currency of an exchange rate", "kind: ExchangeRate\nname: x\nfrom: euro\nto: USD\nrate: 1.1\n", `f.yaml:3:7: from "euro": write an ISO 4217 code like EUR`},
		{"exchange rate without from", "kind: ExchangeRate\nname: x\nto: USD\nrate: 1.1\n", `f.yaml:1:1: from "": write an ISO 4217 code`},
		{"exchange rate of nothing", "kind: ExchangeRate\nname: x\nfrom: EUR\nto: USD\nrate: 0\n", "f.yaml:5:7: an exchange rate is more than 0"},
		{"exchange rate without a rate", "kind: ExchangeRate\nname: x\nfrom: EUR\nto: USD\n", "f.yaml:1:1: an exchange rate is more than 0"},
		{"exchange rate that is no decimal", "kind: ExchangeRate\nname: x\nfrom: EUR\nto: USD\nrate: 1e3\n", `f.yaml:5:7: rate: "1e3": not a decimal number`},
		{"exchange rate without USD", "kind: ExchangeRate\nname: x\nfrom: EUR\nto: GBP\nrate: 1.1\n", "f.yaml:4:5: exchange rate from EUR to GBP: one of them must be USD"},
		{"bad date", "kind: Price\nname: p\nprovider: o\nmodel: m\neffective_from: 1.1.2026\nper_million: {input: 1}\n", `effective_from: "1.1.2026": write a date such as 2026-01-31`},
		{"subject from nowhere", "kind: Subject\nname: s\nlabel: team\nfrom: {}\n", "f.yaml:4:7: a label comes from one place"},
		{"subject from two places", "kind: Subject\nname: s\nlabel: team\nfrom: {header: x-a, claim: b}\n", "a label comes from one place"},
		{"subject takes a label of the call", "kind: Subject\nname: s\nlabel: model\nfrom: {header: x-a}\n", `the label "model" is taken`},
		{"bad settings", "kind: Settings\nname: s\noffline: maybe\n", `f.yaml:3:10: offline "maybe": it is one of deny, allow_debt`},
		{"syntax", "kind: Settings\nname: [a\n", "f.yaml:2:7: sequence end token ']' not found"},
		{"behind the marker", "--- {kind: Settings}\n", "begin a document on the line behind ---"},
		{"not UTF-8", "kind: \xff\n", "f.yaml: not UTF-8 text"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			docs, err := ReadDocuments(strings.NewReader(tt.text), "f.yaml")
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
			if len(docs.Metas()) > 0 {
				t.Error("documents were returned with the error")
			}
		})
	}
}

func TestReadDocumentsReportsEveryError(t *testing.T) {
	t.Parallel()
	text := `kind: Budget
name: a
limit: 5 EUR
windo: day
---
kind: Policy
name: p
when: subject.team = "x"
do: {deny: x}
---
kind: [
---
kind: Budget
name: b
limit: 5 USD
window: monthly
timezone: Mars
`
	_, err := ReadDocuments(strings.NewReader(text), "f.yaml")
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatal(err)
	}
	var lines []int
	for _, e := range joined.Unwrap() {
		var at *SourceError
		if !errors.As(e, &at) {
			t.Fatalf("%T", e)
		}
		lines = append(lines, at.Line)
	}
	for _, line := range []int{3, 4, 8, 11, 16, 17} {
		if !strings.Contains(err.Error(), strings.Split(text, "\n")[line-1]) {
			t.Errorf("nothing about line %d in:\n%v", line, err)
		}
	}
	if len(lines) < 6 {
		t.Errorf("errors on lines %v", lines)
	}
}

// What is written is read again as the same, in both forms.
func TestWriteRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		docs := drawDocuments(t)
		for name, write := range map[string]func(*bytes.Buffer) error{
			"YAML": func(b *bytes.Buffer) error { return WriteYAML(b, docs) },
			"JSON": func(b *bytes.Buffer) error { return WriteJSON(b, docs) },
		} {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			text := b.String()
			again, err := ReadDocuments(&b, name)
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, text)
			}
			byName := cmpopts.SortSlices(func(a, b SubjectRule) bool { return a.Name < b.Name })
			byPolicy := cmpopts.SortSlices(func(a, b Policy) bool { return a.Name < b.Name })
			if diff := cmp.Diff(docs, again, cmpopts.EquateEmpty(), byName, byPolicy); diff != "" {
				t.Fatalf("%s -want +got:\n%s\n%s", name, diff, text)
			}
			for _, d := range Diff(docs, again) {
				if d.Change != Unchanged {
					t.Fatalf("%+v", d)
				}
			}
		}
	})
}

var (
	anyText = rapid.StringN(1, 30, 200).Filter(func(s string) bool { return strings.ToValidUTF8(s, "") == s })
	tricky  = rapid.SampledFrom([]string{"true", "null", "~", "1.5", "0x10", " a ", "a: b", "#x", "- a", "it's", `say "no"`, "a\nb", "tab\t", "{}", "[", "*", "&a", "!t", "é", "\u2028", "%", "@", "`", "a\\b", "---", "yes", "\U0001F600", "\x00", "\x7f", "\ufeff"})
	label   = rapid.OneOf(anyText, tricky)
	globs   = rapid.SampledFrom([]string{"gpt-*", "*", "", "a b", "true", "1", "x*y*z", "it's"})
)

// drawDocuments draws one valid document of each kind, more or less.
func drawDocuments(t *rapid.T) Documents {
	meta := func(name string) Meta {
		return Meta{Org: rapid.SampledFrom([]string{DefaultOrg, "acme", "Acme Corp: x", "true", "12"}).Draw(t, "org"), Name: name}
	}
	docs := Documents{
		Budgets: []Budget{{
			Meta: meta("b-1"), Selector: rapid.MapOf(rapid.SampledFrom([]string{"team", "model", "no", "y"}), globs).Draw(t, "selector"),
			Limit:  pricing.NanoUSD(rapid.Int64Range(0, 1<<62).Draw(t, "limit")),
			Window: rapid.SampledFrom([]string{"hour", "day", "week", "month", "quarter", "year", "lifetime"}).Draw(t, "window"), Timezone: rapid.SampledFrom(append(testZones, "Etc/GMT+1")).Draw(t, "zone"),
			Mode: rapid.SampledFrom([]Mode{Observe, PreferCheap, Enforce}).Draw(t, "mode"), Hold: HoldExpected, Cut: rapid.SampledFrom([]Cut{CutNow, CutStrict}).Draw(t, "cut"), Offline: rapid.SampledFrom([]Offline{"", OfflineAllowDebt}).Draw(t, "offline"),
			OfflineDebt: rapid.SampledFrom([]*pricing.NanoUSD{nil, new(pricing.NanoUSD(0)), new(pricing.NanoUSD(5_000_000_001))}).Draw(t, "debt"),
			Tiers:       []Tier{{rapid.IntRange(1, 50).Draw(t, "at"), Warn}, {rapid.IntRange(51, 1000).Draw(t, "at"), EffectDeny}}, Per: []string{"user", "on"}, Template: rapid.Bool().Draw(t, "template"),
		}},
		Routes: []Route{{
			Meta: meta("1.5"), Models: []string{"a*", "true"}, Mode: PreferCheap, MinQuality: "0.50", MaxAttempts: 2,
			Targets: []Target{{
				Provider: label.Filter(func(s string) bool { return !strings.Contains(s, "*") }).Draw(t, "provider"), Model: "m:1", Quality: "1.0",
				Credential: CredentialInjected,
			}, {Provider: "p", Model: "null", Quality: "0.25", Lacks: []Lack{LackTools, LackSchema}}},
		}},
		Policies: []Policy{
			{Meta: meta("deny"), When: "subject.team == \"it's\" &&\n  request.stream\n", Do: PolicyAction{Deny: label.Draw(t, "reason")}},
			{Meta: meta("cap"), When: "true", Do: PolicyAction{MaxOutputTokens: rapid.Int64Range(1, 1<<62).Draw(t, "cap"), Constraint: Constraint{Choices: rapid.Int64Range(0, 3).Draw(t, "choices"), Tools: rapid.SampledFrom([]Tools{"", ToolsNone, ToolsOwn}).Draw(t, "tools"), Effort: rapid.SampledFrom(append([]Effort{""}, Efforts...)).Draw(t, "effort"), ServiceTier: rapid.SampledFrom([]string{"", "flex", "true"}).Draw(t, "service tier")}}},
			{Meta: meta("route"), When: "true", Do: PolicyAction{Route: label.Draw(t, "route")}},
			{Meta: meta("watch"), When: "true", Do: PolicyAction{Watch: &Watch{Extend: pricing.NanoUSD(rapid.Int64Range(0, 1<<62).Draw(t, "extend")), End: rapid.SampledFrom([]WatchEnd{WatchFinish, WatchError}).Draw(t, "end")}}},
		},
		Subjects: []SubjectRule{
			{Meta: meta("h"), Label: "team", From: Source{Header: "x-team"}}, {Meta: meta("c"), Label: "_u", From: Source{Claim: label.Draw(t, "claim")}},
			{Meta: meta("m"), Label: "null", From: Source{Metadata: "name.space/key"}}, {Meta: meta("p"), Label: "n", From: Source{PeerSAN: true}, Pseudonym: true},
		},
		Settings: []Settings{{Meta: meta("s"), Unknown: UnknownDeny, Malformed: UnknownPass, Offline: OfflineAllowDebt, Durability: "fsync", MaxAttempts: 3, UnknownAttempt: ChargeInput, OutputFloor: 10, Policies: PoliciesFirst}},
	}
	rates := rapid.MapOfN(rapid.Custom(func(t *rapid.T) meter.Kind { return meter.Kind(rapid.IntRange(0, meter.NumKinds-1).Draw(t, "kind")) }),
		rapid.Custom(func(t *rapid.T) pricing.PicoUSD { return pricing.PicoUSD(rapid.Int64Range(0, 1<<60).Draw(t, "rate")) }), 1, meter.NumKinds)
	docs.Prices = []Price{{Meta: meta("p"), Price: pricing.Price{
		Provider: label.Filter(func(s string) bool { return strings.TrimSpace(s) != "" }).Draw(t, "provider"), Model: "gpt-5-2*", Contract: label.Filter(func(s string) bool { return s != pricing.ListPrices }).Draw(t, "contract"),
		ServiceTier: rapid.SampledFrom([]string{"", "flex"}).Draw(t, "tier"), Region: rapid.OneOf(rapid.Just(""), label).Draw(t, "region"),
		SearchContext: rapid.SampledFrom([]string{"", "low", "high"}).Draw(t, "search"), Currency: rapid.SampledFrom([]string{"", "EUR", "CNY"}).Draw(t, "currency"),
		Tiers: []pricing.Step{{Rates: rates.Draw(t, "rates")}, {Above: rapid.Int64Range(1, 1<<40).Draw(t, "above"), Rates: rates.Draw(t, "rates")}},
	}}}
	if rapid.Bool().Draw(t, "rolling") {
		docs.Budgets[0].Window, docs.Budgets[0].Timezone = rapid.SampledFrom([]string{"rolling 1m", "rolling 24h", "rolling 366d"}).Draw(t, "length"), "UTC"
	}
	if clock := rapid.IntRange(0, 24*60-1); rapid.Bool().Draw(t, "hours") {
		from, to := clock.Draw(t, "from"), clock.Draw(t, "to")
		hours, err := pricing.ParseHours(fmt.Sprintf("%02d:%02d-%02d:%02d", from/60, from%60, to/60, to%60))
		if err == nil { // else from a time to itself
			docs.Prices[0].Daily = hours
		}
	}
	rate, err := pricing.ParseDecimal(pricing.Decimal{Digits: rapid.Int64Range(1, 1<<62).Draw(t, "digits"), Places: rapid.Uint8Range(0, 18).Draw(t, "places")}.String())
	if err != nil {
		t.Fatal(err)
	}
	docs.ExchangeRates = []ExchangeRate{{Meta: meta("x"), Exchange: pricing.Exchange{From: "EUR", To: pricing.USD, Rate: rate}}}
	if rapid.Bool().Draw(t, "dated rate") {
		docs.ExchangeRates[0].From, docs.ExchangeRates[0].To = pricing.USD, "NOK" // what some readers take for false
		docs.ExchangeRates[0].EffectiveFrom = time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "rate from"), 0).UTC()
	}
	if rapid.Bool().Draw(t, "dated") {
		docs.Prices[0].EffectiveFrom = time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "from"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanos")).UTC()
	}
	return docs
}

func TestWriteYAMLOfTheDesign(t *testing.T) {
	t.Parallel()
	docs, err := ReadDocuments(strings.NewReader(designDocuments), "keel.yaml")
	if err != nil {
		t.Fatal(err)
	}
	docs.Budgets[0].Version = 3
	var yaml, json bytes.Buffer
	if err := errors.Join(WriteYAML(&yaml, docs), WriteJSON(&json, docs)); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/design.yaml", yaml.Bytes())
	golden(t, "testdata/design.json", json.Bytes())
}

func TestDiff(t *testing.T) {
	t.Parallel()
	read := func(text string) Documents {
		docs, err := ReadDocuments(strings.NewReader(text), "f.yaml")
		if err != nil {
			t.Fatal(err)
		}
		return docs
	}
	const settings = "kind: Settings\nname: s\n---\n"
	old := read(settings + "kind: Budget\nname: a\nlimit: 2500 USD\nwindow: month\nper: [user]\noffline_debt: 5 USD\n---\nkind: Budget\nname: only-there\nlimit: 1 USD\nwindow: day\n")
	new := read(settings + "kind: Budget\nname: a\nlimit: 500 USD\nwindow: rolling 30d\nselector: {team: x}\ncut: strict\noffline: deny\n---\nkind: Policy\norg: acme\nname: p\nwhen: 'true'\ndo: {deny: 'no'}\n")
	var b bytes.Buffer
	if err := WriteDiff(&b, Diff(old, new)); err != nil {
		t.Fatal(err)
	}
	want := `~ Budget a
    selector: (none) → {team: x}
    limit: 2500 USD → 500 USD
    window: month → 'rolling 30d'
    offline: (none) → deny
    cut: (none) → strict
    per: [user] → (none)
    offline_debt: 5 USD → (none)
+ Policy p of org acme
    when: 'true'
    do: {deny: 'no'}
= Settings s
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func FuzzReadDocuments(f *testing.F) {
	f.Add(designDocuments)
	f.Add("kind: Budget\nname: b\nlimit: 1 USD\nwindow: day\n")
	f.Add("[{kind: Settings, name: s}]\n---\n- a\n? b\n: *c\n<<: {}\n")
	f.Add("\t- |\n x\n---\n>-\n'")
	f.Fuzz(func(t *testing.T, text string) {
		docs, err := ReadDocuments(strings.NewReader(text), "fuzz.yaml")
		if err != nil {
			_ = err.Error()
			return
		}
		var b bytes.Buffer
		if err := WriteYAML(&b, docs); err != nil {
			t.Fatal(err)
		}
		again, err := ReadDocuments(strings.NewReader(b.String()), "again.yaml")
		if err != nil {
			t.Fatalf("%v\n%s", err, b.String())
		}
		for _, d := range Diff(docs, again) {
			if d.Change != Unchanged {
				t.Fatalf("%+v\n%s", d, b.String())
			}
		}
	})
}
