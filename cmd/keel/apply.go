package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"keel/budget"
	"keel/budget/ledger"
	"keel/pricing"
)

type applyCmd struct {
	Files  []string `name:"file" short:"f" help:"YAML file of config documents; \"-\" reads standard input. May be given more than once." required:"" sep:"none" placeholder:"FILE"`
	DryRun bool     `help:"Show what would change and change nothing."`
	databaseFlag
}

func (c *applyCmd) Help() string {
	return `Documents that are not in the files stay as they are; "keel delete" removes one.

Examples:
  keel apply -f budgets.yaml --dry-run
  keel apply -f budgets.yaml -f routes.yaml`
}

func (c *applyCmd) Run(ctx context.Context, m *Main) error {
	documents, err := readFiles(c.Files, m.Stdin)
	if err != nil {
		return err
	}
	store, err := c.open(ctx, m)
	if err != nil {
		return err
	}
	defer store.Close()
	stored, err := store.Load(ctx)
	if err != nil {
		return err
	}
	// What the database would refuse, and what could not be enforced together
	// with what is there, is an error before anything changes.
	if _, err := budget.Compile(stored.Over(documents), pricing.Catalog()); err != nil {
		return err
	}
	do := store.Apply
	if c.DryRun {
		do = store.Plan
	}
	if _, err := do(ctx, documents, actor(m)); err != nil {
		return err
	}
	return budget.WriteDiff(m.Stdout, budget.Diff(stored, documents))
}

// applyFiles is apply at the start of serve.
func applyFiles(ctx context.Context, dsn string, files []string, stderr io.Writer) error {
	documents, err := readFiles(files, os.Stdin)
	if err != nil {
		return err
	}
	return applyDocuments(ctx, dsn, documents, "keel serve --config", stderr)
}

func applyDocuments(ctx context.Context, dsn string, documents budget.Documents, actor string, progress io.Writer) error {
	store, err := ledger.OpenStore(ctx, dsn)
	if err != nil {
		return err
	}
	defer store.Close()
	changes, err := store.Apply(ctx, documents, actor)
	for _, c := range changes {
		fmt.Fprintln(progress, "keel:", describe(c))
	}
	return err
}

// readFiles reads them all and reports every error of every file.
func readFiles(files []string, stdin io.Reader) (all budget.Documents, err error) {
	var failures []error
	for _, name := range files {
		documents, err := readFile(name, stdin)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		all.Append(documents)
	}
	return all, errors.Join(failures...)
}

func readFile(name string, stdin io.Reader) (budget.Documents, error) {
	if name == "-" {
		return budget.ReadDocuments(stdin, "standard input")
	}
	f, err := os.Open(name)
	if err != nil {
		return budget.Documents{}, err
	}
	defer f.Close()
	return budget.ReadDocuments(f, name)
}

// actor is who the config history names for a change.
func actor(m *Main) string {
	for _, name := range []string{"KEEL_ACTOR", "USER"} {
		if who := m.Getenv(name); who != "" {
			return who
		}
	}
	return "keel apply"
}

// describe is a change in one line.
func describe(c ledger.Change) string {
	return fmt.Sprintf("%s %s/%s version %d: %s by %s", c.Kind, c.Org, c.Name, c.Version, c.Op, c.By)
}
