package main

import (
	"context"
	"fmt"
	"time"

	"keel/budget/ledger"
)

type ledgerCmd struct {
	Check   ledgerCheckCmd   `cmd:"" help:"Hold the invariants of the ledger against everything that is stored."`
	Forfeit ledgerForfeitCmd `cmd:"" help:"Count what a lost processor had leased as spent, because its journal is gone for good; or show what that would be."`
	Retire  ledgerRetireCmd  `cmd:"" help:"Drop the records of old months, a month at a time, without locking anybody out."`
}

type ledgerCheckCmd struct {
	databaseFlag
	Output string `short:"o" help:"text or json." enum:"text,json" default:"text"`
}

func (c *ledgerCheckCmd) Help() string {
	return `Reads one snapshot; processors may go on meanwhile. Exits with 1 when something
does not add up, and names the account and the amounts. docs/ledger.md says what each
invariant means.

Examples:
  keel ledger check --database postgres://keel@db.internal/keel
  keel ledger check -o json | jq .violations`
}

func (c *ledgerCheckCmd) Run(ctx context.Context, m *Main) error {
	dsn, err := c.dsn(m)
	if err != nil {
		return err
	}
	report, err := ledger.Check(ctx, dsn, func(what string) {
		if c.Output == "text" {
			fmt.Fprintln(m.Stderr, "checking:", what)
		}
	})
	if err != nil {
		return err
	}
	if c.Output == "json" {
		if err := writeJSON(m.Stdout, report); err != nil {
			return err
		}
	} else {
		for _, v := range report.Violations {
			fmt.Fprintln(m.Stdout, v)
		}
	}
	switch n := len(report.Violations); {
	case n > 0 && report.More:
		return fmt.Errorf("more than %d violations of %d checks", n, report.Checks)
	case n > 0:
		return fmt.Errorf("%d violations of %d checks", n, report.Checks)
	case c.Output == "text":
		fmt.Fprintf(m.Stdout, "%d checks, nothing wrong, as of %s\n", report.Checks, report.At.UTC().Format(time.RFC3339))
	}
	return nil
}

type ledgerRetireCmd struct {
	databaseFlag
	Before string `arg:"" help:"The first day that stays: its month and later ones are kept." placeholder:"2026-01-01"`
}

func (c *ledgerRetireCmd) Help() string {
	return `What the months had charged stays in the accounts, and as one entry an account in
keel.entries, so that the ledger still adds up.

Example:
  keel ledger retire 2026-01-01`
}

func (c *ledgerRetireCmd) Run(ctx context.Context, m *Main) error {
	dsn, err := c.dsn(m)
	if err != nil {
		return err
	}
	before, err := time.Parse(time.DateOnly, c.Before)
	if err != nil {
		return fmt.Errorf("%q: write a date such as 2026-01-01", c.Before)
	}
	months, err := ledger.Retire(ctx, dsn, before, func(month string) { fmt.Fprintln(m.Stdout, "retiring", month) })
	if err == nil && len(months) == 0 {
		fmt.Fprintln(m.Stdout, "nothing to do: there are no records of earlier months")
	}
	return err
}
