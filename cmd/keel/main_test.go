package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"keel/budget/ledger/pgserver"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"keel": main, "books": books, "sql": sql})
}

// TestScripts runs every verb as a person would: one file a verb in testdata.
// "-update" rewrites what they expect.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("KEEL_DATABASE_URL", pgserver.ForTest(scope{env}))
			env.Setenv("URL", env.Getenv("KEEL_DATABASE_URL"))
			env.Setenv("KEEL_ACTOR", "ada")
			return nil
		},
	})
}

// scope ends a database with its script.
type scope struct{ env *testscript.Env }

func (s scope) Helper()                           {}
func (s scope) Errorf(format string, args ...any) { s.env.T().Log(format, args) }
func (s scope) Fatalf(format string, args ...any) { s.env.T().Fatal(format, args) }
func (s scope) Cleanup(f func())                  { s.env.Defer(f) }
