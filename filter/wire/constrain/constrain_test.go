package constrain

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"keel/filter/wire"
)

func TestApply(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		api  wire.API
		body string
		c    Constraint
		want string // "!" and the error
	}{
		{"choices are lowered", wire.OpenAIChat, `{"model":"m", "n": 5}`, Constraint{Choices: 2}, `{"model":"m", "n": 2}`},
		{"few choices stay", wire.OpenAIChat, `{"model":"m", "n": 2}`, Constraint{Choices: 2}, `{"model":"m", "n": 2}`},
		{"no word for choices", wire.Anthropic, `{"model":"m"}`, Constraint{Choices: 1}, `{"model":"m"}`},
		{"candidates", wire.GeminiGenerate, `{"generationConfig":{"candidateCount":4,"x":1}}`, Constraint{Choices: 1}, `{"generationConfig":{"candidateCount":1,"x":1}}`},
		{"tools at the end", wire.OpenAIChat, `{"model":"m", "tools":[{"type":"function"}], "tool_choice":"auto"}`, Constraint{NoTools: true}, `{"model":"m"}`},
		{"tools at the front", wire.Anthropic, `{"tools":[{"name":"f"}],"tool_choice":{"type":"any"},"model":"m"}`, Constraint{NoTools: true}, `{"model":"m"}`},
		{"tools around", wire.OpenAIResponses, `{"tools":[],"model":"m","parallel_tool_calls":true,"input":"x","max_tool_calls":3}`, Constraint{NoTools: true}, `{"model":"m","input":"x"}`},
		{"nothing but tools", wire.GeminiStream, `{ "tools":[{"googleSearch":{}}] }`, Constraint{NoTools: true}, `{  }`},
		{"hosted among own", wire.OpenAIResponses, `{"tools":[{"type":"web_search"},{"type":"function","name":"f"},{"type":"file_search"},{"type":"code_interpreter"}],"tool_choice":"auto"}`, Constraint{NoHostedTools: true},
			`{"tools":[{"type":"function","name":"f"}],"tool_choice":"auto"}`},
		{"hosted alone", wire.OpenAIResponses, `{"input":"x","tools":[{"type":"web_search"}],"tool_choice":"required"}`, Constraint{NoHostedTools: true}, `{"input":"x"}`},
		{"hosted by itself", wire.OpenAIChat, `{"web_search_options":{},"model":"m"}`, Constraint{NoHostedTools: true}, `{"model":"m"}`},
		{"hosted of Anthropic", wire.Anthropic, `{"model":"m","tools":[{"name":"f","input_schema":{}},{"type":"web_search_20250305","name":"web_search"}],"mcp_servers":[{}]}`, Constraint{NoHostedTools: true},
			`{"model":"m","tools":[{"name":"f","input_schema":{}}]}`},
		{"hosted of Google", wire.GeminiGenerate, `{"tools":[{"googleSearch":{}},{"functionDeclarations":[{"name":"f"}]}]}`, Constraint{NoHostedTools: true}, `{"tools":[{"functionDeclarations":[{"name":"f"}]}]}`},
		{"effort is lowered", wire.OpenAIChat, `{"reasoning_effort":"high"}`, Constraint{Effort: "low"}, `{"reasoning_effort":"low"}`},
		{"less effort stays", wire.OpenAIChat, `{"reasoning_effort":"minimal"}`, Constraint{Effort: "low"}, `{"reasoning_effort":"minimal"}`},
		{"effort of a new word", wire.OpenAIResponses, `{"reasoning":{"effort":"ultra","summary":"auto"}}`, Constraint{Effort: "high"}, `{"reasoning":{"effort":"high","summary":"auto"}}`},
		{"no effort stated", wire.OpenAIChat, `{"model":"m"}`, Constraint{Effort: "low"}, `{"model":"m"}`},
		{"tier is set", wire.OpenAIChat, `{"model":"m"}`, Constraint{ServiceTier: "flex"}, `{"service_tier":"flex","model":"m"}`},
		{"tier is changed", wire.OpenAIChat, `{"service_tier": "priority","model":"m"}`, Constraint{ServiceTier: "default"}, `{"service_tier": "default","model":"m"}`},
		{"all at once", wire.OpenAIChat, `{"tools":[{}],"n":3}`, Constraint{Choices: 1, NoTools: true, ServiceTier: "flex"}, `{"service_tier":"flex","n":1}`},
		{"added where nothing is left", wire.OpenAIChat, `{"tools":[{}]}`, Constraint{NoTools: true, ServiceTier: "flex"}, `{"service_tier":"flex"}`},
		{"no tiers", wire.GeminiGenerate, `{}`, Constraint{ServiceTier: "flex"}, "!gemini.generateContent has no service tiers in its requests"},
		{"no effort", wire.GeminiGenerate, `{}`, Constraint{Effort: "low"}, "!gemini.generateContent has no word for reasoning effort"},
		{"another API", wire.CohereChat, `{}`, Constraint{NoTools: true}, "!of calls of cohere.chat only the output can be limited"},
		{"broken", wire.OpenAIChat, `{"n":`, Constraint{Choices: 1}, "!request body is not acceptable JSON"},
		{"nothing asked", wire.CohereChat, `{`, Constraint{}, `{`},
	} {
		got, err := Apply(tt.api, []byte(tt.body), tt.c)
		if want, fails := strings.CutPrefix(tt.want, "!"); fails {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %s", tt.name, err, want)
			}
			continue
		}
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %s, %v\nwant %s", tt.name, got, err, tt.want)
		}
	}
}

// What comes out is JSON that keeps the constraint, the other members are the same, and a second time changes nothing.
func TestApplyHolds(t *testing.T) {
	t.Parallel()
	members := map[string][]string{
		"model": {`"m"`}, "n": {"1", "7", "null"}, "tools": {"[]", `[{"type":"function"}]`, `[ {"type":"web_search"} , {"type":"function"},{"type":"x"}]`, "null"},
		"tool_choice": {`"auto"`, `{"type":"function"}`}, "web_search_options": {"{}"}, "reasoning_effort": {`"high"`, `"none"`}, "service_tier": {`"priority"`, "null"}, "messages": {`[{"role":"user","content":"{\"n\":9}"}]`},
	}
	names := []string{"model", "n", "tools", "tool_choice", "web_search_options", "reasoning_effort", "service_tier", "messages"}
	rapid.Check(t, func(t *rapid.T) {
		space := rapid.SampledFrom([]string{"", " ", "\n\t"})
		var parts []string
		for _, name := range rapid.Permutation(names).Draw(t, "order")[:rapid.IntRange(0, len(names)).Draw(t, "how many")] {
			parts = append(parts, fmt.Sprintf("%s%q%s:%s%s", space.Draw(t, "space"), name, space.Draw(t, "space"), rapid.SampledFrom(members[name]).Draw(t, name), space.Draw(t, "space")))
		}
		body := "{" + strings.Join(parts, ",") + "}"
		c := Constraint{
			Choices: rapid.Int64Range(0, 2).Draw(t, "choices"), NoTools: rapid.Bool().Draw(t, "no tools"), NoHostedTools: rapid.Bool().Draw(t, "no hosted"),
			Effort: rapid.SampledFrom([]string{"", "low"}).Draw(t, "effort"), ServiceTier: rapid.SampledFrom([]string{"", "flex"}).Draw(t, "tier"),
		}
		out, err := Apply(wire.OpenAIChat, []byte(body), c)
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		var before, after map[string]json.RawMessage
		if json.Unmarshal([]byte(body), &before) != nil || json.Unmarshal(out, &after) != nil {
			t.Fatalf("%s\nbecame %s", body, out)
		}
		if n := string(after["n"]); c.Choices > 0 && n == "7" || c.NoTools && (after["tools"] != nil || after["tool_choice"] != nil) ||
			(c.NoTools || c.NoHostedTools) && (after["web_search_options"] != nil || strings.Contains(string(after["tools"]), "web_search")) ||
			c.Effort != "" && string(after["reasoning_effort"]) == `"high"` || c.ServiceTier != "" && string(after["service_tier"]) != `"flex"` {
			t.Fatalf("%+v: %s\nbecame %s", c, body, out)
		}
		for _, same := range []string{"model", "messages"} {
			if string(before[same]) != string(after[same]) {
				t.Fatalf("%s changed: %s\nbecame %s", same, body, out)
			}
		}
		if again, err := Apply(wire.OpenAIChat, slices.Clone(out), c); err != nil || string(again) != string(out) {
			t.Fatalf("a second time: %s\nbecame %s, %v", out, again, err)
		}
	})
}

func FuzzApply(f *testing.F) {
	f.Add(`{"tools":[{"type":"web_search"},1,{"type":"function"}],"n":2}`)
	f.Add(`{"tools":{"a":[]},"n":"x","reasoning":{"effort":1}}`)
	f.Fuzz(func(t *testing.T, body string) {
		for api := range grammars {
			c := Constraint{Choices: 1, NoHostedTools: true}
			out, err := Apply(api, []byte(body), c)
			if err == nil && !json.Valid(out) {
				t.Fatalf("%s: %q became %q", api, body, out)
			}
		}
	})
}
