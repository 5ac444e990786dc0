package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/user"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"keel/budget/ledger"
)

type ledgerForfeitCmd struct {
	databaseFlag
	Epoch  string        `arg:"" optional:"" help:"The epoch, as keel.replicas, the log and keel doctor name it. Without it all lost ones are shown, and nothing is changed."`
	DryRun bool          `help:"Show what would count as spent, and change nothing."`
	Silent time.Duration `help:"Silence after which a processor counts as dead." default:"30s"`
	Output string        `short:"o" help:"text or json." enum:"text,json" default:"text"`
}

func (c *ledgerForfeitCmd) Help() string {
	return `What a dead processor had leased stays set aside until its journal is settled, or its windows are
over. Where the journal is gone for good, or can't be settled, this gives it up at once: calls that it left open are
charged at their full hold, and what is left of its slices counts as spent, budget by budget. What the processor wrote
after the records that are settled is given up with it; "keel reconcile" says what providers bill for it.

Without an epoch it shows every one that is lost and keeps something set aside. If the journal shows up after all, and
is settled, all of it is undone by itself.

Exit status 0 when it is done or shown, 1 when it can't be done, or the processor is alive, 2 when there is no such epoch.

Examples:
  keel ledger forfeit
  keel ledger forfeit 01a20cf0-1ec9-7d01-a4ee-2789ef60cc9d --dry-run
  keel ledger forfeit 01a20cf0-1ec9-7d01-a4ee-2789ef60cc9d
  keel ledger forfeit -o json | jq '.[].orgs[].accounts'`
}

func (c *ledgerForfeitCmd) Run(ctx context.Context, m *Main) error {
	var epoch uuid.UUID
	if c.Epoch != "" {
		var err error
		if epoch, err = uuid.Parse(c.Epoch); err != nil {
			return notChecked(fmt.Errorf("epoch %q: %w", c.Epoch, err))
		}
	}
	dsn, err := c.dsn(m)
	if err != nil {
		return err
	}
	o := ledger.BankOptions{SilentAfter: c.Silent, Logger: slog.New(slog.NewTextHandler(m.Stderr, nil))}
	var losses []ledger.Loss
	if c.Epoch == "" {
		losses, err = ledger.Losses(ctx, dsn, o)
	} else {
		losses = make([]ledger.Loss, 1)
		losses[0], err = ledger.GiveUp(ctx, dsn, o, epoch, operator(), c.DryRun)
	}
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return notChecked(fmt.Errorf("no epoch %s has leased anything, as far as this database knows: nothing is set aside for it: %w", epoch, err))
	case err != nil:
		return err
	case c.Output == "json" && losses == nil:
		losses = []ledger.Loss{}
	}
	if c.Output == "json" {
		return writeJSON(m.Stdout, losses)
	}
	for i := range losses {
		if err := writeLoss(m.Stdout, &losses[i]); err != nil {
			return err
		}
	}
	switch {
	case c.Epoch == "" && len(losses) == 0:
		fmt.Fprintln(m.Stdout, "no lost processor keeps anything set aside")
	case c.Epoch == "" || c.DryRun:
		fmt.Fprintln(m.Stdout, "nothing was changed: to give an epoch up, run keel ledger forfeit EPOCH without --dry-run, once its journal is known to be gone")
	default:
		fmt.Fprintf(m.Stdout, "%d slices of epoch %s count as spent\n", losses[0].Slices, epoch)
	}
	return nil
}

// operator is who runs the command.
func operator() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "an operator"
}

// callsShown are the open calls of an organisation that people are shown; JSON has more.
const callsShown = 10

func writeLoss(out io.Writer, l *ledger.Loss) error {
	heard := "never heard of"
	if l.Heard != nil {
		heard = "last heard of at " + l.Heard.UTC().Format(time.RFC3339)
	}
	if l.Alive {
		heard += ", so it is alive and can't be given up"
	}
	fmt.Fprintf(out, "epoch %s on %q: %s\n", l.Epoch, l.Host, heard)
	for i := range l.Orgs {
		o := &l.Orgs[i]
		fmt.Fprintf(out, "organisation %s, %s: %d records are settled; whatever the journal had after them is given up\n", o.Org, o.State, o.Settled)
		fmt.Fprintf(out, "  %d calls are open, each is charged at its full hold\n", o.Open)
		for _, c := range o.Calls[:min(len(o.Calls), callsShown)] {
			fmt.Fprintf(out, "    %s  %s  %s/%s  holds %s USD\n", c.Decision, c.At.UTC().Format(time.RFC3339), c.Provider, c.Model, c.Held)
		}
		if more := o.Open - callsShown; more > 0 {
			fmt.Fprintf(out, "    and %d more\n", more)
		}
		if len(o.Accounts) == 0 {
			fmt.Fprintln(out, "  no budget keeps anything set aside for it")
			continue
		}
		w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "  BUDGET\tOF\tWINDOW\tOPEN CALLS USD\tREST OF SLICE USD\tCOUNTS AS SPENT USD")
		for _, a := range o.Accounts {
			fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\t%s\n", a.Budget, cmp.Or(a.Account, "-"), window(a.Start, a.End), a.Open, a.Rest, a.Sum)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func window(start, end *time.Time) string {
	if start == nil || end == nil {
		return "lifetime"
	}
	return start.UTC().Format("2006-01-02T15:04Z") + " to " + end.UTC().Format("2006-01-02T15:04Z")
}
