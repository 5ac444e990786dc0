// Package constrain changes what a request asks for where a policy forbids or fixes it: the
// number of choices, tools, tools that the provider runs, reasoning effort, service tier. The
// limit on the output is every codec's own, see wire.Edit.
//
// It splices bytes, as codecs do: what is not changed stays the same bytes. It refuses to pretend: what an API
// has no word for is an error, and the call is to be denied.
package constrain

import (
	"fmt"
	"slices"

	"keel/filter/wire"
	"keel/filter/wire/walk"
)

// A Constraint is what a request may not ask for. The zero Constraint allows everything.
type Constraint struct {
	Choices       int64  // at most so many; 0 for any
	NoTools       bool   // none at all
	NoHostedTools bool   // none that the provider runs
	Effort        string // of reasoning, at most: see Efforts. "" for any. A request that states none is left alone
	ServiceTier   string // this one; "" for any
}

// Efforts are the words for reasoning effort, from the least up.
var Efforts = []string{"none", "minimal", "low", "medium", "high", "xhigh"}

// grammar is how an API says what a Constraint is about; "" and nil for what it has no word for.
type grammar struct {
	choices, choicesIn string   // member, and the object that it stands in, "" for the body
	one                bool     // it has no choices: there is always one
	tools              []string // members that go with tools
	list               string   // the one that lists them
	own                func(element map[string]string) bool
	hosted             []string // members that stand for hosted tools by themselves
	effort, effortIn   string
	tier               string
}

var grammars = map[wire.API]grammar{
	wire.OpenAIChat: {
		choices: "n", tools: []string{"tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"}, list: "tools", own: openAITool,
		hosted: []string{"web_search_options"}, effort: "reasoning_effort", tier: "service_tier",
	},
	wire.OpenAIResponses: {
		one: true, tools: []string{"tools", "tool_choice", "parallel_tool_calls", "max_tool_calls"}, list: "tools", own: openAITool,
		effort: "effort", effortIn: "reasoning", tier: "service_tier",
	},
	wire.Anthropic: {
		one: true, tools: []string{"tools", "tool_choice"}, list: "tools", hosted: []string{"mcp_servers"},
		own: func(e map[string]string) bool { return e["type"] == "" || e["type"] == "custom" }, effort: "effort", effortIn: "output_config", tier: "service_tier",
	},
	wire.GeminiGenerate: gemini, wire.GeminiStream: gemini,
}

var gemini = grammar{
	choices: "candidateCount", choicesIn: "generationConfig", tools: []string{"tools", "toolConfig", "tool_config"}, list: "tools",
	own: func(e map[string]string) bool {
		_, camel := e["functionDeclarations"]
		_, snake := e["function_declarations"]
		return camel || snake
	},
}

func openAITool(e map[string]string) bool { return e["type"] == "function" || e["type"] == "custom" }

// Apply returns body with c applied; body itself where c asks for nothing that it does not keep already.
// The error says what the API has no word for, or what is wrong with the body.
func Apply(api wire.API, body []byte, c Constraint) ([]byte, error) {
	g, known := grammars[api]
	switch {
	case c == Constraint{}:
		return body, nil
	case !known:
		return nil, fmt.Errorf("of calls of %s only the output can be limited", api)
	case c.ServiceTier != "" && g.tier == "":
		return nil, fmt.Errorf("%s has no service tiers in its requests", api)
	case c.Effort != "" && g.effort == "":
		return nil, fmt.Errorf("%s has no word for reasoning effort", api)
	}
	s, err := scan(body, &g)
	if err != nil {
		return nil, err
	}
	if err := s.choices(&g, c.Choices); err != nil {
		return nil, err
	}
	switch {
	case c.NoTools:
		s.drop(slices.Concat(g.tools, g.hosted)...)
	case c.NoHostedTools:
		s.drop(g.hosted...)
		s.dropHosted(&g)
	}
	if at, ok := s.find(g.effortIn, g.effort); ok && c.Effort != "" {
		if stated := slices.Index(Efforts, at.text); stated < 0 || stated > slices.Index(Efforts, c.Effort) {
			s.replace(at.value, walk.Quote(c.Effort))
		}
	}
	if c.ServiceTier != "" {
		if at, ok := s.find("", g.tier); !ok {
			s.added = walk.Member(s.added, g.tier, walk.Quote(c.ServiceTier))
		} else if at.text != c.ServiceTier {
			s.replace(at.value, walk.Quote(c.ServiceTier))
		}
	}
	return s.splice(body), nil
}

// choices lowers a stated number of choices. Where none is stated there is one.
func (s *scanned) choices(g *grammar, most int64) error {
	if most == 0 || g.one {
		return nil
	}
	if at, ok := s.find(g.choicesIn, g.choices); ok && at.number > most {
		s.replace(at.value, walk.Number(most))
	}
	return nil
}

// dropHosted removes the tools that the provider runs, and what goes with tools where none is left.
func (s *scanned) dropHosted(g *grammar) {
	hosted := make([]bool, len(s.tools))
	all := len(s.tools) > 0
	for i, tool := range s.tools {
		hosted[i] = !g.own(tool.words)
		all = all && hosted[i]
	}
	if all {
		s.drop(g.tools...)
		return
	}
	spans := make([]member, len(s.tools))
	for i, tool := range s.tools {
		spans[i] = member{key: tool.at.Start, value: tool.at}
	}
	s.cut(spans, hosted)
}
