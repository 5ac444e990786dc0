package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"keel/budget"
	"keel/budget/audit/replay"
	"keel/budget/audit/spend"
	"keel/filter"
	"keel/pricing"
)

type replayCmd struct {
	Config []string `help:"YAML file of proposed documents; \"-\" reads standard input. May be given more than once." required:"" sep:"none" placeholder:"FILE"`
	Alone  bool     `help:"Replay under these documents alone, not over those that are stored."`
	Org    string   `help:"Organisation." default:"default" placeholder:"ORG"`
	Since  moment   `help:"Calls decided from then on: a day or RFC 3339." required:"" placeholder:"TIME"`
	Until  moment   `help:"Calls decided before then. Until now, unless given." placeholder:"TIME"`
	Calls  bool     `help:"Also list every call that would have gone otherwise: JSON lines, before the report."`
	Output string   `short:"o" help:"text or json." enum:"text,json" default:"text"`
	databaseFlag
}

func (c *replayCmd) Help() string {
	return `Runs recorded decisions through the real decision under proposed budgets, routes and policies, in the order in
which calls were decided and ended, with what they cost. Shows who would have been denied, rerouted or
constrained, and the money either way. Nothing is stored. The same input gives the same output.

Spend counts from the beginning of the earliest window that is running at --since. What is approximated, because
prompts are not stored, the report says.

Examples:
  keel replay --org acme --config proposed.yaml --since 2026-10-01
  keel replay --org acme --config proposed.yaml --since 2026-10-01 --calls | grep '"effect":"denied"'
  keel replay --org acme --config proposed.yaml --alone --since 2026-10-01 --until 2026-11-01 -o json`
}

func (c *replayCmd) Run(ctx context.Context, m *Main) error {
	if !c.Until.IsZero() && !c.Since.Before(c.Until.Time) {
		return errors.New("--since is not before --until")
	}
	documents, err := c.documents(ctx, m)
	if err != nil {
		return err
	}
	config, err := budget.Compile(documents, pricing.Catalog())
	if err != nil {
		return err
	}
	dsn, err := c.dsn(m)
	if err != nil {
		return err
	}
	reader, err := spend.Open(ctx, dsn)
	if err != nil {
		return err
	}
	defer reader.Close()
	options := replay.Options{Query: spend.Query{Org: c.Org, Since: c.Since.Time, Until: c.Until.Time}, Config: config, Documents: documents,
		Speaks: filter.Speaks, Constrainable: filter.Constrainable}
	if c.Calls {
		e := json.NewEncoder(m.Stdout)
		options.Each = func(call *replay.Call) error {
			if call.Effect == replay.Same {
				return nil
			}
			return e.Encode(call)
		}
	}
	report, err := replay.Run(ctx, reader, options)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return writeJSON(m.Stdout, report)
	}
	return replay.WriteText(m.Stdout, report)
}

// documents are the proposed ones, over the stored ones as "keel apply" would store them.
func (c *replayCmd) documents(ctx context.Context, m *Main) (budget.Documents, error) {
	proposed, err := readFiles(c.Config, m.Stdin)
	if err != nil {
		return budget.Documents{}, err
	}
	store, err := c.open(ctx, m)
	if err != nil {
		return budget.Documents{}, err
	}
	defer store.Close()
	stored, err := store.Get(ctx, c.Org, "", "")
	if err != nil {
		return budget.Documents{}, err
	}
	if c.Alone { // what calls cost is not proposed: prices stay
		stored = stored.Select(func(kind budget.Kind, _ budget.Meta) bool {
			return kind == budget.KindPrice || kind == budget.KindExchangeRate
		})
	}
	for _, meta := range proposed.Metas() {
		if org := meta.Org; org != c.Org && !(org == "" && c.Org == budget.DefaultOrg) {
			return budget.Documents{}, fmt.Errorf("%s: it is of organisation %q, and calls of %q are replayed: say org: %s", meta.Name, org, c.Org, c.Org)
		}
	}
	return stored.Over(proposed), nil
}
