package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"keel/budget/audit"
	"keel/budget/audit/export"
	"keel/budget/audit/focus"
	"keel/budget/audit/spend"
)

type auditExportCmd struct {
	Format   string            `help:"csv, jsonl or parquet: a row a call. focus-csv or focus-parquet: FOCUS 1.2, a row a meter." enum:"csv,jsonl,parquet,focus-csv,focus-parquet" default:"csv"`
	Org      string            `help:"Organisation." default:"default" placeholder:"ORG"`
	Since    moment            `help:"Calls decided from then on: a day or RFC 3339. All, unless given." placeholder:"TIME"`
	Until    moment            `help:"Calls decided before then." placeholder:"TIME"`
	Out      string            `help:"File to write; it must not be there yet. FILE.manifest.json says what is in it." required:"" placeholder:"FILE"`
	Resume   bool              `help:"Go on with an export that was cut, where it was cut."`
	Key      string            `help:"File with a private note key: the manifest is also written as a signed note, FILE.manifest.note." placeholder:"FILE"`
	Accounts map[string]string `name:"billing-account" help:"PROVIDER=ID of your account there, for FOCUS. May be given more than once." placeholder:"PROVIDER=ID"`
	Label    string            `name:"sub-account" help:"Label that is FOCUS's sub account." default:"team" placeholder:"LABEL"`
	Quiet    bool              `short:"q" help:"Show no progress."`
	Output   string            `short:"o" help:"text or json: what to print at the end; json is the manifest." enum:"text,json" default:"text"`
	databaseFlag
}

func (c *auditExportCmd) Help() string {
	return `Reads one snapshot of the ledger and streams it: memory does not grow with the range. Ctrl-C,
or a database that goes away, leaves FILE.partial; "--resume" goes on from there. At the end the sums
are compared with the ledger's own, to the billionth of a dollar. docs/exports.md has the columns.

Examples:
  keel audit export --org acme --since 2026-10-01 --until 2026-11-01 --out october.csv
  keel audit export --org acme --since 2026-10-01 --until 2026-11-01 --out october.csv --resume
  keel audit export --format focus-parquet --org acme --since 2026-10-01 --out october.parquet --billing-account openai=org-1234`
}

func (c *auditExportCmd) Run(ctx context.Context, m *Main) error {
	if !c.Until.IsZero() && !c.Since.Before(c.Until.Time) {
		return fmt.Errorf("--since %s is not before --until %s", c.Since.Format(time.RFC3339), c.Until.Format(time.RFC3339))
	}
	dsn, err := c.dsn(m)
	if err != nil {
		return err
	}
	seal, err := sealWith(c.Key)
	if err != nil {
		return err
	}
	seal.Checkpoint = func(ctx context.Context, _ string) (json.RawMessage, error) { // one log has every org
		_, signed, err := audit.NewestCheckpoint(ctx, dsn)
		if errors.Is(err, audit.ErrNoCheckpoint) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return json.Marshal(signed)
	}
	o := export.Options{Query: spend.Query{Org: c.Org, Since: c.Since.Time, Until: c.Until.Time}, Table: export.Records(), Format: export.Encoding(c.Format),
		File: c.Out, Resume: c.Resume, Seal: seal, Version: version()}
	if format, ok := strings.CutPrefix(c.Format, "focus-"); ok {
		book, err := bookOf(ctx, &c.databaseFlag, m, c.Org)
		if err != nil {
			return err
		}
		o.Format = export.Encoding(format)
		o.Table = focus.Table(focus.Options{Book: book, BillingAccounts: c.Accounts, SubAccount: c.Label})
		o.Notes = append(o.Notes, "BilledCost is 0 and InvoiceId null in every row: the provider's invoice is not known here, see keel reconcile")
	}
	reader, err := spend.Open(ctx, dsn)
	if err != nil {
		return err
	}
	defer reader.Close()
	if !c.Quiet {
		o.Progress = c.progress(m.Stderr)
	}
	manifest, err := export.Run(ctx, reader, o)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return writeJSON(m.Stdout, manifest)
	}
	fmt.Fprintf(m.Stdout, "%s: %d calls in %d rows, %s USD, as the ledger has it\n", c.Out, manifest.Records, manifest.Rows, manifest.Sum.USD)
	if manifest.Open > 0 {
		fmt.Fprintf(m.Stdout, "%d of them have not ended: their cost is not known yet\n", manifest.Open)
	}
	if ups := manifest.TrueUps; ups.Rows > 0 {
		fmt.Fprintf(m.Stdout, "and %d true-ups of %s USD, as the ledger has them: %s USD in all\n", ups.Rows, ups.Sum.USD, manifest.Total.USD)
	}
	fmt.Fprintf(m.Stdout, "sha256 %s\n", manifest.SHA256)
	return nil
}

// sealWith reads a key that "keel audit" or note.GenerateKey made.
func sealWith(file string) (export.Seal, error) {
	if file == "" {
		return export.Seal{}, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return export.Seal{}, err
	}
	signer, err := note.NewSigner(strings.TrimSpace(string(text)))
	if err != nil {
		return export.Seal{}, fmt.Errorf("%s: not a private note key (PRIVATE+KEY+name+hash+…): %w", file, err)
	}
	return export.Seal{Signer: signer}, nil
}

// progress prints a line a second at most.
func (c *auditExportCmd) progress(w io.Writer) func(export.Progress) {
	begun := time.Now()
	last := begun
	return func(p export.Progress) {
		now := time.Now()
		if now.Sub(last) < time.Second {
			return
		}
		last = now
		line := fmt.Sprintf("keel: %d calls, %.0f a second, at %s", p.Records, float64(p.Records)/now.Sub(begun).Seconds(), p.At.Format(time.RFC3339))
		if whole := c.Until.Sub(c.Since.Time); !c.Since.IsZero() && !c.Until.IsZero() && whole > 0 {
			line += fmt.Sprintf(" (%d%% of the time)", 100*p.At.Sub(c.Since.Time)/whole)
		}
		fmt.Fprintln(w, line)
	}
}
