package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	subject := map[string]string{"team": "interns", "user": "ada", "empty": ""}
	request := Request{
		Model: "claude-opus-4-1", Provider: "anthropic", API: "anthropic.messages", Path: "/v1/messages",
		Stream: true, MaxOutputTokens: 4096, InputTokens: 1200, Effort: "high",
	}
	for _, tt := range []struct {
		when string
		want bool
	}{
		{`subject.team == "interns" && request.model.startsWith("claude-opus")`, true},
		{`subject.team == "research"`, false},
		{`subject.nobody == ""`, true},
		{`subject["nobody"] == "x"`, false},
		{`subject[request.provider] == ""`, true},
		{`subject.nobody.startsWith("x")`, false},
		{`has(subject.team)`, true},
		{`has(subject.empty)`, true},
		{`has(subject.nobody)`, false},
		{`"team" in subject`, true},
		{`"nobody" in subject`, false},
		{`size(subject) == 3`, true},
		{`subject.exists(label, label == "user" && subject[label] == "ada")`, true},
		{`subject == {"team": "interns", "user": "ada", "empty": ""}`, true},
		{`{"team": "interns"} == subject`, false},
		{`request.provider == "anthropic" && request.api == "anthropic.messages" && request.path.endsWith("/messages")`, true},
		{`request.stream`, true},
		{`request.effort == "high"`, true},
		{`request.effort in ["", "none", "low"]`, false},
		{`request.effort != ""`, true},
		{`request.max_output_tokens > 4095 && request.input_tokens * 2 == 2400`, true},
		{`request.model.matches("^claude-(opus|sonnet)-[0-9]")`, true},
		{`request.model.lowerAscii().split("-")[0] in ["claude", "gpt"]`, true},
		{`true`, true},
	} {
		p, err := Compile(tt.when)
		if err != nil {
			t.Errorf("Compile(%s): %v", tt.when, err)
			continue
		}
		got, err := p.Match(&Input{Subject: subject, Request: request})
		if err != nil || got != tt.want {
			t.Errorf("%s = %v, %v; want %v", tt.when, got, err, tt.want)
		}
		if p.String() != tt.when {
			t.Errorf("String = %q", p.String())
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ when, want string }{
		{``, "1:1: the condition is empty"},
		{"  \n", "1:1: the condition is empty"},
		{`subject.team = "x"`, "1:14: Syntax error"},
		{`subject.team == 1`, "1:14: found no matching overload for '_==_'"},
		{`request.modle == "x"`, "1:8: request has no such field; it has model, provider, api, path, stream, max_output_tokens, input_tokens"},
		{`request.model`, "1:1: the condition gives string; it has to give a bool"},
		{`subject`, "1:1: the condition gives map(string, string)"},
		{"true &&\n  team == \"x\"", "2:3: undeclared reference to 'team'"},
		{`int(subject.level) > 3`, "1:1: the condition fails for a call without labels"},
		{`1 / request.input_tokens > 0`, "division by zero"},
		{`request.model.matches("(")`, "error parsing regexp"},
		{`request.cost < 1.0`, "request has no such field"},
		{strings.Repeat("!", 9000) + "true", "expression code point size exceeds limit"},
		{`now() > timestamp("2026-01-01T00:00:00Z")`, "undeclared reference to 'now'"},
		{`budgets[subject.team].used > 1`, `1:1: name the budget: budgets["research-month"].used_percent`},
		{`budgets.size() > 1`, `1:1: name the budget`},
		{`request.bound_cost > usd(subject.team)`, "usd takes an amount that stands there"},
		{`request.bound_cost > usd("a lot")`, `1:25: usd("a lot")`},
		{`subject.exists(a, subject.exists(b, subject[a] + subject[b] == "no"))`, "50000 are allowed"},
		{`dyn(1)`, "it has to give a bool"},
	} {
		_, err := Compile(tt.when)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Compile(%.40q) = %v; want %q", tt.when, err, tt.want)
			continue
		}
		var positioned *Error
		if !errors.As(err, &positioned) || positioned.Line < 1 || positioned.Column < 1 {
			t.Errorf("Compile(%.40q) gives no position: %v", tt.when, err)
		}
	}
}

func TestCompileReportsEveryError(t *testing.T) {
	t.Parallel()
	_, err := Compile("request.modle == \"x\" ||\n\tteam == \"y\"")
	const want = "1:8: request has no such field; it has model, provider, api, path, stream, max_output_tokens, input_tokens, choices, images, tools, hosted_tools, service_tier, effort, priced, expected_cost, bound_cost\n" +
		"  request.modle == \"x\" ||\n         ^\n2:2: undeclared reference to 'team'\n  \tteam == \"y\"\n  \t^"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// No part of a condition that is skipped could have changed the answer, not even by failing.
func TestSkippingChangesNothing(t *testing.T) {
	t.Parallel()
	words := rapid.SampledFrom([]string{"", "a", "b", "ab"})
	part := rapid.Custom(func(t *rapid.T) string {
		value := words.Draw(t, "value")
		if rapid.Bool().Draw(t, "number") {
			operator := rapid.SampledFrom([]string{"==", ">", ">=", "<", "<=", "!="}).Draw(t, "operator")
			left, right := rapid.SampledFrom([]string{"request.input_tokens", "request.bound_cost", "request.choices", `budgets["a"].used`, `budgets.b.left`, "budgets.a.used_percent", `budgets["c"]["limit"]`, "budgets.a.none"}).Draw(t, "field"), rapid.SampledFrom([]string{"0", "1", "2", `usd("0.000000001")`}).Draw(t, "constant")
			if rapid.Bool().Draw(t, "turned") {
				left, right = right, left
			}
			return left + " " + operator + " " + right
		}
		return fmt.Sprintf(rapid.SampledFrom([]string{
			`subject.team == %q`, `%q == subject["team"]`, `request.model.startsWith(%q)`, `request.provider in [%q, "b"]`, `route == %q`, `request.stream && subject.user != %q`,
			`!request.stream || subject.team == %q`, `!(subject.team == %q)`, `int(subject.user) > 3 || subject.team == %q`, `!request.tools && route != %q`,
			`(subject.team == %q) == request.stream`, `request.stream == false && route == %q`, `true == request.tools && subject.team != %q`, `[subject.team].exists(x, x == %q)`,
		}).Draw(t, "part"), value)
	})
	rapid.Check(t, func(t *rapid.T) {
		condition := strings.Join(rapid.SliceOfN(part, 1, 4).Draw(t, "parts"), " && ")
		p, err := compile(condition)
		if err != nil {
			t.Skip(err) // it fails for a call without labels
		}
		in := &Input{Subject: map[string]string{"team": words.Draw(t, "team"), "user": words.Draw(t, "user")}, Request: Request{
			Model: words.Draw(t, "model"), Provider: words.Draw(t, "provider"), Route: words.Draw(t, "route"), Stream: rapid.Bool().Draw(t, "stream"), Tools: rapid.Bool().Draw(t, "tools"),
			InputTokens: rapid.Int64Range(0, 3).Draw(t, "tokens"), BoundCost: rapid.Int64Range(0, 3).Draw(t, "cost"), Choices: rapid.Int64Range(0, 3).Draw(t, "choices"),
		}, Standing: func(name string) Standing {
			return map[string]Standing{"a": {Used: 1, Limit: 50}, "b": {Used: 3, Limit: 5}}[name]
		}}
		got, gotErr := p.Match(in)
		want, wantErr := p.evaluate(in)
		if got != want || fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
			t.Fatalf("%s: %v, %v; evaluated in full %v, %v", condition, got, gotErr, want, wantErr)
		}
	})
}

func TestBudgets(t *testing.T) {
	t.Parallel()
	asked := 0
	in := &Input{Request: Request{Priced: true, BoundCost: 2_500_000_000, At: time.Date(2026, 11, 24, 22, 0, 0, 0, time.UTC)}, Standing: func(name string) Standing {
		asked++
		return map[string]Standing{"half": {Used: 50, Limit: 99}, "over": {Used: 12, Limit: 10}, "none": {Used: 1}}[name]
	}}
	for when, want := range map[string]bool{
		`budgets["half"].used_percent == 50 && budgets.half.left == 49 && budgets.half.used == 50 && budgets.half.limit == 99`: true,
		`budgets.over.used_percent == 120 && budgets.over.left == 0`:                                                           true,
		`budgets.none.used_percent == 100`:                                                                                     true,
		`budgets.unknown.used_percent > 0`:                                                                                     false,
		`request.priced && request.bound_cost == usd("2.50")`:                                                                  true,
		`request.bound_cost > usd("2.5")`:                                                                                      false,
		`now.getHours("Europe/Berlin") == 23 && now.getDayOfWeek("UTC") == 2`:                                                  true,
	} {
		p, err := Compile(when)
		if err != nil {
			t.Errorf("%s: %v", when, err)
			continue
		}
		if got, err := p.Match(in); err != nil || got != want {
			t.Errorf("%s = %v, %v", when, got, err)
		}
	}
	p, err := Compile(`subject.team == "other" && budgets["b"].used > 0 || budgets.a.used > 0`)
	if err != nil || !slices.Equal(p.Budgets(), []string{"b", "a"}) {
		t.Errorf("budgets %v, %v", p.Budgets(), err)
	}
	asked = 0
	if p, err = Compile(`subject.team == "other" && budgets["half"].used > 0`); err != nil {
		t.Fatal(err)
	}
	if ok, err := p.Match(in); ok || err != nil || asked > 0 {
		t.Errorf("%v, %v, asked %d times", ok, err, asked)
	}
}

// No label, present or not, and no model name makes a comparison fail.
func TestComparisonsNeverFail(t *testing.T) {
	t.Parallel()
	p, err := Compile(`subject.team == "x" || subject.user != request.model || subject["app"].contains(subject.key)`)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		subject := rapid.MapOf(rapid.SampledFrom([]string{"team", "user", "app", "key", "org"}), rapid.String()).Draw(t, "subject")
		model := rapid.String().Draw(t, "model")
		got, err := p.Match(&Input{Subject: subject, Request: Request{Model: model}})
		want := subject["team"] == "x" || subject["user"] != model || strings.Contains(subject["app"], subject["key"])
		if err != nil || got != want {
			t.Fatalf("got %v, %v; want %v", got, err, want)
		}
	})
}

func FuzzCompile(f *testing.F) {
	for _, seed := range []string{`true`, `subject.team == "x"`, `has(subject.a)`, `request.model.matches("a*")`, `[1,2].all(x, x > 0)`, "\xff", `'`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, condition string) {
		p, err := Compile(condition)
		if err != nil {
			return
		}
		if _, err := p.Match(&Input{}); err != nil {
			t.Fatalf("%q compiled and fails for the empty call: %v", condition, err)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	p, err := Compile(`subject.team == "interns" && request.model.startsWith("claude-opus") && request.input_tokens > 100 && !request.stream`)
	if err != nil {
		b.Fatal(err)
	}
	subject := map[string]string{"team": "interns"}
	request := Request{Model: "claude-opus-4-1", InputTokens: 1200}
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := p.Match(&Input{Subject: subject, Request: request}); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
