package main

import (
	"context"
	"fmt"

	"keel/budget/ledger"
)

type migrateCmd struct {
	databaseFlag
}

func (c *migrateCmd) Help() string {
	return `Safe to run twice and from several machines at once.

Example:
  keel migrate --database postgres://keel@db.internal/keel`
}

func (c *migrateCmd) Run(ctx context.Context, m *Main) error {
	dsn, err := c.dsn(m)
	if err != nil {
		return err
	}
	applied := 0
	err = ledger.Migrate(ctx, dsn, func(name string) {
		applied++
		fmt.Fprintln(m.Stdout, "applied", name)
	})
	if err == nil && applied == 0 {
		fmt.Fprintln(m.Stdout, "nothing to do: the schema is up to date")
	}
	return err
}
