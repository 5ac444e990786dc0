package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"keel/envoy"
)

type serveCmd struct {
	GRPC         string        `name:"grpc" help:"Address for Envoy, ext_proc and access log services: HOST:PORT, or unix:PATH of a socket." default:"127.0.0.1:10002" placeholder:"ADDR"`
	Admin        string        `help:"Address for the review pages, /metrics, /healthz and /readyz." default:"127.0.0.1:10001" placeholder:"ADDR"`
	Database     string        `help:"Postgres to use: a URL or DSN. Default: $KEEL_DATABASE_URL." placeholder:"DSN"`
	DatabaseFile string        `help:"File with that URL or DSN, so that its password is in no list of processes." placeholder:"FILE"`
	Journal      string        `help:"Folder for what must outlive the process." required:"" placeholder:"DIR"`
	Segment      int64         `name:"journal-segment" help:"Size of a journal file in MiB, from 1 to 1024. Two are on the disk before anything is written: less for a small volume." default:"64" placeholder:"MIB"`
	Config       []string      `help:"YAML files to apply at the start, as \"keel apply\" does." placeholder:"FILE"`
	Drain        time.Duration `help:"How long calls in flight may go on after SIGTERM." default:"30s"`
	transportFlags
	auditFlags
	pseudonymFlag
	reviewFlags
	alertFlags
	profileFlags
	spanFlags
	MaxCalls int           `help:"Most calls in flight at once; further ones fail closed." default:"100000" placeholder:"N"`
	Orphan   time.Duration `name:"orphan-after" help:"Silence after which a processor counts as dead and its open calls are closed." default:"30s"`
}

func (c *serveCmd) Help() string {
	return `Examples:
  keel serve --grpc 0.0.0.0:10002 --tls-cert tls.crt --tls-key tls.key --tls-peer-ca ca.crt --peer spiffe://example.com/envoy --journal /var/lib/keel --database postgres://keel@db.internal/keel
  keel serve --grpc 0.0.0.0:10002 --grpc-cleartext --admin 0.0.0.0:10001 --sign-in sign-in.yaml --journal /var/lib/keel
  keel serve --grpc unix:/run/keel/keel.sock --journal /var/lib/keel

Envoy needs to be in the group of the socket. On an address that other machines reach, Envoy has to show a
certificate, unless --grpc-cleartext leaves that to a mesh. "keel envoy config" writes what Envoy, Istio or Envoy
Gateway need.

The schema has to be there: run "keel migrate" first. Without the database the
processor starts from the configuration it cached in the journal folder, and
refuses to start when there is none.

With --audit-key the processor signs the audit log, when it is its turn among all processors; with
--audit-anchor it puts checkpoints where who administers the database can't change them. Without a key the log
grows unsigned. A Subject that says "pseudonym: true" needs --pseudonym-key, the same file on every processor.`
}

func (c *serveCmd) Run(ctx context.Context, m *Main) error {
	if c.MaxCalls < 1 {
		return fmt.Errorf("--max-calls %d: nothing would be let through", c.MaxCalls)
	}
	dsn, err := givenDatabase(c.Database, c.DatabaseFile, m)
	if err != nil {
		return err
	}
	if dsn == "" {
		return errors.New("no database: give --database DSN or --database-file FILE, or set KEEL_DATABASE_URL")
	}
	if len(c.Config) > 0 {
		if err := applyFiles(ctx, dsn, c.Config, m.Stderr); err != nil {
			return err
		}
	}
	if c.Segment < 1 || c.Segment > 1024 {
		return fmt.Errorf("--journal-segment %d: a file has from 1 to 1024 MiB", c.Segment)
	}
	log := slog.New(slog.NewTextHandler(m.Stderr, nil))
	sequencer, err := c.sequencer(dsn, log)
	if err != nil {
		return err
	}
	pseudonyms, err := c.keys()
	if err != nil {
		return err
	}
	p, err := startProcessor(ctx, processorOptions{
		Audit: sequencer, Pseudonyms: pseudonyms, Spans: c.spanFlags,
		GRPC: c.GRPC, Admin: c.Admin, Database: dsn, Journal: c.Journal, Segment: c.Segment << 20, Profiles: c.profileFlags,
		Transport: c.transportFlags, MaxCalls: c.MaxCalls, Hosts: providerHosts(envoy.DefaultProviders()), OrphanAfter: c.Orphan, Review: c.reviewFlags, Alerts: c.alertFlags,
		Log: log,
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(m.Stderr, "keel: serving Envoy on %s, admin on http://%s\n", p.grpcAddr, p.adminAddr)
	var died error
	select {
	case <-ctx.Done():
		fmt.Fprintf(m.Stderr, "keel: draining, for %s at most\n", c.Drain)
	case died = <-p.failed:
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Drain)
	defer cancel()
	return errors.Join(died, p.Close(drain))
}
