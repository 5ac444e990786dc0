package main

import (
	"context"
	"fmt"
)

type deleteCmd struct {
	Kind string `arg:"" help:"budget, route, policy, price, exchangerate, subject or settings."`
	Name string `arg:"" help:"The document."`
	Org  string `help:"Its organisation." default:"default" placeholder:"ORG"`
	databaseFlag
}

func (c *deleteCmd) Help() string {
	return `The history of the document is kept, and what was spent under it too.

Example:
  keel delete budget research-month`
}

func (c *deleteCmd) Run(ctx context.Context, m *Main) error {
	kind, err := parseKind(c.Kind)
	if err != nil {
		return err
	}
	store, err := c.open(ctx, m)
	if err != nil {
		return err
	}
	defer store.Close()
	change, err := store.Delete(ctx, c.Org, kind, c.Name, actor(m))
	if err != nil {
		return err
	}
	fmt.Fprintln(m.Stdout, describe(change))
	return nil
}
