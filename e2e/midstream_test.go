//go:build linux

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"keel/budget/ledger/pgserver"
	"keel/filter/wire/sample"
)

// What TestMidstream needs: teams whose calls hold what they are expected to cost, which is far less
// than the sample provider makes when it is told to. Every user has an account of its own.
const midstreamConfig = `
---
kind: Budget
name: runaway
selector: {team: "runaway-*"}
per: [user]
limit: 0.02 USD
window: month
hold: expected
---
kind: Policy
name: watch-finish
when: 'subject.team == "runaway-finish"'
do: {watch: {extend: 0.002 USD}}
---
kind: Policy
name: watch-error
when: 'subject.team == "runaway-error"'
do: {watch: {extend: 0.002 USD, end: error}}
---
kind: Policy
name: watch-held
when: 'subject.team == "runaway-held"'
do: {watch: {}}
`

// expensive is a model of each API whose output of 5000 tokens costs more than the limit, and of 500 less.
var expensive = map[string]string{
	"openai.chat": "gpt-4.1", "openai.responses": "gpt-4.1", "anthropic.messages": "claude-sonnet-4-5", "gemini": "gemini-2.5-pro",
}

// runaway is a streamed call of an API that says no limit.
func runaway(a *api) (path, body string) {
	model := expensive[a.name]
	return a.path(model, true), a.body(model, true, 20000)
}

func TestMidstreamEndsAtTheLimit(t *testing.T) {
	s := shared(t)
	ends := map[string]map[string]string{
		"finish": {
			"openai.chat": `"finish_reason":"length"`, "openai.responses": `"type":"response.incomplete"`,
			"anthropic.messages": `"stop_reason":"max_tokens"`, "gemini": `"finishReason":"MAX_TOKENS"`,
		},
		"error": {
			"openai.chat": `{"error":{"message":"policy watch-error ended this answer`, "openai.responses": "event: error\n",
			"anthropic.messages": "event: error\n", "gemini": `"RESOURCE_EXHAUSTED"`,
		},
		"held": {
			"openai.chat": `budget runaway holds for it`, "openai.responses": `budget runaway holds for it`,
			"anthropic.messages": `budget runaway holds for it`, "gemini": `budget runaway holds for it`,
		},
	}
	for i := range apis {
		a := &apis[i]
		for how, want := range ends {
			t.Run(a.name+"/"+how, func(t *testing.T) {
				t.Parallel()
				path, body := runaway(a)
				user := "user-" + how + a.name
				got := s.post(t, path, body, "x-keel-team: runaway-"+how, "x-keel-user: "+user, "x-sample-output-tokens: 15000", "x-sample-chunk-delay: 1ms")
				if got.status != http.StatusOK || got.err != nil {
					t.Fatalf("status %d, %v: %s", got.status, got.err, tail(got.body, 300))
				}
				if last := string(tail(got.body, 2000)); !strings.Contains(last, want[a.name]) || !strings.Contains(last, "policy watch-"+how) {
					t.Errorf("it ends with\n%s\nwant %q and the policy", last, want[a.name])
				}
				r := s.record(t, got.decision())
				r.want(t, record{"outcome": "aborted", "metered": "estimated", "http_status": "200"})
				if how == "held" {
					r.want(t, record{"extended_usd": ""})
				} else if !atMost(t, "0.018", r["actual_cost_usd"]) {
					t.Errorf("it was ended at %s of 0.02 USD", r["actual_cost_usd"])
				}
				// What was under way when the provider was left is the only thing beyond the limit.
				if !atMost(t, r["actual_cost_usd"], "0.022") {
					t.Errorf("it cost %s of 0.02 USD", r["actual_cost_usd"])
				}
				if ended := s.served(t, got).Ended; ended != sample.EndedAborted {
					t.Errorf("the provider was not left: it ended %q", ended)
				}
			})
		}
	}
}

func TestMidstreamExtends(t *testing.T) {
	s := shared(t)
	for i := range apis {
		for _, encoding := range []string{"", "gzip"} {
			a := &apis[i]
			t.Run(a.name+"/"+encoding, func(t *testing.T) {
				t.Parallel()
				path, body := runaway(a)
				got := s.post(t, path, body, "x-keel-team: runaway-finish", "x-keel-user: extends-"+encoding+a.name, "x-sample-output-tokens: 700", "x-sample-chunk-delay: 1ms", "x-sample-encoding: "+encoding)
				if got.status != http.StatusOK || got.err != nil {
					t.Fatalf("status %d, %v: %s", got.status, got.err, got.body)
				}
				if last := string(tail(got.body, 2000)); strings.Contains(last, "ended this answer") || !strings.Contains(last, "\n") {
					t.Errorf("it was ended:\n%s", last)
				}
				r := s.record(t, got.decision())
				r.want(t, record{"outcome": "complete", "metered": "provider", "output_tokens": "700"})
				if explained, err := s.run(t, "", "explain", got.decision()); err != nil || !strings.Contains(explained, "more in budget runaway while the answer streamed, in ") {
					t.Errorf("keel explain: %v\n%s", err, explained)
				}
				if r["extended_usd"] == "" || atMost(t, r["extended_usd"], "0") { // 700 tokens are more than anybody expected
					t.Errorf("extended by %q, cost %s", r["extended_usd"], r["actual_cost_usd"])
				}
			})
		}
	}
}

// A client that leaves, a provider that breaks: as without a policy.
func TestMidstreamAborts(t *testing.T) {
	s := shared(t)
	a := &apis[0]
	path, body := runaway(a)
	t.Run("provider", func(t *testing.T) {
		got := s.post(t, path, body, "x-keel-team: runaway-finish", "x-keel-user: breaks", "x-sample-cut-after: 6", "x-sample-chunk-delay: 5ms")
		if got.err == nil {
			t.Errorf("the client did not notice the cut: %q", tail(got.body, 100))
		}
		s.record(t, got.decision()).want(t, record{"outcome": "aborted", "metered": "estimated"})
	})
	t.Run("client", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		setHeaders(request, []string{"x-keel-team: runaway-finish", "x-keel-user: leaves", "x-sample-chunk-delay: 50ms", "x-sample-output-tokens: 300"})
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(response.Body).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		cancel()
		response.Body.Close()
		s.record(t, response.Header.Get("x-keel-decision-id")).want(t, record{"outcome": "aborted", "metered": "estimated"})
	})
}

// Several streams of one account at once get no more than is left between them.
func TestMidstreamShareTheLimit(t *testing.T) {
	s := shared(t)
	const streams = 4
	var all sync.WaitGroup
	for range streams {
		all.Go(func() {
			path, body := runaway(&apis[0])
			s.post(t, path, body, "x-keel-team: runaway-finish", "x-keel-user: crowd", "x-sample-output-tokens: 15000", "x-sample-chunk-delay: 1ms")
		})
	}
	all.Wait()
	var spent string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		rows, err := s.query(t, "select jsonb_build_object('n', count(*), 'spent', sum(actual_cost_usd)) from keel.spend_records where subject->>'user' = 'crowd' and outcome in ('aborted', 'complete', 'denied')")
		if err != nil {
			t.Fatal(err)
		}
		if spent = rows[0]["spent"]; rows[0]["n"] == fmt.Sprint(streams) {
			break
		}
	}
	// Of every stream one piece can be under way when it is ended.
	if spent == "" || !atMost(t, spent, "0.024") || !atMost(t, "0.018", spent) {
		t.Errorf("they spent %s of 0.02 USD", spent)
	}
}

// A policy can't watch what Keel could not end.
func TestMidstreamRefusesOtherFormats(t *testing.T) {
	s := shared(t)
	got := s.post(t, "/model/amazon.nova-lite-v1:0/converse-stream", `{"messages":[{"role":"user","content":[{"text":"Hi"}]}]}`, "x-keel-team: runaway-finish", "x-keel-user: other")
	if got.status != http.StatusForbidden || !strings.Contains(string(got.body), "can't be ended before their provider does") {
		t.Errorf("status %d: %s", got.status, got.body)
	}
}

// The processor dies after it extended a hold: what is presumed is the extended hold.
func TestMidstreamKilled(t *testing.T) {
	dir := openDir(t)
	database := pgserver.ForTest(t)
	s := start(t, stackOptions{dir: dir, database: database, config: strings.TrimPrefix(midstreamConfig, "\n---\n")})
	path, body := runaway(&apis[0])
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	setHeaders(request, []string{"x-keel-team: runaway-finish", "x-keel-user: killed", "x-sample-chunk-delay: 1ms", "x-sample-output-tokens: 15000"})
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	id := response.Header.Get("x-keel-decision-id")
	lines := bufio.NewReader(response.Body)
	seen := 0
	for seen < 30_000 { // bytes of events: more than a kilobyte of text, less than the limit
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		seen += len(line)
	}
	s.stop(syscall.SIGKILL)
	again := start(t, stackOptions{dir: dir, database: database})
	r := again.record(t, id)
	r.want(t, record{"outcome": "orphaned"})
	rows, err := again.query(t, `
select jsonb_build_object('held', h->>'amount', 'charged', c->>'amount', 'extended', (s.extended_usd * 1000000000)::bigint)
from keel.decisions d join keel.closeouts e using (org, decision_id) join keel.spend_records s using (org, decision_id)
  cross join jsonb_array_elements(d.holds) h cross join jsonb_array_elements(e.charges) c
where d.decision_id = '`+id+`' and h->>'budget' = 'runaway' and c->>'budget' = 'runaway' `)
	if err != nil || len(rows) != 1 {
		t.Fatalf("%v, %v", rows, err)
	}
	nanos := func(column string) (n int64) {
		if _, err := fmt.Sscan(rows[0][column], &n); err != nil {
			t.Fatalf("%s: %v in %v", column, err, rows[0])
		}
		return n
	}
	if nanos("extended") <= 0 || nanos("held")+nanos("extended") != nanos("charged") {
		t.Errorf("held, extended and charged: %v", rows[0])
	}
}

func TestMidstreamSDK(t *testing.T) {
	s := shared(t)
	var cases []sdkCase
	for _, sdk := range []struct{ name, model, cut, raises string }{
		{"chat", "gpt-4.1", "length", "APIError"}, {"responses", "gpt-4.1", "incomplete", "APIError"}, {"messages", "claude-sonnet-4-5", "max_tokens", "APIStatusError"},
	} {
		for _, team := range []string{"runaway-finish", "runaway-error", "runaway-held"} {
			c := sdkCase{
				name: sdk.name + ", " + team, SDK: sdk.name, Model: sdk.model, Limit: 20000, Stream: true, tries: 1,
				Headers: map[string]string{"x-keel-team": team, "x-sample-output-tokens": "15000", "x-sample-chunk-delay": "1ms"}, finish: sdk.cut,
			}
			if team == "runaway-error" {
				c.finish, c.raises, c.message = "", sdk.raises, "policy watch-error ended this answer"
			}
			cases = append(cases, c)
		}
	}
	bySDK(t, s.url, func(user string) int {
		rows, err := s.query(t, "select json_build_object('n', count(*)) from keel.decisions where subject->>'user' = '"+user+"'")
		if err != nil || len(rows) != 1 {
			t.Fatalf("%v, %v", rows, err)
		}
		var n int
		if err := json.Unmarshal([]byte(rows[0]["n"]), &n); err != nil {
			t.Fatal(err)
		}
		return n
	}, cases)
}
