package policy

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	subject := map[string]string{"team": "interns", "user": "ada", "empty": ""}
	request := Request{
		Model: "claude-opus-4-1", Provider: "anthropic", API: "anthropic.messages", Path: "/v1/messages",
		Stream: true, MaxOutputTokens: 4096, InputTokens: 1200,
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
		got, err := p.Match(NewInput(subject, request))
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
	_, err := Compile(`request.modle == "x" || team == "y"`)
	if err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("got %v; want two errors", err)
	}
}

func TestMatchStopsWhatRunsAway(t *testing.T) {
	t.Parallel()
	p, err := Compile(`subject.exists(a, subject.exists(b, subject.exists(c, subject[a] + subject[b] + subject[c] == "no")))`)
	if err != nil {
		t.Fatal(err)
	}
	many := map[string]string{}
	for i := range 100 {
		many[strings.Repeat("x", i+1)] = "value"
	}
	if _, err := p.Match(NewInput(many, Request{})); err == nil || !strings.Contains(err.Error(), "cost limit exceeded") {
		t.Errorf("err = %v; want the cost limit", err)
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
		got, err := p.Match(NewInput(subject, Request{Model: model}))
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
		if _, err := p.Match(NewInput(nil, Request{})); err != nil {
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
		if ok, err := p.Match(NewInput(subject, request)); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
