package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"keel/budget/audit"
)

type auditContinueCmd struct {
	databaseFlag
	anchorsFlag
	Key     string   `required:"" help:"File of the new key, of a log with another name: see \"keel audit keys new\"." placeholder:"FILE"`
	OldKey  string   `help:"File of the key so far, if it is still there: it signs as well, and those who trust it need no other." placeholder:"FILE"`
	Journal []string `help:"Folders of processors' journals: it is refused while they have records that the database lacks." sep:"none" placeholder:"DIR"`
	By      string   `required:"" help:"Who declares it, for those who verify." placeholder:"WHO"`
	Why     string   `required:"" help:"What happened, in one line." placeholder:"TEXT"`
	Yes     bool     `help:"Declare it. Without this the command says what it would declare, and changes nothing."`
}

func (c *auditContinueCmd) Help() string {
	return `The way on when the key of the log is lost, or when the database lost leaves that were signed, after a failover say:
processors sign nothing then, and "keel audit verify" says why. The log is closed at its last checkpoint that holds, and
another one, with another name and key, goes on from the leaves that are there. Both are in a statement with who, when,
why and how many leaves were lost. It is a leaf of the log, can't be taken back, and every "keel audit verify" from then on
reports it as a break, until whoever verifies accepts it by name.

Give every anchor: what they have and the database has not is what was lost. After a failover let the processors run first,
until their journals are settled again: that brings the records back, under new leaves. With --journal that is checked.

Examples:
  keel audit keys new second.key --origin keel.example.com/audit/2
  keel audit continue --key second.key --anchor /mnt/worm/keel --by "Ada Byron" --why "the disk with the key burned"
  keel audit continue --key second.key --old-key audit.key --anchor /mnt/worm/keel --by "Ada Byron" --why "failover at 10:04 lost two seconds" --yes`
}

func (c *auditContinueCmd) Run(ctx context.Context, m *Main) error {
	o := audit.ContinueOptions{Journals: c.Journal, By: c.By, Why: c.Why, Declare: c.Yes}
	var err error
	if o.Database, err = c.dsn(m); err != nil {
		return err
	}
	if o.Anchors, err = c.anchors(); err != nil {
		return err
	}
	if len(o.Anchors) == 0 {
		return errors.New("no anchor: without those that the log has nobody can say what was lost; give --anchor, and where there is none, the folder of an empty one")
	}
	if o.Key, err = audit.ReadPrivateKey(c.Key); err != nil {
		return err
	}
	if c.OldKey != "" {
		if o.Old, err = audit.ReadPrivateKey(c.OldKey); err != nil {
			return err
		}
	}
	declared, err := audit.Continue(ctx, o)
	if err != nil {
		return err
	}
	fmt.Fprintln(m.Stdout, declared)
	if !c.Yes {
		fmt.Fprintln(m.Stdout, "nothing was changed: to declare it, run the command again with --yes")
		return nil
	}
	fmt.Fprintf(m.Stdout, "declared; restart processors with --audit-key %s, and give auditors %s\n", filepath.Clean(c.Key), declared.NewKey)
	return nil
}
