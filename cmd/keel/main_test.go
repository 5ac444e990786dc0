package main

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"keel/budget/audit/sample"
	"keel/budget/ledger"
	"keel/budget/ledger/pgserver"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"keel": main, "books": books, "lost": lost, "standing": standing, "sql": sql, "as-role": asRole})
}

// What does not answer is not the same as what is wrong.
func TestDoctorStatus(t *testing.T) {
	var stdout, stderr bytes.Buffer
	m := Main{Stdout: &stdout, Stderr: &stderr, Getenv: func(string) string { return "" }}
	if code := m.Run(t.Context(), []string{"doctor", "--admin", "127.0.0.1:1"}); code != 2 {
		t.Errorf("exit status %d: %s%s", code, &stdout, &stderr)
	}
	if code := m.Run(t.Context(), []string{"doctor"}); code != 2 {
		t.Errorf("exit status %d: %s%s", code, &stdout, &stderr)
	}
}

// TestScripts runs every verb as a person would: one file a verb in testdata.
// "-update" rewrites what they expect.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		RequireExplicitExec: true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"sample": fillSample},
		Setup: func(env *testscript.Env) error {
			env.Setenv("KEEL_DATABASE_URL", pgserver.ForTest(scope{env}))
			env.Setenv("URL", env.Getenv("KEEL_DATABASE_URL"))
			env.Setenv("KEEL_ACTOR", "ada")
			return nil
		},
	})
}

// fillSample is "sample N": the database gets the schema and N calls that are always the same.
func fillSample(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.Atoi(strings.Join(args, " "))
	if err != nil || neg {
		ts.Fatalf("usage: sample N")
	}
	ctx, dsn := context.Background(), ts.Getenv("KEEL_DATABASE_URL")
	ts.Check(ledger.Migrate(ctx, dsn, nil))
	ts.Check(sample.Fill(ctx, dsn, n))
}

// asRole is "as-role NAME PASSWORD": keel doctor, with the database as that role has it. It always succeeds.
func asRole() {
	u, err := url.Parse(os.Getenv("KEEL_DATABASE_URL"))
	if err != nil || len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: as-role NAME PASSWORD:", err)
		os.Exit(1)
	}
	u.User = url.UserPassword(os.Args[1], os.Args[2])
	m := Main{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv}
	m.Run(context.Background(), []string{"doctor", "--database", u.String()})
}

// scope ends a database with its script.
type scope struct{ env *testscript.Env }

func (s scope) Helper()                           {}
func (s scope) Errorf(format string, args ...any) { s.env.T().Log(format, args) }
func (s scope) Fatalf(format string, args ...any) { s.env.T().Fatal(format, args) }
func (s scope) Cleanup(f func())                  { s.env.Defer(f) }
