package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A change by plain SQL, or by keel apply, is in force within a second, and the
// record of a call names the versions that were active.
func TestChangesAreLive(t *testing.T) {
	t.Parallel()
	s := start(t, stackOptions{})
	a := &apis[0]
	call := func() *answer {
		return s.post(t, a.path(a.model, false), a.body(a.model, false, 20), "x-keel-team: research")
	}
	before := call()
	if before.status != http.StatusOK {
		t.Fatalf("status %d: %s", before.status, before.body)
	}

	s.exec(t, "update keel.budgets set limit_usd = 0.000001 where name = 'research-month'")
	denied := s.eventually(t, call, http.StatusTooManyRequests)

	file := filepath.Join(s.dir, "change.yaml")
	const raised = "kind: Budget\nname: research-month\nselector: {team: research}\nlimit: 100 USD\nwindow: month\nmode: enforce\n"
	if err := os.WriteFile(file, []byte(raised), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := s.run(t, "", "apply", "-f", file); err != nil {
		t.Fatalf("keel apply: %v\n%s", err, out)
	}
	after := s.eventually(t, call, http.StatusOK)

	for got, version := range map[*answer]string{before: `"version": 1`, denied: `"version": 2`, after: `"version": 3`} {
		r := s.record(t, got.decision())
		if !strings.Contains(between(r["rules"], `"research-month"`, "}"), version) {
			t.Errorf("rules do not name research-month with %s: %s", version, r["rules"])
		}
	}

	// What SQL may not say is refused where it is said.
	out, err := s.run(t, "", "get", "budget", "research-month")
	if err != nil || !strings.Contains(out, "100 USD") {
		t.Errorf("keel get: %v\n%s", err, out)
	}
}

// eventually calls until the status is wanted, which has to be within a second beside what the machine was late.
// The time is a contract of the design, and generous: a notification takes milliseconds. Several processes have to be on time for it, each as late as this one.
func (s *stack) eventually(t *testing.T, call func() *answer, status int) *answer {
	t.Helper()
	for began, lost := time.Now(), lateness.total(); ; {
		sent := time.Now()
		got := call()
		if got.status == status {
			return got
		}
		if late := 10 * (lateness.total() - lost); sent.After(began.Add(time.Second + late)) {
			t.Fatalf("a second after the change, and %v that the machine was late: status %d, want %d: %s", late, got.status, status, got.body)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// between is what follows the last "{" before mark, up to end.
func between(text, mark, end string) string {
	i := strings.Index(text, mark)
	if i < 0 {
		return ""
	}
	text = text[strings.LastIndex(text[:i], "{"):]
	text, _, _ = strings.Cut(text, end)
	return text
}

// Of two calls of one subject at once, with room for one, one passes: the hold
// is taken before the call, and counts while it runs.
func TestTwoConcurrentCalls(t *testing.T) {
	t.Parallel()
	a := &apis[0]
	probe := shared(t).post(t, a.path(a.model, false), a.body(a.model, false, 50), "x-keel-team: roomy")
	bound := shared(t).record(t, probe.decision())["bound_cost_usd"]
	s := start(t, stackOptions{config: `
kind: Budget
name: one-at-a-time
selector: {team: pair}
limit: ` + bound + ` USD
window: month
mode: enforce
`})
	var got [2]*answer
	var running sync.WaitGroup
	for i := range got {
		running.Go(func() {
			got[i] = s.post(t, a.path(a.model, false), a.body(a.model, false, 50), "x-keel-team: pair", "x-sample-delay: 1s")
		})
	}
	running.Wait()
	passed, refused := got[0], got[1]
	if passed.status != http.StatusOK {
		passed, refused = refused, passed
	}
	if passed.status != http.StatusOK || refused.status != http.StatusTooManyRequests {
		t.Fatalf("statuses %d and %d, want 200 and 429", got[0].status, got[1].status)
	}
	if refused.header.Get("retry-after") == "" {
		t.Error("the refusal does not say to wait, though the other call gives back most of its hold")
	}
	s.record(t, passed.decision()).want(t, record{"outcome": "complete"})
	status, err := s.query(t, "select to_jsonb(b) from keel.budget_status b where budget = 'one-at-a-time'")
	if err != nil || len(status) != 1 {
		t.Fatalf("budget_status: %v, %v", status, err)
	}
	if cost := s.record(t, passed.decision())["actual_cost_usd"]; !sameDecimal(t, status[0]["settled_usd"], cost) || !sameDecimal(t, status[0]["held_usd"], "0") {
		t.Errorf("budget_status has %s settled, %s held; the call cost %s", status[0]["settled_usd"], status[0]["held_usd"], cost)
	}
}
