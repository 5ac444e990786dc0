package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"keel/budget/audit"
)

type auditKeysCmd struct {
	New       auditKeysNewCmd       `cmd:"" help:"Make a key."`
	Public    auditKeysPublicCmd    `cmd:"" help:"Print the public key of a key file."`
	Rotate    auditKeysRotateCmd    `cmd:"" help:"Make the log over from one key to another: both sign that, and the log keeps it."`
	Pseudonym auditKeysPseudonymCmd `cmd:"" help:"Make a key for pseudonyms, or go over to another one."`
	List      auditKeysListCmd      `cmd:"" help:"Print the public keys that the log was signed with, oldest first."`
}

type auditKeysNewCmd struct {
	File   string `arg:"" help:"File for the private key. The public key goes beside it, with .pub."`
	Origin string `help:"Name of the log: as for a web page that is yours, without https." placeholder:"keel.example.com/audit" required:""`
	Keep   bool   `help:"Leave a key as it is that is in the file already."`
}

func (c *auditKeysNewCmd) Run(m *Main) error {
	key, err := c.key()
	if err != nil {
		return err
	}
	fmt.Fprintln(m.Stdout, key.Public)
	return nil
}

func (c *auditKeysNewCmd) key() (*audit.PrivateKey, error) {
	if c.Keep {
		key, err := audit.KeyFrom(c.File, c.Origin)
		if err == nil && !strings.HasPrefix(key.Public, c.Origin+"+") {
			return nil, fmt.Errorf("%s has the key of another log, not of %s: %s", c.File, c.Origin, key.Public)
		}
		return key, err
	}
	key, err := audit.NewPrivateKey(c.Origin)
	if err != nil {
		return nil, err
	}
	return key, key.Write(c.File)
}

type auditKeysPublicCmd struct {
	File string `arg:"" help:"File of the private key."`
}

func (c *auditKeysPublicCmd) Run(m *Main) error {
	key, err := audit.ReadPrivateKey(c.File)
	if err == nil {
		fmt.Fprintln(m.Stdout, key.Public)
	}
	return err
}

type auditKeysRotateCmd struct {
	databaseFlag
	From string `required:"" help:"File of the key so far." placeholder:"FILE"`
	To   string `required:"" help:"File of the new key." placeholder:"FILE"`
}

func (c *auditKeysRotateCmd) Help() string {
	return `From then on processors with the old key sign nothing: restart them with the new one. Auditors who know either of
the two public keys trust the other by the statement that both signed.

Example:
  keel audit keys new 2027.key --origin keel.example.com/audit
  keel audit keys rotate --from 2026.key --to 2027.key`
}

func (c *auditKeysRotateCmd) Run(ctx context.Context, m *Main) error {
	dsn, err := c.dsn(m)
	if err != nil {
		return err
	}
	from, err := audit.ReadPrivateKey(c.From)
	if err != nil {
		return err
	}
	to, err := audit.ReadPrivateKey(c.To)
	if err != nil {
		return err
	}
	if err := audit.Rotate(ctx, dsn, from, to); err != nil {
		return err
	}
	fmt.Fprintf(m.Stdout, "the log is made over to %s\nrestart processors with --audit-key %s\n", to.Public, filepath.Clean(c.To))
	return nil
}

type auditKeysListCmd struct{ databaseFlag }

func (c *auditKeysListCmd) Run(ctx context.Context, m *Main) error {
	dsn, err := c.dsn(m)
	if err != nil {
		return err
	}
	keys, err := audit.PublicKeys(ctx, dsn)
	for _, key := range keys {
		fmt.Fprintln(m.Stdout, key)
	}
	return err
}
