// Command keel is spend management with enforcement for LLM traffic that runs
// through Envoy: the processor, the development stack, and the tools to
// configure and question them. One file a verb.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/google/uuid"

	"keel/budget/ledger"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	uuid.EnableRandPool()          // a call's name is no secret; the system is asked for randomness once for 16 of them
	signal.Ignore(syscall.SIGXFSZ) // a journal that may not grow is an error of its write, not the end of the process
	m := Main{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv}
	os.Exit(m.Run(ctx, os.Args[1:]))
}

// Main is the program as a value, so that tests run it without a process.
type Main struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Getenv func(string) string
}

// Exit codes are a contract for scripts.
const (
	exitOK     = 0
	exitFailed = 1 // the command was understood and could not be done
	exitUsage  = 2 // the command, or what it was given to read, was not understood
)

type commands struct {
	Dev       devCmd       `cmd:"" help:"Run the whole stack in the foreground: Envoy, Postgres, Keel and a sample provider."`
	Serve     serveCmd     `cmd:"" help:"Run the processor alone, for an Envoy that is already there."`
	Sample    sampleCmd    `cmd:"" help:"Run a provider that costs nothing, to try Keel with."`
	Migrate   migrateCmd   `cmd:"" help:"Create or update the schema keel in the database."`
	Apply     applyCmd     `cmd:"" help:"Store config documents from YAML files, and show what changes."`
	Get       getCmd       `cmd:"" help:"Show config documents as they are stored."`
	Delete    deleteCmd    `cmd:"" help:"Delete a config document."`
	Pressure  pressureCmd  `cmd:"" help:"Show where routing pressure accumulates: what routes save, and what they could."`
	Explain   explainCmd   `cmd:"" help:"Answer for one call: what it was thought to cost, what it cost, and which rules were active."`
	Estimate  estimateCmd  `cmd:"" help:"Say what a request is likely to cost, and what it can't exceed, before it is sent."`
	Meter     meterCmd     `cmd:"" help:"Price recorded exchanges offline: JSON lines in, JSON lines out."`
	Ledger    ledgerCmd    `cmd:"" help:"Check the ledger, and do what only an operator may decide."`
	Audit     auditCmd     `cmd:"" help:"Prove records, export them, and find out whether anybody changed them."`
	Reconcile reconcileCmd `cmd:"" help:"Compare what a provider billed with what is recorded, and say why they differ."`
	Rerate    rerateCmd    `cmd:"" help:"Compute what recorded calls cost under other prices."`
	Replay    replayCmd    `cmd:"" help:"Run recorded decisions through a proposed configuration, and show what it would have changed."`
	Alerts    alertsCmd    `cmd:"" help:"Show alerts, and print alert rules for Prometheus and a dashboard for Grafana."`
	Prices    pricesCmd    `cmd:"" help:"Import public price lists, and compare them with the prices that Keel has."`
	Envoy     envoyCmd     `cmd:"" help:"Attach Keel to a mesh: write its configuration, and check it."`
	Doctor    doctorCmd    `cmd:"" help:"Look at an attachment that runs, end to end, and say what to fix."`
	Version   versionCmd   `cmd:"" help:"Print the version and that of the price catalogue."`
}

// Run executes one command line and returns the exit code. A command that runs
// until told otherwise ends when ctx does.
func (m *Main) Run(ctx context.Context, args []string) int {
	var cli commands
	exited := -1
	parser, err := kong.New(&cli,
		kong.Name("keel"),
		kong.Description("Prices LLM calls before the provider sees them, enforces budgets, and keeps the record."),
		kong.UsageOnError(),
		kong.Writers(m.Stdout, m.Stderr),
		kong.Exit(func(code int) { exited = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(m),
	)
	if err != nil {
		fmt.Fprintln(m.Stderr, "keel:", err) // a mistake in the tags above
		return exitFailed
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	if exited >= 0 { // --help
		return exited
	}
	if err != nil {
		fmt.Fprintf(m.Stderr, "keel: %v\nRun \"keel --help\" for the commands.\n", err)
		return exitUsage
	}
	if err := command.Run(); err != nil {
		if !errors.Is(err, errReported) {
			fmt.Fprintln(m.Stderr, "keel:", err)
			if ledger.Forbidden(err) {
				fmt.Fprintln(m.Stderr, "The role that the database was asked as may not do that; docs/security.md says which one this command wants.")
			}
		}
		if e := (*exitError)(nil); errors.As(err, &e) {
			return e.code
		}
		return exitFailed
	}
	return exitOK
}

// errReported ends a command whose output has already said what is wrong.
var errReported = errors.New("reported")
