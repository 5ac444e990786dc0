package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"time"

	"keel/budget"
	"keel/budget/audit/reconcile"
	"keel/budget/audit/spend"
	"keel/pricing"
)

type reconcileCmd struct {
	Provider string            `help:"Where the file comes from: openai, anthropic, bedrock, google, openrouter or generic." enum:"openai,anthropic,bedrock,google,openrouter,generic" required:""`
	File     string            `help:"What the provider gives: JSON or CSV; \"-\" reads standard input." required:"" placeholder:"FILE"`
	Mapping  string            `help:"YAML that says where a generic file has what." placeholder:"FILE"`
	Org      string            `help:"Organisation." default:"default" placeholder:"ORG"`
	Label    string            `name:"account-label" help:"Label of the subject that names the provider's account, project or workspace; accounts are added up without." placeholder:"LABEL"`
	Timezone string            `help:"Time zone of the file's days, where it is not the provider's own." placeholder:"ZONE"`
	Rates    map[string]string `name:"rate" help:"Dollars for one of another currency. May be given more than once." placeholder:"EUR=1.0842"`
	Record   bool              `help:"Keep the comparison, so that keel.variance shows it."`
	Accept   bool              `help:"Keep it, and book what differs as adjustments."`
	Causes   []string          `name:"cause" help:"Accept only differences of this cause. May be given more than once." sep:"none" placeholder:"CAUSE"`
	Output   string            `short:"o" help:"text or json." enum:"text,json" default:"text"`
	databaseFlag
}

func (c *reconcileCmd) Help() string {
	return `Compares what a provider says with what is recorded, by day, model, account and meter, as fine as the
file is, and says why they differ. Exit status 1 when they differ by more than rounding and nothing was accepted.
Records and budgets are never changed: what is accepted is an entry in keel.adjustments that names the cell it corrects.
docs/reconcile.md says what to download where.

Examples:
  keel reconcile --provider openai --org acme --file costs.json
  keel reconcile --provider bedrock --org acme --file cur.csv --record
  keel reconcile --provider anthropic --org acme --file cost_report.json --accept --cause price_difference
  keel reconcile --provider generic --mapping mapping.yaml --org acme --file bill.csv -o json`
}

func (c *reconcileCmd) Run(ctx context.Context, m *Main) error {
	options, err := c.options()
	if err != nil {
		return err
	}
	accept, err := c.accepted()
	if err != nil {
		return err
	}
	statement, sum, err := c.read(m, options)
	if err != nil {
		return err
	}
	dsn, err := c.dsn(m)
	if err != nil {
		return err
	}
	scope := reconcile.Scope{Org: c.Org, Provider: statement.Provider, Label: c.Label}
	scope.Since, scope.Until = statement.Days()
	report, err := c.compare(ctx, m, dsn, statement, scope)
	if err != nil {
		return err
	}
	var booking *reconcile.Booking
	if c.Record || c.Accept {
		b, err := reconcile.Book(ctx, dsn, report, scope, reconcile.Source{Actor: actor(m), File: c.File, SHA256: sum}, accept)
		if err != nil {
			return err
		}
		booking = &b
	}
	if c.Output == "json" {
		err = writeJSON(m.Stdout, struct {
			*reconcile.Report
			Booking *reconcile.Booking `json:"booking,omitempty"`
		}{report, booking})
	} else {
		err = reconcile.WriteText(m.Stdout, report)
		if booking != nil {
			fmt.Fprintf(m.Stdout, "kept as reconciliation %s; %d adjustments, %s USD\n", booking.ID, booking.Entries, booking.Accepted)
		}
	}
	if err == nil && !c.Accept && differs(report) {
		return errReported
	}
	return err
}

// differs reports whether there is a difference that is more than rounding.
func differs(r *reconcile.Report) bool {
	for _, d := range r.Causes {
		if d.Cause != reconcile.Rounding {
			return true
		}
	}
	if r.Stated != nil {
		return false
	}
	for i := range r.Cells {
		if q := r.Cells[i].StatedQuantity; q == nil || *q != r.Cells[i].RecordedQuantity {
			return true
		}
	}
	return false
}

func (c *reconcileCmd) options() (o reconcile.Options, err error) {
	if c.Timezone != "" {
		if o.Zone, err = time.LoadLocation(c.Timezone); err != nil {
			return o, fmt.Errorf("--timezone: %w", err)
		}
	}
	o.Rates = make(map[string]*big.Rat)
	for currency, text := range c.Rates {
		rate, ok := new(big.Rat).SetString(text)
		if !ok || rate.Sign() <= 0 {
			return o, fmt.Errorf("--rate %s=%s: write what one %s is worth in dollars", currency, text, currency)
		}
		o.Rates[currency] = rate
	}
	if (c.Provider == "generic") != (c.Mapping != "") {
		return o, errors.New("--mapping goes with --provider generic, and only with it")
	}
	if c.Mapping != "" {
		text, err := os.ReadFile(c.Mapping)
		if err != nil {
			return o, err
		}
		if o.Mapping, err = reconcile.ReadMapping(text); err != nil {
			return o, fmt.Errorf("%s: %w", c.Mapping, err)
		}
	}
	return o, nil
}

func (c *reconcileCmd) accepted() ([]reconcile.Cause, error) {
	if len(c.Causes) > 0 && !c.Accept {
		return nil, errors.New("--cause goes with --accept")
	}
	if !c.Accept {
		return nil, nil
	}
	if len(c.Causes) == 0 {
		return reconcile.Accepted, nil
	}
	var causes []reconcile.Cause
	for _, name := range c.Causes {
		cause, err := reconcile.ParseCause(name)
		if err != nil {
			return nil, err
		}
		causes = append(causes, cause)
	}
	return causes, nil
}

// read reads the file and its SHA-256.
func (c *reconcileCmd) read(m *Main, o reconcile.Options) (*reconcile.Statement, string, error) {
	in := m.Stdin
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return nil, "", err
		}
		defer f.Close()
		in = f
	}
	h := sha256.New()
	tee := io.TeeReader(in, h)
	statement, err := reconcile.Read(c.Provider, tee, o)
	if err == nil {
		_, err = io.Copy(io.Discard, tee)
	}
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", c.File, err)
	}
	return statement, hex.EncodeToString(h.Sum(nil)), nil
}

func (c *reconcileCmd) compare(ctx context.Context, m *Main, dsn string, s *reconcile.Statement, scope reconcile.Scope) (*reconcile.Report, error) {
	book, err := bookOf(ctx, &c.databaseFlag, m, c.Org)
	if err != nil {
		return nil, err
	}
	reader, err := spend.Open(ctx, dsn)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	recorded, err := reconcile.ReadRecorded(ctx, reader.Tx(), scope)
	if err != nil {
		return nil, err
	}
	return reconcile.Compare(s, recorded, scope, func(model string) bool {
		_, ok := book.Rates(s.Provider, model, pricing.Terms{At: scope.Since})
		return ok
	}), nil
}

// bookOf is the price book of an organisation as it is configured now.
func bookOf(ctx context.Context, f *databaseFlag, m *Main, org string) (*pricing.Book, error) {
	store, err := f.open(ctx, m)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	documents, err := store.Get(ctx, org, "", "")
	if err != nil {
		return nil, err
	}
	config, err := budget.Compile(documents, pricing.Catalog())
	if err != nil {
		return nil, err
	}
	return config.Book(org), nil
}
