package main

import (
	"context"
	"fmt"

	"keel/budget/ledger"
)

type migrateCmd struct {
	databaseFlag
	Distribute bool `help:"Then shard the ledger by org with the extension citus, which must be installed."`
}

func (c *migrateCmd) Help() string {
	return `Safe to run twice and from several machines at once.

Example:
  keel migrate --database postgres://keel@db.internal/keel
  keel migrate --distribute        see docs/scale.md`
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
	if err != nil || !c.Distribute {
		return err
	}
	if err := ledger.Distribute(ctx, dsn); err != nil {
		return err
	}
	fmt.Fprintln(m.Stdout, "the ledger is distributed by org")
	return nil
}
