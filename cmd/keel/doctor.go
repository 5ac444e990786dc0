package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"keel/cmd/keel/doctor"
)

type doctorCmd struct {
	EnvoyAdmin []string `help:"Address of an Envoy's admin interface. May be given more than once." sep:"none" placeholder:"ADDR"`
	Envoy      []string `help:"Address that applications call: a call is asked for there, with x-keel-dry-run, and not made." sep:"none" placeholder:"URL"`
	Admin      []string `help:"Address of a processor's admin port. May be given more than once." sep:"none" placeholder:"ADDR"`
	databaseFlag
	Output string `short:"o" help:"text or json." enum:"text,json" default:"text"`
	JSON   bool   `help:"Short for -o json."`
}

func (c *doctorCmd) Help() string {
	return `Looks at an attachment that runs, from Envoy to the database, and says what is wrong
and what to do: is every route covered, are bodies and usage seen, do clocks agree, has the database
its schema and its roles their privileges, are breakers open, what goes by unmetered, is the sweep,
the audit log or the price catalogue behind, and has the journal room.

Looks at what it is given, and at a running "keel dev" in --dir when it is given nothing. Changes
nothing. Exit status 0 when nothing is wrong, 1 when something is, 2 when something does not answer.

Examples:
  keel doctor
  keel doctor --envoy-admin 127.0.0.1:9901 --admin 127.0.0.1:10001 --database postgres://keel@db.internal/keel
  keel doctor --envoy http://gateway.internal --envoy-admin 127.0.0.1:9901
  keel doctor --json | jq '.findings[] | select(.status == "error")'`
}

func (c *doctorCmd) Run(ctx context.Context, m *Main) error {
	p, err := c.patient(m)
	if err != nil {
		return notChecked(err)
	}
	report := doctor.Look(ctx, p)
	write := report.WriteText
	if c.JSON || c.Output == "json" {
		write = report.WriteJSON
	}
	if err := write(m.Stdout); err != nil {
		return err
	}
	away, wrong := report.Count(doctor.Away), report.Count(doctor.Error, doctor.Warning)
	fmt.Fprintf(m.Stderr, "keel: %d to fix, %d that do not answer, %d unseen, %d well\n", wrong, away, report.Count(doctor.Unseen), report.Count(doctor.OK))
	switch {
	case away > 0:
		return notChecked(errReported)
	case wrong > 0:
		return errReported
	}
	return nil
}

// patient is what the flags name, else the stack of a running keel dev.
func (c *doctorCmd) patient(m *Main) (doctor.Patient, error) {
	p := doctor.Patient{EnvoyAdmins: c.EnvoyAdmin, Listeners: c.Envoy, Admins: c.Admin, Database: c.Database}
	named := len(c.EnvoyAdmin)+len(c.Envoy)+len(c.Admin) > 0 || c.Database != ""
	if !named {
		r, err := readReady(c.Dir)
		switch {
		case err == nil:
			return doctor.Patient{EnvoyAdmins: []string{r.EnvoyAdmin}, Listeners: []string{r.Envoy}, Admins: []string{r.Admin}, Database: r.Database}, nil
		case !errors.Is(err, os.ErrNotExist):
			return p, err
		}
	}
	if p.Database == "" {
		p.Database = strings.TrimSpace(m.Getenv("KEEL_DATABASE_URL"))
	}
	if !named && p.Database == "" {
		return p, errors.New("nothing to look at: give --envoy-admin, --envoy, --admin or --database, or start \"keel dev\"")
	}
	return p, nil
}
