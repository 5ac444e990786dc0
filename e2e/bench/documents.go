package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
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

// oneBudget is a budget that enforces and matches every call. Others are added by addBudgets.
func oneBudget() string {
	return subjects + "{kind: Budget, name: budget-0, selector: {team: research}, limit: 100000000 USD, window: month, mode: enforce}\n"
}

// addBudgets adds n budgets that match no call, with their limits, past the triggers that version
// every change: those need minutes for so many, and no call that is measured meets these budgets.
func addBudgets(ctx context.Context, dsn string, n int) error {
	db, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer db.Close(context.WithoutCancel(ctx))
	for _, sql := range []string{
		`set session_replication_role = replica`,
		fmt.Sprintf(`insert into keel.budgets (name, selector, limit_usd, version, updated_at, updated_by)
select 'more-' || i, jsonb_build_object('user', 'user-' || i), 100, 1, now(), 'bench' from generate_series(1, %d) i`, n),
		`insert into keel.limits (org, budget, version, limit_n, ceiling_n, rolling_us, changed_at)
select org, name, version, keel.nanos(limit_usd), keel.ceiling_n(limit_usd, tiers), keel.rolling_us("window"), updated_at from keel.budgets where name like 'more-%'`,
	} {
		if _, err := db.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%d more budgets: %w", n, err)
		}
	}
	return nil
}
