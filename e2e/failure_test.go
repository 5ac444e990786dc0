//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"keel/envoy"
)

// The failure matrix: what a client sees and what is on record when the processor fails, where it is asked, in both failure
// modes. docs/envoy.md has it as a table.

// seen is what came of a call.
type seen struct {
	status int
	whole  bool   // the client's answer
	served bool   // a provider had the call
	record string // its row; "" for none
}

const (
	notCharged = ""                                      // no row: nothing was decided, and no provider was asked
	bypassed   = "bypassed"                              // a row of its own by the access log
	passedOn   = "unmetered estimated at the bound"      // the decision's, once the log told
	cutShort   = "aborted estimated at the bound"        // killed: nobody knows better
	estimated  = "aborted estimated by what was seen"    // cut while the processor lives
	freed      = "aborted none for free"                 // decided, and never let out
	undecided  = "no row"                                // of its own
	wholeCall  = "complete provider by what it reported" // nothing happened to it
)

// or is between rows where luck decides.
const or = " or "

// moment is where a call is when its processor fails: how many messages of it were answered, and whether it is in the next.
type moment struct {
	name     string
	answered int
	idle     bool // nothing is asked of the processor
}

var (
	atRequestHeaders  = moment{"request headers", 0, false}
	beforeTheBody     = moment{"waiting for the body", 1, true}
	atRequestBody     = moment{"request body", 1, false}
	beforeTheAnswer   = moment{"waiting for the provider", 2, true}
	atResponseHeaders = moment{"response headers", 2, false}
	atResponseBody    = moment{"response body", 3, false}
	betweenChunks     = moment{"between chunks", 4, true}
	atTrailers        = moment{"trailers", 4, false}
)

type failure struct {
	at           moment
	closed, open seen
}

func TestFailureKilled(t *testing.T) {
	t.Parallel()
	eachFailureMode(t, failingOptions{}, []failure{
		{atRequestHeaders, seen{503, true, false, notCharged}, seen{200, true, true, bypassed}},
		{beforeTheBody, seen{503, true, false, notCharged}, seen{200, true, true, bypassed}},
		{atRequestBody, seen{503, true, false, notCharged}, seen{200, true, true, bypassed}},
		{beforeTheAnswer, seen{503, true, true, cutShort}, seen{200, true, true, passedOn}},
		{atResponseHeaders, seen{503, true, true, cutShort}, seen{200, true, true, passedOn}},
		{atResponseBody, seen{200, false, true, cutShort}, seen{200, true, true, passedOn}},
		{betweenChunks, seen{200, false, true, cutShort}, seen{200, true, true, passedOn}},
		{atTrailers, seen{200, false, true, cutShort}, seen{200, true, true, cutShort}}, // Keel had seen all of it, and told nobody
	}, func(m *failingMesh, f *failure) func() error {
		return func() error { return m.processor().end(syscall.SIGKILL) }
	})
}

func TestFailureSlow(t *testing.T) {
	t.Parallel()
	slow := failingOptions{filter: func(f *extprocv3.ExternalProcessor) { f.MessageTimeout = durationpb.New(time.Second) }}
	eachFailureMode(t, slow, []failure{
		{atRequestHeaders, seen{504, true, false, notCharged}, seen{200, true, true, bypassed}},
		// Whether it comes to decide when it goes on, or hears first that the call is gone, is a matter of luck.
		{atRequestBody, seen{504, true, false, freed + or + undecided}, seen{200, true, true, bypassed}},
		{atResponseHeaders, seen{504, true, true, cutShort + or + estimated}, seen{200, true, true, passedOn}},
		{atResponseBody, seen{200, false, true, estimated}, seen{200, true, true, passedOn}},
	}, func(m *failingMesh, f *failure) func() error {
		return func() error { return nil } // it is stopped: Envoy gives up by itself
	})
}

// eachFailureMode makes a call for each failure, has the processor fail in it, and compares what is on record afterwards.
func eachFailureMode(t *testing.T, o failingOptions, failures []failure, fail func(*failingMesh, *failure) func() error) {
	for _, open := range []bool{false, true} {
		t.Run(fmt.Sprintf("failure_mode_allow=%v", open), func(t *testing.T) {
			t.Parallel()
			m := startFailing(t, o.withFailureMode(open))
			var wants []seen
			for i := range failures {
				f := &failures[i]
				want := f.closed
				if open {
					want = f.open
				}
				t.Run(f.at.name, func(t *testing.T) { m.failsIn(t, f.at, want, fail(m, f)) })
				wants = append(wants, want)
			}
			for i, want := range wants {
				switch want.record {
				case notCharged:
					want.record = undecided
				case bypassed: // what the filter had begun with, if it comes to a decision after all
					want.record = undecided + or + passedOn
				}
				m.wantRecord(t, failures[i].at.name, want.record)
			}
			m.wantBypassed(t, wants)
		})
	}
}

func (o failingOptions) withFailureMode(open bool) failingOptions {
	before := o.filter
	o.mode = envoy.ModeFull
	o.filter = func(f *extprocv3.ExternalProcessor) {
		if f.FailureModeAllow = open; before != nil {
			before(f)
		}
	}
	return o
}

// failsIn makes a call and has the processor stop, and then fail, at a moment of it.
func (m *failingMesh) failsIn(t *testing.T, at moment, want seen, fail func() error) {
	t.Helper()
	p := m.processor()
	before, sent := m.counter(t, extProcStats+"stream_msgs_received"), m.counter(t, extProcStats+"stream_msgs_sent")
	defer func() { // it goes on, or comes back
		if p.pid() != 0 {
			p.resume()
		} else if err := p.start(); err != nil {
			t.Fatal(err)
		}
		m.healthy(t)
	}()
	reach := func(answered int) { // before message answered+1 is sent
		if answered != at.answered {
			return
		}
		m.messages(t, "stream_msgs_received", before+answered)
		if !at.idle {
			p.pause(t)
		} else if err := fail(); err != nil {
			t.Fatal(err)
		}
	}
	inside := func(answered int) { // after it
		if answered != at.answered || at.idle {
			return
		}
		m.messages(t, "stream_msgs_sent", sent+answered+1)
		if err := fail(); err != nil {
			t.Fatal(err)
		}
	}
	reach(0)
	c := m.begin(t, "x-keel-team: strict", "x-keel-user: "+at.name)
	inside(0)
	reach(1)
	c.send()
	inside(1)
	done := make(chan answer, 1)
	go func() { done <- c.ended(t) }()
	answered, steps, served := 2, []string{stepHeaders, stepChunk, stepTrailers}, false
	for {
		var next chan string // nil while the provider waits for a call
		step := ""
		if served && len(steps) > 0 {
			next, step = m.steps, steps[0]
		}
		select {
		case got := <-done:
			if got.status != want.status || (got.err == nil) != want.whole || served != want.served {
				t.Errorf("status %d, whole %v, served %v; want %+v", got.status, got.err == nil, served, want)
			}
			return
		case <-m.came:
			served = true
			reach(2)
		case next <- step:
			steps = steps[1:]
			inside(answered)
			if answered++; len(steps) > 0 {
				reach(answered)
			}
		}
	}
}

// wantRecord waits until the call of user has the row.
func (m *failingMesh) wantRecord(t *testing.T, user, want string) {
	t.Helper()
	last := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		found, err := m.query(t, fmt.Sprintf(`
select jsonb_build_object('is', concat_ws(' ', outcome, metered, case when actual_cost_usd = 0 then 'for free' when actual_cost_usd = bound_cost_usd then 'at the bound'
  when metered = 'provider' then 'by what it reported' when actual_cost_usd < bound_cost_usd then 'by what was seen' else actual_cost_usd::text end))
from keel.spend_records where subject->>'user' = '%s'`, user))
		if err != nil {
			t.Fatal(err)
		}
		last = undecided
		for _, r := range found {
			// What died with its call may be found dead before the access log is read.
			last = strings.Replace(r["is"], "orphaned estimated at the bound", cutShort, 1)
		}
		if slices.Contains(strings.Split(want, or), last) && (last != undecided || time.Until(deadline) < patience-3*time.Second) {
			return
		}
	}
	t.Errorf("%s: the record says %q, want %q", user, last, want)
}

// wantBypassed wants a row and a count for each call that went by, and no others.
func (m *failingMesh) wantBypassed(t *testing.T, all []seen) {
	t.Helper()
	bypasses := len(slices.DeleteFunc(slices.Clone(all), func(s seen) bool { return s.record != bypassed }))
	opened := len(slices.DeleteFunc(slices.Clone(all), func(s seen) bool { return s.record != bypassed && s.record != passedOn }))
	taker := m.replicas[len(m.replicas)-1] // of the access log
	waitFor(t, "what the access log counts", func() bool {
		return taker.metric(t, "keel_unseen_calls_total") >= float64(bypasses) && taker.metric(t, "keel_failed_open_calls_total") >= float64(opened)
	})
	if n := taker.metric(t, "keel_unseen_calls_total"); n != float64(bypasses) {
		t.Errorf("keel_unseen_calls_total %v, want %d", n, bypasses)
	}
	if n := taker.metric(t, "keel_failed_open_calls_total"); n != float64(opened) {
		t.Errorf("keel_failed_open_calls_total %v, want %d", n, opened)
	}
	var n string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline) && n != fmt.Sprint(bypasses); time.Sleep(100 * time.Millisecond) {
		found, err := m.query(t, `select jsonb_build_object('n', count(*)::text) from keel.spend_records
where api = 'unknown' and action = 'allow' and outcome = 'unmetered' and metered = 'none' and reason like 'seen in the access log only%'`)
		if err != nil {
			t.Fatal(err)
		}
		n = found[0]["n"]
	}
	if n != fmt.Sprint(bypasses) {
		t.Errorf("%s rows of calls that went by, want %d", n, bypasses)
	}
}

// completes makes a call to which nothing happens.
func (m *failingMesh) completes(t *testing.T, user string, while func()) {
	t.Helper()
	c := m.begin(t, "x-keel-team: strict", "x-keel-user: "+user)
	c.send()
	m.arrived(t)
	m.does(t, stepHeaders, stepChunk)
	while()
	m.does(t, stepUsage, stepEnd)
	if got := c.ended(t); got.status != http.StatusOK || got.err != nil {
		t.Errorf("%s: status %d, %v", user, got.status, got.err)
	}
}

// goesBy makes a call while there is no processor for it.
func (m *failingMesh) goesBy(t *testing.T, open bool) {
	t.Helper()
	c := m.begin(t, "x-keel-team: spent", "x-keel-user: nobody") // a budget that has no room
	c.send()
	if open {
		m.arrived(t)
		m.does(t, stepHeaders, stepUsage, stepEnd)
		if got := c.ended(t); got.status != http.StatusOK || got.err != nil {
			t.Errorf("open: status %d, %v", got.status, got.err)
		}
		return
	}
	if got := c.ended(t); got.status != http.StatusServiceUnavailable || m.reached() != 0 {
		t.Errorf("closed: status %d: %s", got.status, got.body)
	}
}

// Breakers of the processor's cluster that are full are a processor that can't be reached.
func TestFailureOverloaded(t *testing.T) {
	t.Parallel()
	eachMode(t, failingOptions{amend: func(b *bootstrapv3.Bootstrap) {
		clusterOf(b, "keel_processor").CircuitBreakers.Thresholds[0].MaxRequests = wrapperspb.UInt32(1)
	}}, func(t *testing.T, m *failingMesh, open bool) []seen {
		c := m.begin(t, "x-keel-team: strict", "x-keel-user: in flight")
		m.messages(t, "stream_msgs_received", 1)
		m.goesBy(t, open)
		c.send()
		m.arrived(t)
		m.does(t, stepHeaders, stepUsage, stepEnd)
		if got := c.ended(t); got.status != http.StatusOK {
			t.Errorf("the call in flight: status %d", got.status)
		}
		m.wantRecord(t, "in flight", wholeCall)
		if n := m.counter(t, "cluster.keel_processor.upstream_rq_active_overflow"); n != 1 {
			t.Errorf("upstream_rq_active_overflow %d, want 1", n)
		}
		return onlyIf(open, bypassed)
	})
}

// A processor that is away, and what the witness of the access log tells of it.
func TestFailureUnreachable(t *testing.T) {
	t.Parallel()
	eachMode(t, failingOptions{}, func(t *testing.T, m *failingMesh, open bool) []seen {
		if err := m.processor().end(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		m.goesBy(t, open)
		if open { // and its client leaves in the middle: a provider bills that, too
			c := m.begin(t, "x-keel-team: spent")
			c.send()
			m.arrived(t)
			m.does(t, stepHeaders, stepChunk)
			<-c.response
			c.leave()
			return []seen{{record: bypassed}, {record: bypassed}}
		}
		return nil
	})
}

// One processor that is all there is: what went by while it was away it learns from Envoy when it is back.
func TestFailureUnreachableAndAlone(t *testing.T) {
	t.Parallel()
	eachMode(t, failingOptions{alone: true}, func(t *testing.T, m *failingMesh, open bool) []seen {
		if err := m.processor().end(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		m.goesBy(t, open)
		m.goesBy(t, open)
		time.Sleep(time.Second) // Envoy tries to get rid of its log meanwhile
		if err := m.processor().start(); err != nil {
			t.Fatal(err)
		}
		m.healthy(t)
		m.completes(t, "after", func() {})
		m.wantRecord(t, "after", wholeCall)
		return append(onlyIf(open, bypassed), onlyIf(open, bypassed)...)
	})
}

// A processor that drains lets calls in flight end, takes no new ones, and cuts what takes longer than the drain. Failing
// closed, that cut is in TestSIGTERMCutsWhatOutlivesTheDrain.
func TestFailureDraining(t *testing.T) {
	t.Parallel()
	eachMode(t, failingOptions{drain: 15 * time.Second}, func(t *testing.T, m *failingMesh, open bool) []seen {
		ended := make(chan error, 1)
		drain := func() {
			p := m.processor()
			address := p.connection().Target()
			go func() { ended <- p.end(syscall.SIGTERM) }()
			gone(t, address)
		}
		m.completes(t, "in time", func() {
			drain()
			c := m.begin(t, "x-keel-team: spent", "x-keel-user: nobody")
			c.send()
			if !open {
				if got := c.ended(t); got.status != http.StatusServiceUnavailable {
					t.Errorf("a call while it drains: status %d", got.status)
				}
				return
			}
			m.arrived(t)
			c.leave() // the provider is with the other call
			<-m.left
		})
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		m.wantRecord(t, "in time", wholeCall)
		if !open {
			return nil
		}
		if err := m.processor().start(); err != nil {
			t.Fatal(err)
		}
		m.healthy(t)
		m.completes(t, "too long", func() {
			drain()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
		})
		m.wantRecord(t, "too long", passedOn)
		return []seen{{record: bypassed}, {record: passedOn}}
	})
}

// Who lets the filter before the router fail open still has the one in the clusters, which does not.
func TestFailureAttemptsHoldTheDoor(t *testing.T) {
	t.Parallel()
	o := failingOptions{}.withFailureMode(true)
	o.mode = envoy.ModeAttempts
	m := startFailing(t, o)
	if err := m.processor().end(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	m.goesBy(t, false)
}

func eachMode(t *testing.T, o failingOptions, do func(t *testing.T, m *failingMesh, open bool) []seen) {
	for _, open := range []bool{false, true} {
		t.Run(fmt.Sprintf("failure_mode_allow=%v", open), func(t *testing.T) {
			t.Parallel()
			m := startFailing(t, o.withFailureMode(open))
			m.wantBypassed(t, do(t, m, open))
		})
	}
}

func onlyIf(open bool, record string) []seen {
	if open {
		return []seen{{record: record}}
	}
	return nil
}
