package main

import (
	"fmt"
	"strings"
)

// subjects say who pays for the calls of requestHead.
const subjects = `
{kind: Subject, name: team, from: {header: x-keel-team}, label: team}
---
{kind: Subject, name: user, from: {header: x-keel-user}, label: user}
---
{kind: Subject, name: app, from: {header: x-keel-app}, label: app}
---
`

// sixBudgets are six budgets that enforce and match every call, and twenty policies,
// of which two match: as in escrow.BenchmarkDecide. Nothing is denied or changed.
func sixBudgets() string {
	var s strings.Builder
	s.WriteString(subjects)
	for i, selector := range []string{"{}", "{team: research}", "{user: ada}", "{app: ide}", `{model: "gpt-5*"}`, "{provider: openai}"} {
		fmt.Fprintf(&s, "{kind: Budget, name: budget-%d, selector: %s, limit: 100000000 USD, window: month, mode: enforce}\n---\n", i, selector)
	}
	policy := func(i int, when, do string) {
		fmt.Fprintf(&s, "kind: Policy\nname: policy-%02d\nwhen: '%s'\ndo: %s\n---\n", i, when, do)
	}
	policy(0, `subject.team == "research" && request.bound_cost > usd("500")`, `{deny: "too dear"}`)
	policy(1, `request.model.startsWith("gpt-5") && request.input_tokens > 10`, `{tag: {size: some}}`)
	policy(2, `budgets["budget-1"].used_percent >= 0 && request.choices < 2`, `{warn: "budget-1 is in use"}`)
	for i := 3; i < 20; i++ {
		policy(i, fmt.Sprintf(`subject.team == "team-%d" && request.model in ["gpt-5", "o3"] && request.input_tokens > 1000`, i), `{deny: "no"}`)
	}
	return s.String()
}

// withRoute has a route of five targets that chooses the one that was asked for, as
// the others are dearer.
func withRoute() string {
	return sixBudgets() + `
kind: Route
name: five
models: ["gpt-5*"]
mode: prefer-cheap
min_quality: 0.5
targets:
  - {provider: openai, model: gpt-5-mini, quality: 0.8}
  - {provider: openai, model: gpt-5, quality: 1.0}
  - {provider: openai, model: gpt-4.1, quality: 0.8}
  - {provider: openai, model: gpt-4o, quality: 0.8}
  - {provider: openai, model: o3, quality: 0.9}
`
}

// budgets has n of them, of which the first matches.
func budgets(n int) func() string {
	return func() string {
		var s strings.Builder
		s.WriteString(subjects)
		s.WriteString("{kind: Budget, name: budget-0, selector: {team: research}, limit: 100000000 USD, window: month, mode: enforce}\n")
		for i := 1; i < n; i++ {
			fmt.Fprintf(&s, "---\n{kind: Budget, name: budget-%d, selector: {user: user-%d}, limit: 100 USD, window: month, mode: enforce}\n", i, i)
		}
		return s.String()
	}
}
