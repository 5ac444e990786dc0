package main

import (
	"errors"
	"fmt"

	"keel/budget"
)

// pseudonymFlag is where processors, and those who look somebody up, have the key.
type pseudonymFlag struct {
	PseudonymKey string `help:"File of the keys of pseudonyms, for labels whose Subject says \"pseudonym: true\": see \"keel audit keys pseudonym\"." placeholder:"FILE"`
}

// keys are nil where no file is given.
func (f *pseudonymFlag) keys() (*budget.PseudonymKeys, error) {
	if f.PseudonymKey == "" {
		return nil, nil
	}
	return budget.ReadPseudonymKeys(f.PseudonymKey)
}

type auditPseudonymCmd struct {
	Value string `arg:"" help:"What the label was read as, before it became a pseudonym."`
	Label string `help:"The label." default:"user"`
	Org   string `help:"The organisation." default:"default"`
	pseudonymFlag
}

func (c *auditPseudonymCmd) Help() string {
	return `Prints the id of a key and the pseudonym under it, the key that is in use first. It asks no database,
and nothing is written down.

Example:
  keel audit pseudonym ada@example.com --label user --org acme --pseudonym-key pseudonym.key`
}

func (c *auditPseudonymCmd) Run(m *Main) error {
	keys, err := c.keys()
	if err != nil {
		return err
	}
	if keys == nil || c.Value == "" {
		return errors.New("a value, and the file of the keys: --pseudonym-key FILE")
	}
	for _, p := range keys.All(c.Org, c.Label, c.Value) {
		fmt.Fprintf(m.Stdout, "%s\t%s\n", p.KeyID, p.Text)
	}
	return nil
}

type auditKeysPseudonymCmd struct {
	File string `arg:"" help:"File of the keys. One that is there keeps its keys, and the new one is in use from then on."`
}

func (c *auditKeysPseudonymCmd) Help() string {
	return `Every processor needs the same file (keel serve --pseudonym-key), and reads it when it starts. Under another key everybody is
somebody new: their accounts begin anew, and budgets that name pseudonyms have to name those of the new key. So go over to another
key when a window ends. Keep a copy: who loses the file can look up nobody any more.

Example:
  keel audit keys pseudonym /etc/keel/pseudonym.key`
}

func (c *auditKeysPseudonymCmd) Run(m *Main) error {
	id, err := budget.AddPseudonymKey(c.File)
	if err == nil {
		fmt.Fprintf(m.Stdout, "%s is in use from now on\n", id)
	}
	return err
}
