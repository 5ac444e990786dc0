package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"keel/budget/ledger"
	"keel/budget/ledger/roles"
)

type migrateCmd struct {
	databaseFlag
	Roles      string `help:"What the names of the roles begin with: PREFIX_writer, PREFIX_editor and PREFIX_reader. Default: the database's name, after keel_ unless it begins so." placeholder:"PREFIX" xor:"roles"`
	NoRoles    bool   `help:"Make no roles and grant nothing." xor:"roles"`
	Distribute bool   `help:"Then shard the ledger by org with the extension citus, which must be installed."`
}

func (c *migrateCmd) Help() string {
	return `Safe to run twice and from several machines at once.

It makes three roles without a login, and gives each what it needs and no more, now and after every migration:
the writer is the running processor, the editor changes documents, the reader reads. Make logins and put them in:
  create role keel_serve login in role keel_writer;
docs/security.md says which command wants which role. Where who migrates may not make roles, it stops before it
changes anything, and says what to run; --no-roles goes on without.

Examples:
  keel migrate --database postgres://keel@db.internal/keel
  keel migrate --roles llm_spend
  keel migrate --distribute        see docs/scale.md`
}

func (c *migrateCmd) Run(ctx context.Context, m *Main) error {
	dsn, err := c.dsn(m)
	if err != nil {
		return err
	}
	var names roles.Names
	if !c.NoRoles {
		if names, err = c.createRoles(ctx, m, dsn); err != nil {
			return err
		}
	}
	applied := 0
	err = ledger.Migrate(ctx, dsn, func(name string) {
		applied++
		fmt.Fprintln(m.Stdout, "applied", name)
	})
	if err == nil && applied == 0 {
		fmt.Fprintln(m.Stdout, "nothing to do: the schema is up to date")
	}
	if err == nil && !c.NoRoles {
		if err = roles.Grant(ctx, dsn, names); err == nil {
			fmt.Fprintln(m.Stdout, "roles with their rights:", strings.Join(names.All(), ", "))
		}
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

// createRoles makes sure that there are roles before anything else is changed.
func (c *migrateCmd) createRoles(ctx context.Context, m *Main, dsn string) (roles.Names, error) {
	prefix, err := roles.Prefix(dsn)
	if err != nil {
		return roles.Names{}, err
	}
	names, err := roles.NamesOf(cmp.Or(c.Roles, prefix))
	if err != nil {
		return names, err
	}
	made, err := roles.Create(ctx, dsn, names)
	for _, name := range made {
		fmt.Fprintln(m.Stdout, "made role", name)
	}
	return names, err
}
