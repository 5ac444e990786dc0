package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"keel/budget"
	"keel/budget/ledger"
)

type getCmd struct {
	Kind   string `arg:"" help:"budget, route, policy, price, exchangerate, subject or settings."`
	Name   string `arg:"" optional:"" help:"One document. Default: all of the kind."`
	Org    string `help:"Only documents of this organisation." placeholder:"ORG"`
	Output string `short:"o" help:"table, yaml or json." enum:"table,yaml,json" default:"table"`
	databaseFlag
}

func (c *getCmd) Help() string {
	return `What "-o yaml" prints can be edited and given to "keel apply".

Examples:
  keel get budgets
  keel get budget research-month -o yaml > budget.yaml`
}

func (c *getCmd) Run(ctx context.Context, m *Main) error {
	kind, err := parseKind(c.Kind)
	if err != nil {
		return err
	}
	store, err := c.open(ctx, m)
	if err != nil {
		return err
	}
	defer store.Close()
	found, err := store.Get(ctx, c.Org, kind, c.Name)
	if errors.Is(err, ledger.ErrNotFound) {
		return fmt.Errorf("%w; \"keel get %s\" lists those there are", err, strings.ToLower(c.Kind))
	}
	if err != nil {
		return err
	}
	switch c.Output {
	case "yaml":
		return budget.WriteYAML(m.Stdout, found)
	case "json":
		return budget.WriteJSON(m.Stdout, found)
	}
	return writeTable(m, found)
}

func writeTable(m *Main, found budget.Documents) error {
	w := tabwriter.NewWriter(m.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "ORG\tNAME\tVERSION\tWHAT")
	for _, row := range found.Summaries() {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", row.Org, row.Name, row.Version, row.Text)
	}
	return w.Flush()
}

// parseKind takes the kind as people type it: any case, singular or plural.
func parseKind(word string) (budget.Kind, error) {
	kinds := budget.Kinds()
	lower := strings.ToLower(word)
	names := make([]string, len(kinds))
	for i, kind := range kinds {
		name := strings.ToLower(string(kind))
		names[i] = name
		if lower == name || lower == name+"s" || lower == "policies" && kind == budget.KindPolicy {
			return kind, nil
		}
	}
	return "", fmt.Errorf("unknown kind %q; there are %s", word, strings.Join(names, ", "))
}
