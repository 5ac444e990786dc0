//go:build linux

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"keel/budget/ledger/pgserver"
	"keel/envoy"
	"keel/filter/wire/sample"
)

const observeConfig = `
---
{kind: Budget, name: spent, selector: {team: spent}, limit: 0.000001 USD, window: month}
---
{kind: Budget, name: roomy, selector: {team: roomy}, limit: 1000 USD, window: month}
---
{kind: Policy, name: no-interns, when: 'subject.team == "interns"', do: {deny: "not for interns"}}
---
{kind: Policy, name: tagged, when: 'subject.team == "tagged"', do: {tag: {team: roomy}}}
`

// observed is an Envoy in mode observe, as "keel envoy config" writes it, before a replica and a provider.
type observed struct {
	*cluster
	*stack
	routed bool // by routes that somebody else wrote
}

var apiHosts = map[string]string{"openai": "api.openai.com", "anthropic": "api.anthropic.com", "google": "generativelanguage.googleapis.com"}

func startObserved(t *testing.T, upstream http.Handler) *observed {
	return startObservedBy(t, upstream, func(processor, provider string) string {
		args := []string{"--mode", "observe"}
		for name := range apiHosts {
			args = append(args, "--provider", name+"="+provider)
		}
		return runAttached(t, envoyConfig(t, processor, args...))
	})
}

// startObservedBy is startObserved with the Envoy that attach runs, of which it returns the URL.
func startObservedBy(t *testing.T, upstream http.Handler, attach func(processor, provider string) string) *observed {
	t.Helper()
	provider := httptest.NewServer(upstream)
	t.Cleanup(provider.Close)
	o := &observed{cluster: startCluster(t, keel, pgserver.ForTest(t), 1, false, observeConfig)}
	r := o.replica()
	r.args = append(r.args, "--grpc", r.connection().Target()) // it comes back where Envoy looks for it
	o.stack = &stack{url: attach(r.connection().Target(), provider.URL), dsn: o.cluster.dsn}
	o.sample, _ = upstream.(*sample.Provider)
	return o
}

func (o *observed) replica() *replica { return o.replicas[0] }

// call makes a call that only passes: what the client gets has nothing of Keel's.
func (o *observed) call(t *testing.T, a *api, stream bool, user string, headers ...string) *answer {
	t.Helper()
	got := o.post(t, a.path(a.model, stream), a.body(a.model, stream, 60), append([]string{"host: " + apiHosts[a.provider], "x-keel-user: " + user}, headers...)...)
	if got.status != http.StatusOK || got.err != nil {
		t.Errorf("status %d, %v: %s", got.status, got.err, got.body)
	}
	for name := range got.header {
		if strings.HasPrefix(strings.ToLower(name), "x-keel-") {
			t.Errorf("the answer has %s: %s", name, got.header.Get(name))
		}
	}
	return got
}

func (o *observed) recordOf(t *testing.T, user string) record {
	t.Helper()
	return o.recordWhere(t, "subject->>'user' = '"+user+"' and outcome <> 'open'")
}

func TestObserve(t *testing.T) {
	t.Parallel()
	startObserved(t, sample.New(sample.Options{Keep: 10_000})).observes(t)
}

// observes holds an Envoy to mode observe, whatever attached it.
func (o *observed) observes(t *testing.T) {
	t.Run("metered", func(t *testing.T) {
		for i := range apis {
			a := &apis[i]
			for _, stream := range []bool{false, true} {
				user := fmt.Sprint("metered-", a.recordName(stream), stream)
				got := o.call(t, a, stream, user, "x-keel-team: roomy")
				served := o.served(t, got)
				want := record{"action": "allow", "outcome": "complete", "metered": "provider", "http_status": "200", "attempts": "1", "model_routed": a.model,
					"input_tokens": strconv.FormatInt(served.Usage.InputTokens, 10), "output_tokens": strconv.FormatInt(served.Usage.OutputTokens, 10)}
				if stream && a.name == "openai.chat" { // nobody asked for it, and nobody may
					want = record{"action": "allow", "outcome": "complete", "metered": "estimated", "http_status": "200"}
				}
				r := o.recordOf(t, user)
				r.want(t, want)
				if sameDecimal(t, r["actual_cost_usd"], "0") || !strings.Contains(r["reason"], "Keel would have let it pass") || !strings.Contains(r["rules"], `"roomy"`) {
					t.Errorf("the record: %v", r)
				}
			}
		}
		rows, err := o.query(t, "select to_jsonb(b) from keel.budget_status b where budget = 'roomy' and settled_usd > 0 and held_usd = 0")
		if err != nil || len(rows) != 1 {
			t.Errorf("the budget counts nothing: %v, %v", rows, err)
		}
	})
	t.Run("compressed", func(t *testing.T) {
		for _, encoding := range []string{"gzip", "br", "zstd"} {
			o.call(t, &apis[0], false, "packed-"+encoding, "x-sample-encoding: "+encoding)
			o.recordOf(t, "packed-"+encoding).want(t, record{"outcome": "complete", "metered": "provider"})
		}
	})
	t.Run("left", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, o.url+apis[0].path(apis[0].model, true), strings.NewReader(apis[0].body(apis[0].model, true, 100)))
		if err != nil {
			t.Fatal(err)
		}
		setHeaders(request, []string{"host: api.openai.com", "x-keel-user: left", "x-sample-chunk-delay: 50ms", "x-sample-output-tokens: 100"})
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Read(make([]byte, 100))
		cancel()
		response.Body.Close()
		r := o.recordWhere(t, "subject->>'user' = 'left' and outcome <> 'open'")
		r.want(t, record{"outcome": "aborted", "metered": "estimated"})
		if sameDecimal(t, r["actual_cost_usd"], "0") || !atMost(t, r["actual_cost_usd"], r["bound_cost_usd"]) {
			t.Errorf("an aborted stream costs %s of at most %s", r["actual_cost_usd"], r["bound_cost_usd"])
		}
	})
	t.Run("denied only on paper", func(t *testing.T) {
		for team, words := range map[string][]string{
			"spent":   {"observed only; Keel would have denied it (429 budget_exceeded)", "would have denied"},
			"interns": {"observed only; Keel would have denied it (403 policy_denied)", "would have denied"},
		} {
			o.call(t, &apis[0], false, "denied-"+team, "x-keel-team: "+team)
			r := o.recordOf(t, "denied-"+team)
			r.want(t, record{"action": "allow", "outcome": "complete", "metered": "provider"})
			if !strings.Contains(r["reason"], words[0]) || !strings.Contains(r["rules"], words[1]) {
				t.Errorf("reason %s, rules %s", r["reason"], r["rules"])
			}
			o.explains(t, r["decision_id"], "would have denied")
		}
		o.call(t, &apis[0], false, "labelled", "x-keel-team: tagged")
		if r := o.recordOf(t, "labelled"); !strings.Contains(r["rules"], `"roomy"`) {
			t.Errorf("a label of a policy selects no budget: %s", r["rules"])
		}
	})
	t.Run("not read", func(t *testing.T) {
		for user, body := range map[string]string{"broken": `{"model": "gpt-4o-mini", "messages": [`, "twice": `{"model": "gpt-5", "model": "gpt-5-nano", "messages": []}`, "nothing": ""} {
			got := o.post(t, "/v1/chat/completions", body, "host: api.openai.com", "x-keel-user: "+user)
			if got.header.Get("x-keel-decision-id") != "" || strings.Contains(string(got.body), "keel") {
				t.Errorf("%s: answered by Keel: %s", user, got.body)
			}
			o.recordOf(t, user).want(t, record{"action": "allow", "outcome": "unmetered", "metered": "none"})
		}
		o.do(t, http.MethodGet, "/v1/models", nil, "host: api.openai.com", "x-keel-user: models")
		o.recordOf(t, "models").want(t, record{"api": "unknown", "action": "allow", "outcome": "unmetered"})
	})
	t.Run("spoofed", func(t *testing.T) {
		const id = "01a20b43-ca9f-7cee-a0a8-57e6149c693d"
		got := o.call(t, &apis[0], false, "spoofed", "x-keel-target: anthropic/claude-opus-4-1", "x-keel-decision-id: "+id, "x-request-id: "+id, "x-keel-dry-run: true", "x-keel-phase: upstream")
		if !o.routed && o.served(t, got).Header.Get("x-keel-target") != "" {
			t.Error("the provider was told a target")
		}
		r := o.recordOf(t, "spoofed")
		r.want(t, record{"provider": "openai", "outcome": "complete", "metered": "provider"})
		if r["decision_id"] == id {
			t.Error("the client chose the decision id")
		}
	})

	unseen := o.replica().metric(t, "keel_unseen_calls_total")
	if unseen != 0 {
		t.Errorf("keel_unseen_calls_total %v, though all was seen", unseen)
	}
	t.Run("slow", func(t *testing.T) {
		o.replica().pause(t)
		// More than all the buffers on the way to it hold by themselves.
		long := strings.Replace(apis[0].body(apis[0].model, false, 60), prompt, strings.Repeat("word ", 5<<20), 1)
		if len(long) < 25<<20 {
			t.Fatal("the prompt is not where it was")
		}
		got := o.post(t, apis[0].path(apis[0].model, false), long, "host: api.openai.com", "x-keel-user: slow")
		o.call(t, &apis[0], true, "slow-stream", "x-sample-output-tokens: 2000")
		o.replica().resume()
		if got.status != http.StatusOK {
			t.Errorf("status %d: %s", got.status, got.body)
		}
		o.recordOf(t, "slow").want(t, record{"outcome": "complete", "metered": "provider"})
		o.recordOf(t, "slow-stream").want(t, record{"outcome": "complete", "metered": "estimated"})
	})
	t.Run("gone", func(t *testing.T) {
		// One that it is sent and never reads, and one that it can't be sent.
		o.replica().pause(t)
		unread := make(chan struct{})
		go func() {
			defer close(unread)
			o.call(t, &apis[0], false, "unread", "x-sample-delay: 3s")
		}()
		time.Sleep(300 * time.Millisecond) // Envoy sends it meanwhile
		if err := o.replica().end(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-unread // now: what Envoy had sent of its log to the process that is killed would be lost with it
		o.call(t, &apis[0], true, "gone")
		if err := o.replica().start(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the calls that were missed", func() bool { return o.replica().metric(t, "keel_unseen_calls_total") == 2 })
		for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
			rows, err := o.query(t, "select to_jsonb(r) from keel.spend_records r where outcome = 'unmetered' and reason like 'seen in the access log only%'")
			if err == nil && len(rows) == 2 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d rows, %v; want 2", len(rows), err)
			}
		}
		o.call(t, &apis[0], false, "back")
		o.recordOf(t, "back").want(t, record{"outcome": "complete", "metered": "provider"})
	})
}

// The same recorded traffic as in TestCorpus, with the same comparison. What the mode can't meter is counted.
func TestCorpusObserve(t *testing.T) {
	t.Parallel()
	exchanges := readCorpus(t)
	o := startObserved(t, replayed(exchanges))
	var mu sync.Mutex
	unchanged := 0
	o.replay(t, exchanges, func(x *exchange, got *answer) {
		if !bytes.Equal(x.decode(t, got), x.body(t)) {
			t.Errorf("%s: the client got another body than the provider sent", x.ID)
			return
		}
		mu.Lock()
		unchanged++
		mu.Unlock()
	})
	if t.Failed() {
		return
	}
	of := make(map[string]record, len(exchanges))
	counts := map[string]int{}
	for _, r := range o.allClosed(t, len(exchanges)) {
		var subject map[string]string
		unmarshal(t, []byte(r["subject"]), &subject)
		of[subject["user"]] = r
		counts[r["outcome"]+" "+r["metered"]]++
	}
	compareCorpus(t, exchanges, of)
	unasked := 0 // streams whose usage Keel would have asked for in another mode
	for _, x := range exchanges {
		if !x.passesUnchanged() {
			unasked++
		}
	}
	t.Logf("%d of %d answers unchanged; %v; %d streams that nobody asked for their usage", unchanged, len(exchanges), counts, unasked)
}

// In observability mode, too, a processor that is away stops the traffic unless the filter says otherwise.
func TestObserveFailsClosed(t *testing.T) {
	t.Parallel()
	provider := httptest.NewServer(sample.New(sample.Options{Keep: 10}))
	defer provider.Close()
	e, err := envoy.Start(t.Context(), envoy.Options{
		Dir: filepath.Join(openDir(t), "envoy"), Cache: cacheDir(t), Progress: os.Stderr, Concurrency: 1,
		Config: envoy.Config{Mode: envoy.ModeObserve, Processor: "127.0.0.1:1", Providers: []envoy.Provider{{Name: "openai", Host: "api.openai.com", Address: provider.URL}}},
		Amend: func(b *bootstrapv3.Bootstrap) {
			changeManager(t, b, func(m *hcmv3.HttpConnectionManager) {
				changeFilter(t, m.HttpFilters[0].GetTypedConfig(), func(f *extprocv3.ExternalProcessor) { f.FailureModeAllow = false })
			})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Stop()
	s := &stack{url: "http://" + e.Listen()}
	got := s.post(t, "/v1/chat/completions", apis[0].body(apis[0].model, false, 20))
	if got.status == http.StatusOK {
		t.Errorf("status %d: then lint need not ask for failure_mode_allow: true", got.status)
	}
	t.Logf("status %d: %s", got.status, got.body)
}
