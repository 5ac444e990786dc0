package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"

	"keel/budget/audit"
	"keel/budget/audit/alert"
	"keel/budget/audit/log"
)

type auditCmd struct {
	Export     auditExportCmd     `cmd:"" help:"Write what calls cost into a file that anybody can read and add up, with a manifest beside it."`
	Verify     auditVerifyCmd     `cmd:"" help:"Find out whether anything in the ledger was changed, removed, inserted or reordered; or check a bundle of \"audit prove\"."`
	Prove      auditProveCmd      `cmd:"" help:"Write a bundle that proves one record to somebody who has nothing but the public key."`
	Checkpoint auditCheckpointCmd `cmd:"" help:"Print the newest signed checkpoint of the log, or anchor it."`
	Tiles      auditTilesCmd      `cmd:"" help:"Write the log as files that other tools for transparency logs read (c2sp.org/tlog-tiles)."`
	Keys       auditKeysCmd       `cmd:"" help:"Make the key that checkpoints are signed with, and go over to another one."`
	Continue   auditContinueCmd   `cmd:"" help:"Close a log whose key or whose newest leaves are lost, and go on with another one: declared, signed, for all to see."`
	Pseudonym  auditPseudonymCmd  `cmd:"" help:"Print the pseudonym of somebody, to look up records or to write a budget."`
	Erase      auditEraseCmd      `cmd:"" help:"Take the value of a label out of every record, for good. Proofs and sums stay."`
}

// keysFlag is how those who verify say whom they trust.
type keysFlag struct {
	Key []string `help:"Public key of the log, or of a witness: the text, or a file that has it. May be given more than once." sep:"none" placeholder:"KEY"`
}

func (f *keysFlag) keys() (keys log.Keys, err error) {
	for _, text := range f.Key {
		if !strings.Contains(text, "+") {
			file, err := os.ReadFile(text)
			if err != nil {
				return keys, fmt.Errorf("--key: %w", err)
			}
			text = string(file)
		}
		if strings.HasPrefix(text, "PRIVATE+KEY+") {
			return keys, errors.New("--key: that is the private key; those who verify need the public one, beside it with .pub")
		}
		if err := keys.Add(text); err != nil {
			return keys, fmt.Errorf("--key: %w", err)
		}
	}
	return keys, nil
}

type anchorsFlag struct {
	Anchor []string `help:"Where checkpoints are kept outside: a folder, or file:NAME. May be given more than once." sep:"none" placeholder:"DIR"`
}

func (f *anchorsFlag) anchors() (all []audit.Anchor, err error) {
	return openAnchors("--anchor", f.Anchor)
}

func openAnchors(flag string, addresses []string) (all []audit.Anchor, err error) {
	for _, address := range addresses {
		a, err := audit.OpenAnchor(address)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		all = append(all, a)
	}
	return all, nil
}

type auditVerifyCmd struct {
	Bundle string `arg:"" optional:"" help:"A bundle of \"keel audit prove\": it is checked without a database. \"-\" for standard input."`
	databaseFlag
	keysFlag
	anchorsFlag
	Journal     []string `help:"Folder of a processor's journals, or a copy of one: they are compared with the database, record by record. May be given more than once." sep:"none" placeholder:"DIR"`
	Org         string   `help:"Only the records of one organisation. The log itself is verified as a whole."`
	Since       string   `help:"Only decisions since then, and their closeouts." placeholder:"2026-11-01"`
	AcceptBreak []string `help:"Name of a log that goes on in the place of one that ended: that break is known, and no finding. May be given more than once." sep:"none" placeholder:"LOG"`
	Alert       bool     `help:"Write each finding down as an alert, which processors post to their webhook."`
	Output      string   `short:"o" help:"text or json." enum:"text,json" default:"text"`
}

func (c *auditVerifyCmd) Help() string {
	return `Reads one snapshot; processors may go on meanwhile. Exits with 0 when all is as it was,
with 1 when something was tampered with, which it names, and with 2 when it could not check.
docs/audit.md says what each finding means, and what nobody could find.

Examples:
  keel audit verify --key keel-audit.key.pub --anchor /mnt/worm/keel
  keel audit verify -o json | jq .findings
  keel audit verify --key keel-audit.key.pub --anchor /mnt/worm/keel --journal /var/lib/keel    # on a processor
  keel audit verify --alert --key keel-audit.key.pub    # from a timer
  keel audit verify bundle.json --key keel.example.com/audit+1a2b3c4d+AbCd…`
}

func (c *auditVerifyCmd) Run(ctx context.Context, m *Main) error {
	keys, err := c.keys()
	if err != nil {
		return notChecked(err)
	}
	if c.Bundle != "" {
		return c.checkBundle(m, keys)
	}
	o := audit.VerifyOptions{Keys: keys, Org: c.Org, Accept: c.AcceptBreak, Journals: c.Journal}
	if o.Database, err = c.dsn(m); err != nil {
		return notChecked(err)
	}
	if o.Anchors, err = c.anchors(); err != nil {
		return notChecked(err)
	}
	if c.Since != "" {
		if o.Since, err = time.Parse(time.DateOnly, c.Since); err != nil {
			return notChecked(fmt.Errorf("--since %q: write a date such as 2026-11-01", c.Since))
		}
	}
	p := progressTo(m.Stderr, c.Output == "json")
	o.Progress = func(done, total int64) { p.count(done, max(done, total), "records") }
	report, err := audit.Verify(ctx, o)
	p.clear()
	if err != nil {
		return notChecked(err)
	}
	if c.Alert {
		if _, err := alert.RaiseAll(ctx, o.Database, verificationAlerts(report)); err != nil {
			return notChecked(err)
		}
	}
	if c.Output == "json" {
		if err := writeJSON(m.Stdout, report); err != nil {
			return notChecked(err)
		}
	} else {
		c.report(m, report)
	}
	switch n := len(report.Findings); {
	case n > 0 && report.More:
		return tampered(fmt.Errorf("more than %d findings: the records are not what they were", n))
	case n > 0:
		return tampered(fmt.Errorf("%d findings: the records are not what they were", n))
	}
	return nil
}

// verificationAlerts are the findings as alerts: each is raised once, however often it is found.
func verificationAlerts(r *audit.Report) (alerts []alert.Alert) {
	for _, f := range r.Findings {
		alerts = append(alerts, alert.Alert{
			Org: f.Org, Kind: alert.Verification, Key: fmt.Sprintf("%s/%s/%s", f.Wrong, f.What, f.Epoch), Text: f.String(),
			Facts: map[string]string{"wrong": string(f.Wrong), "what": f.What, "why": f.Why, "id": f.ID, "epoch": f.Epoch},
		})
	}
	return alerts
}

func (c *auditVerifyCmd) report(m *Main, r *audit.Report) {
	for _, f := range r.Findings {
		fmt.Fprintln(m.Stdout, f)
	}
	for _, notice := range r.Notices {
		fmt.Fprintln(m.Stdout, "note:", notice)
	}
	fmt.Fprintf(m.Stdout, "%d leaves, of which %d records were made again and are the same, %d are signed, %d were retired; %d records are on their way into the log\n",
		r.Leaves, r.Records, r.Signed, r.Retired, r.Pending)
	fmt.Fprintf(m.Stdout, "%d checkpoints, %d in anchors; %d journals without a gap; %d accounts that add up; as of %s, in %.1f s\n",
		r.Checkpoints, r.Anchored, r.Journals, r.Accounts, r.At.UTC().Format(time.RFC3339), r.Seconds)
	if len(c.Journal) > 0 {
		fmt.Fprintf(m.Stdout, "%d records of journals on disk are in the database as they are there; %d wait to be settled\n", r.OnDisk, r.Waiting)
	}
	switch {
	case len(r.Findings) > 0:
	case len(r.Breaks) > 0:
		fmt.Fprintf(m.Stdout, "the log is not whole: it has %d breaks, which were declared and accepted; besides them nothing was changed, removed, inserted or reordered\n", len(r.Breaks))
	default:
		fmt.Fprintln(m.Stdout, "nothing was changed, removed, inserted or reordered")
	}
}

func (c *auditVerifyCmd) checkBundle(m *Main, keys log.Keys) error {
	if keys.Len() == 0 {
		return notChecked(errors.New("a bundle proves nothing without the public key of the log: give --key"))
	}
	in := m.Stdin
	if c.Bundle != "-" {
		f, err := os.Open(c.Bundle)
		if err != nil {
			return notChecked(err)
		}
		defer f.Close()
		in = f
	}
	checked, err := audit.CheckBundle(in, keys)
	if errors.Is(err, audit.ErrProof) {
		return tampered(err)
	}
	if err != nil {
		return notChecked(err)
	}
	if c.Output == "json" {
		return writeJSON(m.Stdout, checked)
	}
	names := make(map[string]string)
	for _, l := range checked.Labels {
		names[l.Commitment] = l.Value
	}
	for _, r := range checked.Records {
		fmt.Fprintf(m.Stdout, "%s %s, leaf %d\n", r.Kind, r.ID, r.Index)
		for _, f := range r.Fields {
			value := f[1]
			for commitment, name := range names {
				value = strings.ReplaceAll(value, commitment, name)
			}
			fmt.Fprintf(m.Stdout, "  %s: %s\n", f[0], value)
		}
	}
	at := checked.Checkpoint
	fmt.Fprintf(m.Stdout, "every record is in the log %s of %d leaves that %s signed\n", at.Origin, at.Size, strings.Join(at.Signers, " and "))
	for _, w := range at.Cosigners {
		fmt.Fprintf(m.Stdout, "witness %s saw that log at %s\n", w.Name, w.At.Format(time.RFC3339))
	}
	return nil
}

type auditProveCmd struct {
	ID string `arg:"" help:"Of a decision, an entry of the ledger, or a configuration change."`
	databaseFlag
	Out      string `help:"File for the bundle; standard output if none." placeholder:"FILE"`
	NoLabels bool   `help:"Leave out what the labels are: the bundle has their commitments alone."`
}

func (c *auditProveCmd) Help() string {
	return `The bundle of a decision has the decision, its closeouts, those that were replaced too, the entries
that refer to it and the versions of the documents that its rules name. Whoever has the log's public
key checks it, with "keel audit verify FILE" or with the script in docs/audit.md.

Example:
  keel audit prove 01988a3e-5f0c-7c31-9d5e-1b2a3c4d5e6f --out bundle.json`
}

func (c *auditProveCmd) Run(ctx context.Context, m *Main) error {
	dsn, err := c.dsn(m)
	if err != nil {
		return err
	}
	id, err := uuid.Parse(c.ID)
	if err != nil {
		return fmt.Errorf("%q is no id (a UUID)", c.ID)
	}
	bundle, err := audit.Prove(ctx, dsn, id, !c.NoLabels)
	if err != nil {
		return err
	}
	if c.Out == "" {
		return writeJSON(m.Stdout, bundle)
	}
	text, err := json.MarshalIndent(bundle, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(c.Out, append(text, '\n'), 0o644)
}

type auditCheckpointCmd struct {
	databaseFlag
	anchorsFlag
}

func (c *auditCheckpointCmd) Help() string {
	return `A checkpoint is a few lines of text that stand for every record up to then. Keep one where nobody who
administers the database can change it: printed, mailed, in another system. With --anchor it is put there as well.

Examples:
  keel audit checkpoint
  keel audit checkpoint --anchor /mnt/worm/keel --anchor file:/var/log/keel-anchors`
}

func (c *auditCheckpointCmd) Run(ctx context.Context, m *Main) error {
	dsn, err := c.dsn(m)
	if err != nil {
		return err
	}
	anchors, err := c.anchors()
	if err != nil {
		return err
	}
	size, note, err := audit.NewestCheckpoint(ctx, dsn)
	if err != nil {
		return err
	}
	for _, a := range anchors {
		if err := a.Put(size, note); err != nil {
			return err
		}
	}
	fmt.Fprint(m.Stdout, note)
	return nil
}

type auditTilesCmd struct {
	databaseFlag
	Folder string `arg:"" name:"dir" help:"Folder for the files: checkpoint and tile/…"`
}

func (c *auditTilesCmd) Help() string {
	return `The entries of the log are hashes, so the files say nothing about anybody: a monitor, a mirror or a
web server may have them. Files that are there already and can't change are left alone.

Example:
  keel audit tiles /srv/www/keel-log`
}

func (c *auditTilesCmd) Run(ctx context.Context, m *Main) error {
	dsn, err := c.dsn(m)
	if err != nil {
		return err
	}
	size, files, err := audit.WriteTiles(ctx, dsn, c.Folder)
	if err == nil {
		fmt.Fprintf(m.Stdout, "%d leaves, %d files written\n", size, files)
	}
	return err
}

type auditEraseCmd struct {
	databaseFlag
	Org   string `help:"The organisation." default:"default"`
	Label string `required:"" help:"What to erase, as in user=ada." placeholder:"LABEL=VALUE"`
	pseudonymFlag
}

func (c *auditEraseCmd) Help() string {
	return `Puts a commitment in the place of the value, in every decision, closeout, entry and account, and deletes the salt
that would tell whose commitment it is. Every sum and every proof stays what it was. It can't be undone. A label
whose budget slices a processor still has is refused: stop its calls first. Journals on the disks of
processors have the value until they are pruned, a day after they were settled. With --pseudonym-key the pseudonyms of the
value are erased, under every key of the file.

Examples:
  keel audit erase --org acme --label user=ada
  keel audit erase --org acme --label user=ada@example.com --pseudonym-key pseudonym.key`
}

func (c *auditEraseCmd) Run(ctx context.Context, m *Main) error {
	dsn, err := c.dsn(m)
	if err != nil {
		return err
	}
	label, value, ok := strings.Cut(c.Label, "=")
	if !ok || label == "" || value == "" {
		return fmt.Errorf("--label %q: write a label and its value, as in user=ada", c.Label)
	}
	keys, err := c.keys()
	if err != nil {
		return err
	}
	values := []string{value}
	if keys != nil {
		values = values[:0]
		for _, p := range keys.All(c.Org, label, value) {
			values = append(values, p.Text)
		}
	}
	found := false
	for _, value := range values {
		erased, err := audit.Erase(ctx, dsn, c.Org, label, value)
		if errors.Is(err, audit.ErrNoRecord) {
			continue
		}
		if err != nil {
			return err
		}
		found = true
		fmt.Fprintf(m.Stdout, "%d rows have %s in its place\n", erased.Rows, erased.Pseudonym)
	}
	if !found {
		return fmt.Errorf("erase %s of org %s: %w", label, c.Org, audit.ErrNoRecord)
	}
	return nil
}
