package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"keel/budget/ledger"
)

type pressureCmd struct {
	Since  time.Duration `default:"24h" placeholder:"DURATION" help:"How far back to look: 24h, 168h."`
	By     string        `default:"route" enum:"route,team,budget,model" help:"What to add up by: route, team, budget or model (as asked for)."`
	Org    string        `placeholder:"ORG" help:"Only this organisation."`
	Output string        `short:"o" default:"table" enum:"table,json" help:"table or json."`
	databaseFlag
}

func (c *pressureCmd) Help() string {
	return `Shows where routing pressure accumulates: what calls that a route took were expected to cost where they were asked to go, where they
went, and where prefer-cheap and enforce would have sent them. A route in mode observe saves nothing, and shows what it could.

Expected costs of permitted calls are added up, so the columns compare like with like; what calls did cost is in keel.spend_records.

Examples:
  keel pressure
  keel pressure --by team --since 168h
  keel pressure --by budget -o json`
}

func (c *pressureCmd) Run(ctx context.Context, m *Main) error {
	if c.Since <= 0 {
		return errors.New("--since: it looks back, so it takes a time such as 24h")
	}
	store, err := c.open(ctx, m)
	if err != nil {
		return err
	}
	defer store.Close()
	rows, err := store.Pressure(ctx, ledger.PressureQuery{By: c.By, Since: c.Since, Org: c.Org})
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return writeJSON(m.Stdout, rows)
	}
	if len(rows) == 0 {
		fmt.Fprintf(m.Stderr, "no route took a call in the last %s\n", c.Since)
		return nil
	}
	w := tabwriter.NewWriter(m.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "ORG\t%s\tCALLS\tSUBSTITUTED\tASKED USD\tROUTED USD\tPREFER-CHEAP USD\tENFORCE USD\tSAVED USD\tLEFT TO SAVE USD\n", strings.ToUpper(c.By))
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Org, r.Name, r.Calls, r.Substituted, r.Asked, r.Routed, r.PreferCheap, r.Enforce, r.Saved, r.Left)
	}
	return w.Flush()
}
