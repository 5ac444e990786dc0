package e2e

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"keel/budget/ledger/pgserver"
)

const allowDebt = `
kind: Settings
name: default
offline: allow_debt
`

const eachUser = `
kind: Budget
name: each-user
per: [user]
limit: 100 USD
window: month
`

// Postgres goes while calls run: what was let out ends with its record; accounts
// of which the replica has a slice go on, and the others get the configured answer.
func TestPostgresGoesInFlight(t *testing.T) {
	for name, config := range map[string]string{"deny": eachUser, "allow_debt": eachUser + "---" + allowDebt} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			postgres := ownPostgres(t)
			s := start(t, stackOptions{config: config, database: postgres.DSN()})

			a := &apis[0]
			rest := s.begin(t, a.path(a.model, true), a.body(a.model, true, 60), "x-keel-team: research", "x-sample-chunk-delay: 100ms", "x-sample-output-tokens: 40")
			postgres.Crash()
			if got := s.post(t, apis[0].path(apis[0].model, false), apis[0].body(apis[0].model, false, 20), "x-keel-team: research"); got.status != http.StatusOK {
				t.Errorf("with a slice: status %d: %s", got.status, got.body)
			}
			var during []*answer
			for i := range apis {
				during = append(during, s.post(t, apis[i].path(apis[i].model, false), apis[i].body(apis[i].model, false, 20), "x-keel-team: research", "x-keel-user: "+apis[i].name))
			}
			before := rest()
			if before.status != http.StatusOK || before.err != nil {
				t.Errorf("the stream that ran: status %d, %v", before.status, before.err)
			}
			if err := postgres.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.record(t, before.decision()).want(t, record{"outcome": "complete", "metered": "provider"})
			for i, got := range during {
				switch name {
				case "deny":
					if got.status != http.StatusServiceUnavailable || got.header.Get("retry-after") == "" {
						t.Errorf("%s: status %d, retry-after %q: %s", apis[i].name, got.status, got.header.Get("retry-after"), got.body)
					}
					if e := apis[i].refusal(t, got.body); !strings.Contains(e.message, "each-user") {
						t.Errorf("%s: the denial does not name the budget: %s", apis[i].name, e.message)
					}
					s.record(t, got.decision()).want(t, record{"action": "deny", "outcome": "denied"})
				case "allow_debt":
					if got.status != http.StatusOK {
						t.Errorf("%s: status %d: %s", apis[i].name, got.status, got.body)
					}
					s.record(t, got.decision()).want(t, record{"action": "allow", "outcome": "complete", "metered": "provider"})
				}
			}
		})
	}
}

// A processor starts without Postgres from the configuration that it cached,
// and follows the offline setting; without one it refuses to start.
func TestPostgresDownAtStart(t *testing.T) {
	t.Parallel()
	postgres := ownPostgres(t)
	first := start(t, stackOptions{database: postgres.DSN()})
	journal := filepath.Join(first.dir, "journal")
	first.stop(syscall.SIGTERM)
	postgres.Crash()

	out, err := first.run(t, "", "serve", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--journal", t.TempDir(), "--database", postgres.DSN())
	if err == nil || !strings.Contains(out, "no configuration") {
		t.Errorf("serve with neither database nor cache: %v\n%s", err, out)
	}

	processor, output := serve(t, journal, postgres.DSN())
	if !strings.Contains(output.String(), "started without the database") {
		t.Errorf("serve does not say that the database is away:\n%s", output)
	}
	processor.Signal(syscall.SIGTERM)
}

// SIGTERM lets streams that run go on to their end, and loses no record.
func TestSIGTERMWhileStreamsRun(t *testing.T) {
	t.Parallel()
	s := start(t, stackOptions{args: []string{"--drain", "30s"}})
	rests := make([]func() *answer, len(apis))
	var running sync.WaitGroup
	for i := range apis {
		a := &apis[i]
		running.Go(func() {
			rests[i] = s.begin(t, a.path(a.model, true), a.body(a.model, true, 60), "x-keel-team: research", "x-sample-chunk-delay: 100ms", "x-sample-output-tokens: 20")
		})
	}
	running.Wait()
	if err := s.stop(syscall.SIGTERM); err != nil {
		t.Errorf("keel dev: %v", err)
	}
	for i, rest := range rests {
		got := rest()
		if got.status != http.StatusOK || got.err != nil {
			t.Errorf("%s: status %d, %v", apis[i].name, got.status, got.err)
		}
		s.record(t, got.decision()).want(t, record{"outcome": "complete", "metered": "provider"})
	}
}

// A drain that is too short cuts streams; their records say so.
func TestSIGTERMCutsWhatOutlivesTheDrain(t *testing.T) {
	t.Parallel()
	s := start(t, stackOptions{args: []string{"--drain", "500ms"}})
	a := &apis[0]
	rest := s.begin(t, a.path(a.model, true), a.body(a.model, true, 400), "x-keel-team: research", "x-sample-chunk-delay: 100ms", "x-sample-output-tokens: 300")
	if err := s.stop(syscall.SIGTERM); err != nil {
		t.Errorf("keel dev: %v", err)
	}
	s.record(t, rest().decision()).want(t, record{"outcome": "aborted", "metered": "estimated"})
}

// A processor that is killed leaves holds; the sweeper of the next one ends them.
func TestSIGKILLLeaksNoHold(t *testing.T) {
	t.Parallel()
	database := pgserver.ForTest(t)
	s := start(t, stackOptions{database: database})
	a := &apis[0]
	done := make(chan struct{})
	go func() {
		defer close(done)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+a.path(a.model, true), strings.NewReader(a.body(a.model, true, 400)))
		if err != nil {
			t.Error(err)
			return
		}
		setHeaders(request, []string{"x-keel-team: research", "x-keel-user: killed", "x-sample-chunk-delay: 100ms", "x-sample-output-tokens: 300"})
		if response, err := client.Do(request); err == nil {
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
	}()
	if r := s.recordWhere(t, "subject->>'user' = 'killed'"); r["outcome"] != "open" {
		t.Errorf("outcome = %s, want open", r["outcome"])
	}
	s.stop(syscall.SIGKILL)
	<-done
	next := start(t, stackOptions{database: database, args: []string{"--orphan-after", "2s"}})
	r := next.recordWhere(t, "subject->>'user' = 'killed' and outcome <> 'open'")
	r.want(t, record{"outcome": "orphaned", "metered": "estimated"})
	if !sameDecimal(t, r["actual_cost_usd"], r["bound_cost_usd"]) {
		t.Errorf("an orphan costs %s, its hold was %s", r["actual_cost_usd"], r["bound_cost_usd"])
	}
	rows, err := next.query(t, "select to_jsonb(b) from keel.budget_status b where budget = 'research-month'")
	if err != nil || len(rows) != 1 || !sameDecimal(t, rows[0]["held_usd"], "0") {
		t.Errorf("budget_status = %v, %v; want nothing held", rows, err)
	}
}

// ownPostgres is a server that the test may crash.
func ownPostgres(t *testing.T) *pgserver.Server {
	t.Helper()
	postgres, err := pgserver.Start(t.Context(), pgserver.Options{Dir: openDir(t), Cache: cacheDir(t), Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { postgres.Stop() })
	return postgres
}

// serve starts the processor alone and waits until it says that it serves.
func serve(t *testing.T, journal, dsn string) (*os.Process, *buffer) {
	t.Helper()
	output := new(buffer)
	command := exec.Command(keel, "serve", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--journal", journal, "--database", dsn)
	command.Stdout, command.Stderr = output, output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
	})
	for deadline := time.Now().Add(patience); !strings.Contains(output.String(), "serving Envoy on"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("keel serve does not serve:\n%s", output)
		}
	}
	return command.Process, output
}
