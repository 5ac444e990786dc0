package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"keel/budget/audit/rerate"
	"keel/budget/audit/spend"
	"keel/pricing"
)

type rerateCmd struct {
	Prices string `help:"What to rate by: a YAML file of Price documents in place of your own; \"current\", prices as configured now; \"list\", the catalogue alone; or a version, as records have it in price_version." required:"" placeholder:"VERSION|FILE"`
	Org    string `help:"Organisation." default:"default" placeholder:"ORG"`
	Since  moment `help:"Calls decided from then on: a day or RFC 3339." required:"" placeholder:"TIME"`
	Until  moment `help:"Calls decided before then. Until now, unless given." placeholder:"TIME"`
	WhatIf bool   `name:"what-if" help:"Only show what it would be. This is what is done without --book."`
	Book   bool   `help:"Book every difference as an adjustment that names its decision."`
	Output string `short:"o" help:"text or json." enum:"text,json" default:"text"`
	databaseFlag
}

func (c *rerateCmd) Help() string {
	return `Computes what recorded calls cost under other prices, by what was metered, at the time of each call: prices with
a date apply from it on. Calls that can't be rated anew stay as they are, and the output says how many, and why.
Records and budgets are never changed. Booking the same prices again adds nothing.

Examples:
  keel rerate --org acme --prices contract-2027.yaml --since 2026-10-01
  keel rerate --org acme --prices list --since 2026-10-01 --until 2026-11-01 -o json
  keel rerate --org acme --prices current --since 2026-10-01 --book`
}

func (c *rerateCmd) Run(ctx context.Context, m *Main) error {
	if c.Book && c.WhatIf {
		return errors.New("--what-if and --book are two things: give one")
	}
	if !c.Until.IsZero() && !c.Since.Before(c.Until.Time) {
		return errors.New("--since is not before --until")
	}
	dsn, err := c.dsn(m)
	if err != nil {
		return err
	}
	original, book, err := c.books(ctx, m)
	if err != nil {
		return err
	}
	reader, err := spend.Open(ctx, dsn)
	if err != nil {
		return err
	}
	defer reader.Close()
	var ledger *rerate.Ledger
	var changed func(rerate.Change) error
	if c.Book {
		if ledger, err = rerate.OpenLedger(ctx, dsn, c.Org, actor(m), book.Version()); err != nil {
			return err
		}
		changed = func(change rerate.Change) error { return ledger.Add(ctx, change) }
	}
	report, err := rerate.Run(ctx, reader, spend.Query{Org: c.Org, Since: c.Since.Time, Until: c.Until.Time}, original, book, changed)
	var added int64
	if ledger != nil {
		var closed error
		added, closed = ledger.Close(ctx, err == nil)
		err = errors.Join(err, closed)
	}
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return writeJSON(m.Stdout, struct {
			*rerate.Report
			Booked *int64 `json:"booked,omitempty"`
		}{report, booked(c.Book, added)})
	}
	if err := rerate.WriteText(m.Stdout, report); err != nil {
		return err
	}
	if c.Book {
		fmt.Fprintf(m.Stdout, "%d adjustments were booked\n", added)
	}
	return nil
}

func booked(is bool, n int64) *int64 {
	if !is {
		return nil
	}
	return &n
}

// books are the one that calls were probably priced by, and the one to rate by.
func (c *rerateCmd) books(ctx context.Context, m *Main) (original, book *pricing.Book, err error) {
	store, err := c.open(ctx, m)
	if err != nil {
		return nil, nil, err
	}
	defer store.Close()
	if original, err = rerate.Current(ctx, store, c.Org); err != nil {
		return nil, nil, err
	}
	switch c.Prices {
	case "current":
		return original, original, nil
	case "list":
		book, err = rerate.List(ctx, store, c.Org)
		return original, book, err
	}
	if _, missing := os.Stat(c.Prices); missing != nil && c.Prices != "-" {
		book, err = rerate.Version(ctx, store, c.Org, c.Prices)
		if err != nil {
			err = fmt.Errorf("--prices %s is no file, and %w", c.Prices, err)
		}
		return original, book, err
	}
	documents, err := readFile(c.Prices, m.Stdin)
	if err != nil {
		return nil, nil, err
	}
	if len(documents.Prices) == 0 {
		return nil, nil, fmt.Errorf("%s has no Price documents; \"list\" rates by the catalogue alone", c.Prices)
	}
	book, err = rerate.Proposed(ctx, store, c.Org, documents)
	return original, book, err
}
