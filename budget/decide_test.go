package budget

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"keel/pricing"
	"keel/pricing/tokens"
)

var update = flag.Bool("update", false, "write the golden files anew")

var testTime = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

const testPrices = `
kind: Price
name: large
provider: openai
model: gpt-4.1
per_million: {input: 2, cached_input: 0.5, output: 8 USD}
---
kind: Price
name: mini
provider: openai
model: gpt-4.1-mini
per_million: {input: 0.4, output: 1.6}
---
kind: Price
name: nano
provider: openai
model: gpt-4.1-nano
per_million: {input: 0.1, output: 0.4}
---
`

const testRoute = `
kind: Route
name: chat
models: [gpt-4.1, "gpt-4*"]
mode: %s
targets:
  - {provider: openai, model: gpt-4.1}
  - {provider: openai, model: gpt-4.1-mini, quality: 0.8}
  - {provider: openai, model: gpt-4.1-nano, quality: 0.5}
  - {provider: anthropic, model: claude-haiku-4-5, credential: injected}
min_quality: 0.7
---
`

func compiled(tb testing.TB, config string) *Config {
	tb.Helper()
	docs, err := ReadDocuments(strings.NewReader(config), "test.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	cfg, err := Compile(docs, pricing.Catalog())
	if err != nil {
		tb.Fatal(err)
	}
	return cfg
}

func testCall() *Call {
	return &Call{
		ID: uuid.MustParse("019aaf00-0000-7000-8000-000000000002"), Org: DefaultOrg, At: testTime,
		Subject: Subject{"team": "research", "user": "ada"},
		API:     "openai.chat", Provider: "openai", Model: "gpt-4.1", Path: "/v1/chat/completions",
		MaxOutputTokens: 1000, Choices: 1, Prompt: &tokens.Prompt{TokenIDs: 1000},
		Routable: func(provider string) bool { return provider == "openai" },
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	const enforced = "kind: Budget\nname: research\nselector: {team: research}\nlimit: 1 USD\nwindow: month\n---\n"
	// A budget that observes, and a policy that lets the free models pass when it is spent.
	spent := strings.Replace(enforced, "---", "mode: observe\n---", 1) +
		"kind: Policy\nname: spent\nwhen: budgets.research.used_percent >= 100 && !request.model.endsWith(\"-nano\")\ndo: {deny: the budget is spent}\n"
	route := func(mode string) string { return fmt.Sprintf(testRoute, mode) }
	fixed := func(c *Call) { c.Changeable = func() error { return errors.New("it passes unread") } }
	spend := func(name, settled, held string) func(testing.TB, *Config, *memoryLedger, *Call) {
		return func(tb testing.TB, cfg *Config, l *memoryLedger, _ *Call) { l.spend(tb, cfg, name, "", settled, held) }
	}
	change := func(f func(*Call)) func(testing.TB, *Config, *memoryLedger, *Call) {
		return func(_ testing.TB, _ *Config, _ *memoryLedger, c *Call) { f(c) }
	}
	unstated := func(name, settled string) func(testing.TB, *Config, *memoryLedger, *Call) {
		return func(tb testing.TB, cfg *Config, l *memoryLedger, c *Call) {
			l.spend(tb, cfg, name, "", settled, "0")
			c.MaxOutputTokens = 0
		}
	}
	away := func(_ testing.TB, _ *Config, l *memoryLedger, _ *Call) {
		l.err = fmt.Errorf("permit: %w", ErrUnavailable)
	}
	rolling := strings.Replace(enforced, "month", "rolling 24h", 1)
	const allowDebt = "kind: Settings\nname: default\noffline: allow_debt\n"
	owing := func(name, amount string) func(testing.TB, *Config, *memoryLedger, *Call) {
		return func(tb testing.TB, cfg *Config, l *memoryLedger, c *Call) {
			away(tb, cfg, l, c)
			l.owe(tb, cfg, name, amount)
		}
	}
	for _, tt := range []struct {
		name   string
		config string
		given  func(testing.TB, *Config, *memoryLedger, *Call)
	}{
		{"no documents", "", nil},
		{"held", enforced, nil},
		{"held at expected", strings.Replace(enforced, "---", "hold: expected\n---", 1), nil},
		{"other team", enforced, change(func(c *Call) { c.Subject["team"] = "sales" })},
		{"template, of a session", strings.Replace(enforced, "---", "per: [session]\ntemplate: true\n---", 1), change(func(c *Call) { c.Subject["session"] = "s-1" })},
		{"template, no session", strings.Replace(enforced, "---", "per: [session]\ntemplate: true\n---", 1), nil},
		{"per user", strings.Replace(enforced, "---", "per: [team, user]\n---", 1), change(func(c *Call) { c.Subject["user"] = "a,b=%\x00é" })},
		{"warned", strings.Replace(enforced, "---", "tiers: [{at: 50%, do: warn}, {at: 75%, do: warn}, {at: 90%, do: warn}]\n---", 1), spend("research", "0.70", "0.05")},
		{"wait for the window", enforced, spend("research", "0.9999", "0")},
		{"wait or ask for less", enforced, spend("research", "0.995", "0")},
		{"wait for calls in flight", enforced, spend("research", "0.10", "0.895")},
		{"output bounded to what is left", enforced, unstated("research", "0.99")},
		{"output bounded to what is left, of two choices and three attempts", enforced + "kind: Settings\nname: default\nmax_attempts: 3\n", func(tb testing.TB, cfg *Config, l *memoryLedger, c *Call) {
			unstated("research", "0.95")(tb, cfg, l, c)
			c.Choices = 2
		}},
		{"output below the floor", enforced, unstated("research", "0.996")},
		{"output below the floor, for ever", strings.Replace(enforced, "month", "lifetime", 1), unstated("research", "0.996")},
		{"output floor of the org", enforced + "kind: Settings\nname: default\noutput_floor: 100\n", unstated("research", "0.996")},
		{"never fits", strings.Replace(enforced, "1 USD", "0.005 USD", 1), nil},
		{"never fits, prompt too long", strings.Replace(enforced, "1 USD", "0.0001 USD", 1), nil},
		{"lifetime", strings.Replace(enforced, "month", "lifetime", 1), spend("research", "0.9999", "0")},
		{"deny tier below the limit", strings.Replace(enforced, "---", "tiers: [{at: 50%, do: deny}]\n---", 1), spend("research", "0.4999", "0")},
		{"deny tier above the limit", strings.Replace(enforced, "---", "tiers: [{at: 110%, do: deny}]\n---", 1), spend("research", "1.05", "0")},
		{"limit zero", strings.Replace(enforced, "1 USD", "0 USD", 1), nil},
		{"observe over its limit", strings.Replace(enforced, "---", "mode: observe\n---", 1), spend("research", "5", "0")},
		{"all or none", enforced + "kind: Budget\nname: all\nlimit: 0.001 USD\nwindow: day\n---\n", nil},
		{"unpriced enforced", enforced, change(func(c *Call) { c.Model = "gpt-unheard-of" })},
		{"unpriced observed", strings.Replace(enforced, "---", "mode: observe\n---", 1), change(func(c *Call) { c.Model = "gpt-unheard-of" })},
		{"no bound", enforced, change(func(c *Call) { c.Prompt.Hosted = "file id"; c.Subject["team"] = "sales" })},
		{"policy denies", "kind: Policy\nname: b\nwhen: 'true'\ndo: {deny: second}\n---\nkind: Policy\nname: a\nwhen: subject.team == \"research\"\ndo: {deny: not today}\n---\n" + enforced, nil},
		{"policy can't be evaluated", "kind: Policy\nname: odd\nwhen: subject.level == \"\" || int(subject.level) > 3\ndo: {constrain: {max_output_tokens: 5}}\n", change(func(c *Call) { c.Subject["level"] = "high" })},
		{"policy, the budget is spent", spent, spend("research", "1", "0")},
		{"policy, the budget is spent, a free model passes", spent, func(tb testing.TB, cfg *Config, l *memoryLedger, c *Call) {
			spend("research", "1", "0")(tb, cfg, l, c)
			c.Model = "gpt-4.1-nano"
		}},
		{"policy, the budget is not spent", spent, spend("research", "0.5", "0")},
		{"policy by cost and time", "kind: Policy\nname: a\nwhen: request.priced && request.bound_cost > usd(\"0.01\") && now.getHours() < 13\ndo: {deny: too dear before lunch}\n", nil},
		{"policies warn and tag", "kind: Policy\nname: a\nwhen: 'true'\ndo: {warn: this ends soon}\n---\nkind: Policy\nname: b\nwhen: 'true'\ndo: {tag: {team: batch, line: b}}\n---\nkind: Budget\nname: batch\nselector: {team: batch}\nlimit: 1 USD\nwindow: day\n---\n" + enforced, nil},
		{"policy watches a stream", "kind: Policy\nname: a\nwhen: 'true'\ndo: {watch: {extend: 0.001 USD, end: error}}\n---\nkind: Policy\nname: b\nwhen: 'true'\ndo: {watch: {}}\n---\n" + enforced, change(func(c *Call) { c.Stream = true })},
		{"policy has nothing to watch", "kind: Policy\nname: a\nwhen: 'true'\ndo: {watch: {}}\n---\n" + enforced, nil},
		{"policy cant end the stream of this API", "kind: Policy\nname: a\nwhen: 'true'\ndo: {watch: {}}\n---\n" + enforced, change(func(c *Call) {
			c.Stream, c.Watchable = true, func() error { return errors.New("streams of x.y can't be ended") }
		})},
		{"policy by reasoning effort", "kind: Policy\nname: a\nwhen: request.effort in [\"high\", \"xhigh\"]\ndo: {constrain: {reasoning_effort: low}}\n---\nkind: Policy\nname: b\nwhen: request.effort == \"\"\ndo: {deny: state an effort}\n", change(func(c *Call) { c.Effort = "high" })},
		{"policy by reasoning effort, which is not stated", "kind: Policy\nname: b\nwhen: request.effort == \"\"\ndo: {deny: state an effort}\n", nil},
		{"first policy alone", "kind: Policy\nname: a\nwhen: 'true'\ndo: {warn: first}\n---\nkind: Policy\nname: b\nwhen: 'true'\ndo: {deny: second}\n---\nkind: Settings\nname: default\npolicies: first\n", nil},
		{"policies constrain", "kind: Policy\nname: a\nwhen: 'true'\ndo: {constrain: {max_output_tokens: 500}}\n---\nkind: Policy\nname: b\nwhen: 'true'\ndo: {constrain: {max_output_tokens: 200}}\n---\nkind: Policy\nname: c\nwhen: 'true'\ndo: {constrain: {max_output_tokens: 4000}}\n---\n" + enforced, nil},
		{"policies constrain more than the output", "kind: Policy\nname: a\nwhen: 'true'\ndo: {constrain: {choices: 2, tools: own, reasoning_effort: high}}\n---\nkind: Policy\nname: b\nwhen: 'true'\ndo: {constrain: {choices: 1, tools: none, reasoning_effort: low, max_output_tokens: 200}}\n---\n" + enforced, change(func(c *Call) { c.Choices = 3 })},
		{"policy can't constrain this API", "kind: Policy\nname: a\nwhen: 'true'\ndo: {constrain: {service_tier: flex}}\n---\n" + enforced, change(func(c *Call) {
			c.Constrainable = func(Constraint) error { return errors.New("it has no service tiers") }
		})},
		{"policy constrains what states no limit", "kind: Policy\nname: a\nwhen: request.max_output_tokens == 0\ndo: {constrain: {max_output_tokens: 500}}\n---\n" + enforced, change(func(c *Call) { c.MaxOutputTokens = 0 })},
		{"policy routes", route("enforce") + "kind: Route\nname: small\nmodels: [small]\ntargets: [{provider: openai, model: gpt-4.1-nano}]\n---\nkind: Policy\nname: a\nwhen: request.input_tokens > 10\ndo: {route: small}\n---\nkind: Policy\nname: b\nwhen: 'true'\ndo: {route: chat}\n---\n", nil},
		{"route enforce", route("enforce") + enforced, change(func(c *Call) { c.Model = "gpt-4o" })},
		{"route enforce, first target of another API", route("enforce"), change(func(c *Call) { c.Routable = func(p string) bool { return p == "anthropic" } })},
		{"route observe", route("observe") + enforced, change(func(c *Call) { c.Model = "gpt-4.1-nano" })},
		{"route prefer-cheap", route("prefer-cheap") + enforced, nil},
		{"route prefer-cheap, quality just enough", strings.Replace(route("prefer-cheap"), "min_quality: 0.7", "min_quality: 0.50", 1), nil},
		{"route to another model, request can't be changed", route("prefer-cheap"), change(fixed)},
		{"route observes, request can't be changed", route("observe"), change(fixed)},
		{"budget presses, request can't be changed", route("observe") + strings.Replace(enforced, "---", "tiers: [{at: 90%, do: prefer-cheap}]\n---", 1), func(tb testing.TB, cfg *Config, l *memoryLedger, c *Call) {
			spend("research", "0.90", "0")(tb, cfg, l, c)
			fixed(c)
		}},
		{"policy bounds the output, request can't be changed", "kind: Policy\nname: a\nwhen: 'true'\ndo: {constrain: {max_output_tokens: 500}}\n---\n" + enforced, change(fixed)},
		{"policy bounds the output above what is stated, request can't be changed", "kind: Policy\nname: a\nwhen: 'true'\ndo: {constrain: {max_output_tokens: 5000}}\n---\n" + enforced, change(fixed)},
		{"route without usable target", route("prefer-cheap"), change(func(c *Call) { c.API = "x"; c.Routable = func(string) bool { return false } })},
		{"route, quality out of reach", strings.Replace(route("prefer-cheap"), "- {provider: openai, model: gpt-4.1}\n  - {provider: openai, model: gpt-4.1-mini, quality: 0.8}\n  ", "", 1), nil},
		{"budget presses below its tier", route("observe") + strings.Replace(enforced, "---", "tiers: [{at: 90%, do: prefer-cheap}]\n---", 1), spend("research", "0.89", "0")},
		{"budget presses from its tier on", route("observe") + strings.Replace(enforced, "---", "tiers: [{at: 90%, do: prefer-cheap}]\n---", 1), spend("research", "0.90", "0")},
		{"budget in mode prefer-cheap", route("enforce") + strings.Replace(enforced, "selector: {team: research}", "selector: {model: gpt-4.1}\nmode: prefer-cheap", 1), nil},
		{"next candidate when the cheapest is full", route("prefer-cheap") + strings.Replace(enforced, "{team: research}", "{model: gpt-4.1-mini}", 1), spend("research", "1", "0")},
		{"no candidate fits", route("prefer-cheap") + enforced, spend("research", "1", "0")},
		{"ledger away, enforced", enforced, away},
		{"ledger away, debt allowed", enforced + "kind: Settings\nname: default\noffline: allow_debt\n", away},
		{"ledger away, observed", strings.Replace(enforced, "---", "mode: observe\n---", 1), away},
		{"rolling, held", rolling, nil},
		{"rolling, wait for a bucket", rolling, spend("research", "0.9999", "0")},
		{"rolling, wait for calls in flight", rolling, spend("research", "0.10", "0.895")},
		{"rolling a minute", strings.Replace(rolling, "24h", "1m", 1), spend("research", "0.9999", "0")},
		{"ledger away, budget allows debt", strings.Replace(enforced, "---", "offline: allow_debt\n---", 1), away},
		{"ledger away, budget denies where the settings allow", strings.Replace(enforced, "---", "offline: deny\n---", 1) + allowDebt, away},
		{"ledger away, debt up to a cap", strings.Replace(enforced, "---", "offline_debt: 0.05 USD\n---", 1) + allowDebt, owing("research", "0.039958")},
		{"ledger away, no more debt", strings.Replace(enforced, "---", "offline: allow_debt\noffline_debt: 0.05 USD\n---", 1) + allowDebt, owing("research", "0.039959")},
		{"ledger away, no debt allowed", strings.Replace(enforced, "---", "offline_debt: 0 USD\n---", 1) + allowDebt, away},
		{"ledger away, one of two allows debt", strings.Replace(enforced, "---", "offline: allow_debt\n---", 1) + "kind: Budget\nname: all\nlimit: 1 USD\nwindow: day\n", away},
		{"ledger can't keep a debt", strings.Replace(enforced, "---", "offline: allow_debt\n---", 1), func(tb testing.TB, cfg *Config, l *memoryLedger, c *Call) {
			away(tb, cfg, l, c)
			l.oweErr = errors.New("disk full")
		}},
		{"ledger can't keep it", "", func(_ testing.TB, _ *Config, l *memoryLedger, _ *Call) { l.err = errors.New("bad row") }},
		{"another org has nothing of these", enforced, change(func(c *Call) { c.Org = "acme" })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg, ledger, call := compiled(t, testPrices+tt.config), newMemoryLedger(), testCall()
			if tt.given != nil {
				tt.given(t, cfg, ledger, call)
			}
			decider := &Decider{Ledger: ledger, Estimator: tokens.New()}
			preview := decider.Preview(cfg, call)
			if ledger.permits != 0 || len(ledger.recorded) != 0 || len(ledger.open) != 0 || len(ledger.owes) != 0 {
				t.Error("a preview left something in the ledger")
			}
			checkSchema(t, DryRunSchema, preview.DryRunJSON())
			d := decider.Decide(context.Background(), cfg, call)
			if ledger.err == nil && (preview.Action != d.Action || preview.RoutedModel != d.RoutedModel || cmp.Diff(preview.Rules, d.Rules) != "" || preview.Reason != d.Reason) {
				t.Errorf("the preview says otherwise:\n%s", preview.DryRunJSON())
			}
			if len(ledger.recorded) > 1 || (len(ledger.recorded) == 1) != (d.Action == Deny) {
				t.Errorf("recorded %d times", len(ledger.recorded))
			}
			if len(ledger.owes) > 1 || (len(ledger.owes) == 1) != d.Debt {
				t.Errorf("owed %d times", len(ledger.owes))
			}
			if d.Action == Deny {
				if d.Denial == nil || len(d.Holds) > 0 || len(ledger.open) > 0 {
					t.Error("a denial explains itself and holds nothing")
				} else if !strings.Contains(d.Denial.Message, call.ID.String()) {
					t.Error("the denial does not name the decision")
				}
			}
			golden(t, filepath.Join("testdata", "decisions", strings.NewReplacer(" ", "-", ",", "", "'", "").Replace(tt.name)+".json"), render(t, d))
		})
	}
}

// render is a decision as its golden file has it: without what the test put in.
func render(t *testing.T, d *Decision) []byte {
	t.Helper()
	shown := struct {
		Org             string
		Action          Action
		Reason          string
		Route           string `json:",omitempty"`
		Routed          string
		MaxOutputTokens int64    `json:",omitempty"`
		Watched         *Watched `json:",omitempty"`
		Estimate        Estimate
		Holds           []Hold
		Rules           []Rule
		Denial          *Denial `json:",omitempty"`
		Debt            bool    `json:",omitempty"`
	}{d.Org, d.Action, d.Reason, d.Route, d.RoutedProvider + "/" + d.RoutedModel, d.MaxOutputTokens, d.Watched, d.Estimate, d.Holds, d.Rules, d.Denial, d.Debt}
	shown.Estimate.Method = ""
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(shown); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// BenchmarkDecide is the time from a parsed request to its decision, with a ledger
// that costs nothing: six budgets of 1,000, and a chat prompt of 2 KB as the reader of chat completions
// makes it. Package tokens remembers texts that it counted: of a conversation only the last is new.
func BenchmarkDecide(b *testing.B) {
	cfg := benchmarkConfig(b)
	decider := &Decider{Ledger: freeLedger{}, Estimator: tokens.New()}
	for _, bench := range []struct {
		name string
		seen int // so many of the four messages came with a call before
	}{{"2KB-new", 0}, {"2KB-conversation", 3}, {"2KB-seen", 4}} {
		b.Run(bench.name, func(b *testing.B) {
			prompt := chatPrompt()
			call := testCall()
			call.Subject["team"], call.Subject["user"] = "team-7", "user-7"
			read, n := new(tokens.Prompt), 0
			parse := func() {
				*read = prompt
				n++
				for i := range read.Segments[bench.seen:] {
					text := read.Segments[bench.seen+i].JSON
					for at, rest := len(text)-2, n; text[at] != ' '; at, rest = at-1, rest/10 {
						text[at] = '0' + byte(rest%10)
					}
				}
			}
			parse()
			call.Prompt = read
			if d := decider.Decide(b.Context(), cfg, call); len(d.Holds) != 6 || d.Shape.Bytes["text"] < 2000 {
				b.Fatalf("%d budgets match a prompt of %v", len(d.Holds), d.Shape.Bytes)
			}
			took := make([]time.Duration, 0, 1<<16)
			b.ReportAllocs()
			for b.Loop() {
				parse()
				began := time.Now()
				decider.Decide(b.Context(), cfg, call)
				if len(took) < cap(took) {
					took = append(took, time.Since(began))
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2])/1e3, "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100])/1e3, "p99-µs")
		})
	}
}

// chatPrompt is 2 KB of text in four messages.
func chatPrompt() tokens.Prompt {
	text := func(s string) tokens.Segment {
		return tokens.Segment{Class: tokens.Text, JSON: []byte(strconv.Quote(s))}
	}
	return tokens.Prompt{Messages: 4, System: true, Segments: []tokens.Segment{
		text("You are the assistant of the research department. Answer briefly, cite the section that you rely on, and say so when the documents do not tell. Write dates as 2026-11-23 and amounts with their currency."),
		text("Which of our suppliers changed their terms of payment this year, and what does that mean for the cash that we need in December? Please go through the attached notes below before you answer.\n\n" +
			"Notes of 3 March: Northwind moved from 30 to 14 days, from the order of 1 April on; early payment (within 7 days) earns 2 %. Fabrikam keeps 30 days, but counts them from the shipping date and no longer from the invoice. " +
			"Notes of 17 June: Contoso asks for 25 % in advance of every order above 40,000 EUR; orders below stay as they were. Tailspin was bought by Wingtip; its contracts run on until the end of the year, and new ones follow the general terms of Wingtip (45 days, no discount). " +
			"Notes of 9 October: the framework agreement with Litware ends on 30 November. Purchasing expects to sign the new one at 60 days; until then every order is paid on delivery. The volume of December is planned at 310,000 EUR, of which 120,000 EUR are due before Christmas."),
		text("Five suppliers changed their terms: Northwind (14 days since 1 April), Fabrikam (30 days from shipping), Contoso (25 % in advance above 40,000 EUR), Tailspin (Wingtip's general terms for new contracts) and Litware (on delivery until the new framework agreement is signed). " +
			"For December this means that most of the planned volume has to be paid about two weeks earlier than last year. Shall I make a table of the payments by week?"),
		text("Yes, please: one line a week, with the supplier, the order, the amount in EUR and the day on which it has to leave our account. Assume that Litware signs on 10 December, and show in a second table what changes if they don't. " +
			"Use the planned volumes of the purchasing list, not last year's, and leave out everything below 500 EUR. If a supplier is missing in the list, name it at the end and tell me whom to ask about it. Thanks a lot!"),
	}}
}

// benchmarkConfig has 1,000 budgets, of which 6 match.
func benchmarkConfig(b *testing.B) *Config {
	var s strings.Builder
	s.WriteString(testPrices)
	for i := range 332 {
		fmt.Fprintf(&s, "kind: Budget\nname: team-%d\nselector: {team: team-%d}\nlimit: 100 USD\nwindow: month\ntimezone: Europe/Berlin\n---\n", i, i)
		fmt.Fprintf(&s, "kind: Budget\nname: user-%d\nselector: {user: user-%d}\nlimit: 100 USD\nwindow: day\n---\n", i, i)
		fmt.Fprintf(&s, "kind: Budget\nname: both-%d\nselector: {team: team-%d, model: 'gpt-*'}\nlimit: 100 USD\nwindow: day\n---\n", i, i)
	}
	for i := range 4 {
		model := "gpt-*"
		if i == 3 {
			model = "claude-*"
		}
		fmt.Fprintf(&s, "kind: Budget\nname: all-%d\nselector: {model: '%s'}\nlimit: 100 USD\nwindow: year\ntiers: [{at: 75%%, do: warn}]\n---\n", i, model)
	}
	return compiled(b, s.String())
}

// freeLedger has room for everything.
type freeLedger struct{}

func (freeLedger) Permit(context.Context, *Decision) error                    { return nil }
func (freeLedger) Record(*Decision)                                           {}
func (freeLedger) Owe(*Decision) error                                        { return nil }
func (freeLedger) Extend(context.Context, uuid.UUID, []pricing.NanoUSD) error { return nil }
func (freeLedger) CloseOut(*Closeout) Receipt                                 { return Receipt{} }
func (freeLedger) Await(context.Context, Receipt, Durability) error           { return nil }
func (freeLedger) CloseOutResponse(*Closeout)                                 {}
func (freeLedger) Annotate(Annotation)                                        {}
func (freeLedger) Standing(Account) Standing                                  { return Standing{} }
