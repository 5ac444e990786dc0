package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"keel/filter/wire/sample"
)

func TestAllow(t *testing.T) {
	s := shared(t)
	eachAPI(t, func(t *testing.T, a *api, stream bool) {
		got := s.post(t, a.path(a.model, stream), a.body(a.model, stream, 60), "x-keel-team: roomy", "x-keel-user: ada", "x-sample-cached-tokens: 3")
		if got.status != http.StatusOK || got.err != nil {
			t.Fatalf("status %d, %v: %s", got.status, got.err, got.body)
		}
		if m := got.header.Get("x-keel-model"); m != a.model {
			t.Errorf("x-keel-model = %q, want %q", m, a.model)
		}
		estimate := got.header.Get("x-keel-estimated-cost-usd")
		r := s.record(t, got.decision())
		r.want(t, record{
			"org": "default", "api": a.recordName(stream), "provider": a.provider,
			"model_requested": a.model, "model_routed": a.model, "action": "allow",
			"outcome": "complete", "metered": "provider", "http_status": "200", "attempts": "1",
		})
		served := s.served(t, got)
		if n := strconv.FormatInt(served.Usage.InputTokens, 10); r["input_tokens"] != n {
			t.Errorf("input_tokens = %s, the provider said %s", r["input_tokens"], n)
		}
		if n := strconv.FormatInt(served.Usage.OutputTokens, 10); r["output_tokens"] != n {
			t.Errorf("output_tokens = %s, the provider said %s", r["output_tokens"], n)
		}
		if r["cached_input_tokens"] != "3" {
			t.Errorf("cached_input_tokens = %s, want 3", r["cached_input_tokens"])
		}
		if !sameDecimal(t, r["estimated_cost_usd"], estimate) {
			t.Errorf("x-keel-estimated-cost-usd = %s, the record says %s", estimate, r["estimated_cost_usd"])
		}
		if !atMost(t, r["actual_cost_usd"], r["bound_cost_usd"]) {
			t.Errorf("cost %s is above its bound %s", r["actual_cost_usd"], r["bound_cost_usd"])
		}
		if cost := got.header.Get("x-keel-cost-usd"); !stream && !sameDecimal(t, cost, r["actual_cost_usd"]) {
			t.Errorf("x-keel-cost-usd = %q, the record says %s", cost, r["actual_cost_usd"])
		}
		var subject map[string]string
		unmarshal(t, []byte(r["subject"]), &subject)
		if subject["team"] != "roomy" || subject["user"] != "ada" {
			t.Errorf("subject = %s", r["subject"])
		}
		if !strings.Contains(r["rules"], `"roomy"`) || !strings.Contains(r["rules"], `"version": 1`) {
			t.Errorf("rules do not name budget roomy with its version: %s", r["rules"])
		}
		for name := range served.Header {
			if strings.HasPrefix(strings.ToLower(name), "x-keel-") || strings.EqualFold(name, "accept-encoding") {
				t.Errorf("header %s reached the provider", name)
			}
		}
		s.explains(t, got.decision(), a.model, "roomy")
	})
}

func TestDenyBudget(t *testing.T) {
	s := shared(t)
	kinds := map[string]string{"openai": "budget_exceeded", "anthropic": "rate_limit_error", "google": "RESOURCE_EXHAUSTED"}
	eachAPI(t, func(t *testing.T, a *api, stream bool) {
		got := s.post(t, a.path(a.model, stream), a.body(a.model, stream, 1000), "x-keel-team: tight")
		if got.status != http.StatusTooManyRequests {
			t.Fatalf("status %d, want 429: %s", got.status, got.body)
		}
		e := a.refusal(t, got.body)
		if e.kind != kinds[a.provider] {
			t.Errorf("error kind %q, want %q", e.kind, kinds[a.provider])
		}
		if !strings.Contains(e.message, "tight") || !strings.Contains(e.message, "0.000001") {
			t.Errorf("the denial does not name the budget and its limit: %q", e.message)
		}
		if got.header.Get("retry-after") != "" {
			t.Error("retry-after on a call that never fits")
		}
		r := s.record(t, got.decision())
		r.want(t, record{"action": "deny", "outcome": "denied", "metered": "none", "http_status": "429", "attempts": "0"})
		if !sameDecimal(t, r["actual_cost_usd"], "0") {
			t.Errorf("a denied call costs %s", r["actual_cost_usd"])
		}
		s.notServed(t, got)
		s.explains(t, got.decision(), "tight")
	})
}

func TestDenyPolicy(t *testing.T) {
	s := shared(t)
	kinds := map[string]string{"openai": "policy_denied", "anthropic": "permission_error", "google": "PERMISSION_DENIED"}
	eachAPI(t, func(t *testing.T, a *api, stream bool) {
		got := s.post(t, a.path(a.model, stream), a.body(a.model, stream, 10), "x-keel-team: guests")
		if got.status != http.StatusForbidden {
			t.Fatalf("status %d, want 403: %s", got.status, got.body)
		}
		e := a.refusal(t, got.body)
		if e.kind != kinds[a.provider] {
			t.Errorf("error kind %q, want %q", e.kind, kinds[a.provider])
		}
		if !strings.Contains(e.message, "no-models-for-guests") || !strings.Contains(e.message, "guests only look") {
			t.Errorf("the denial does not name policy and reason: %q", e.message)
		}
		s.record(t, got.decision()).want(t, record{"action": "deny", "outcome": "denied", "http_status": "403"})
		s.notServed(t, got)
		s.explains(t, got.decision(), "no-models-for-guests")
	})
}

func TestSubstituteReroutes(t *testing.T) {
	s := shared(t)
	eachAPI(t, func(t *testing.T, a *api, stream bool) {
		got := s.post(t, a.path(a.dear, stream), a.body(a.dear, stream, 50), "x-keel-team: roomy", "x-keel-target: attacker/gpt-9", "x-keel-provider: attacker")
		if got.status != http.StatusOK {
			t.Fatalf("status %d: %s", got.status, got.body)
		}
		if m := got.header.Get("x-keel-model"); m != a.cheap {
			t.Errorf("x-keel-model = %q, want %q", m, a.cheap)
		}
		served := s.served(t, got)
		if served.Model != a.cheap {
			t.Errorf("the provider was asked for %q, want %q", served.Model, a.cheap)
		}
		if host := providerHost[a.provider]; served.Host != host {
			t.Errorf("the provider saw Host %q, want %q", served.Host, host)
		}
		r := s.record(t, got.decision())
		r.want(t, record{"action": "substitute", "model_requested": a.dear, "model_routed": a.cheap, "outcome": "complete", "metered": "provider"})
		if r["route"] == "" {
			t.Error("the record names no route")
		}
		s.explains(t, got.decision(), a.dear, a.cheap, r["route"])
	})
}

var providerHost = map[string]string{
	"openai": "api.openai.com", "anthropic": "api.anthropic.com", "google": "generativelanguage.googleapis.com",
}

func TestConstrainCapsTheOutput(t *testing.T) {
	s := shared(t)
	eachAPI(t, func(t *testing.T, a *api, stream bool) {
		got := s.post(t, a.path(a.model, stream), a.body(a.model, stream, 500), "x-keel-team: terse", "x-sample-output-tokens: 400")
		if got.status != http.StatusOK {
			t.Fatalf("status %d: %s", got.status, got.body)
		}
		r := s.record(t, got.decision())
		r.want(t, record{"action": "constrain", "outcome": "complete", "output_tokens": "7"})
	})
}

func TestObserveCountsAndLetsPass(t *testing.T) {
	s := shared(t)
	eachAPI(t, func(t *testing.T, a *api, stream bool) {
		got := s.post(t, a.path(a.model, stream), a.body(a.model, stream, 50), "x-keel-team: watched")
		if got.status != http.StatusOK {
			t.Fatalf("status %d: %s", got.status, got.body)
		}
		r := s.record(t, got.decision())
		r.want(t, record{"action": "allow", "outcome": "complete"})
		if !strings.Contains(r["rules"], `"watched"`) {
			t.Errorf("rules = %s", r["rules"])
		}
	})
}

// The usage chunk that Keel asked for is Keel's: a client that did not ask must not see it.
func TestForcedUsageIsHidden(t *testing.T) {
	s := shared(t)
	const asked = `{"model": "gpt-4o-mini", "stream": true, "stream_options": {"include_usage": true}, "messages": [{"role": "user", "content": "hi"}]}`
	const silent = `{"model": "gpt-4o-mini", "stream": true, "messages": [{"role": "user", "content": "hi"}]}`
	for body, want := range map[string]bool{asked: true, silent: false} {
		got := s.post(t, "/v1/chat/completions", body, "x-keel-team: roomy")
		if has := strings.Contains(string(got.body), `"choices":[],"usage":{`) || strings.Contains(string(got.body), `"choices": [], "usage": {`); has != want {
			t.Errorf("usage chunk seen: %t, want %t\n%s", has, want, got.body)
		}
		if !strings.HasSuffix(string(got.body), "data: [DONE]\n\n") {
			t.Errorf("the stream does not end with [DONE]: %q", tail(got.body, 60))
		}
		s.record(t, got.decision()).want(t, record{"outcome": "complete", "metered": "provider"})
		if !strings.Contains(s.served(t, got).RequestBody, `"include_usage"`) {
			t.Error("include_usage was not forced")
		}
	}
}

func TestClientAbortMidStream(t *testing.T) {
	s := shared(t)
	eachAPI(t, func(t *testing.T, a *api, stream bool) {
		if !stream {
			t.Skip("a unary response has no middle")
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+a.path(a.model, true), strings.NewReader(a.body(a.model, true, 400)))
		if err != nil {
			t.Fatal(err)
		}
		setHeaders(request, []string{"x-keel-team: roomy", "x-sample-chunk-delay: 50ms", "x-sample-output-tokens: 300"})
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(response.Body)
		for range 12 { // some events, and not all
			if _, err := lines.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		response.Body.Close()
		r := s.record(t, response.Header.Get("x-keel-decision-id"))
		r.want(t, record{"outcome": "aborted", "metered": "estimated", "http_status": "200"})
		if sameDecimal(t, r["actual_cost_usd"], "0") || !atMost(t, r["actual_cost_usd"], r["bound_cost_usd"]) {
			t.Errorf("an aborted stream costs %s of at most %s", r["actual_cost_usd"], r["bound_cost_usd"])
		}
		s.explains(t, response.Header.Get("x-keel-decision-id"), "aborted")
	})
}

func TestClientAbortBeforeTheResponse(t *testing.T) {
	s := shared(t)
	for _, a := range apis {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			user := "early-" + a.provider + a.name
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+a.path(a.model, false), strings.NewReader(a.body(a.model, false, 40)))
			if err != nil {
				t.Fatal(err)
			}
			setHeaders(request, []string{"x-keel-team: roomy", "x-keel-user: " + user, "x-sample-delay: 60s"})
			if err := leaveOn(t, request, user); !errors.Is(err, context.Canceled) {
				t.Fatalf("err = %v", err)
			}
			r := s.recordWhere(t, "subject->>'user' = '"+user+"' and outcome <> 'open'")
			r.want(t, record{"outcome": "aborted", "metered": "estimated"})
			if !sameDecimal(t, r["actual_cost_usd"], r["bound_cost_usd"]) {
				t.Errorf("cost %s; nobody knows what the provider did, so it is the bound %s", r["actual_cost_usd"], r["bound_cost_usd"])
			}
		})
	}
}

func TestUpstreamResetMidStream(t *testing.T) {
	s := shared(t)
	eachAPI(t, func(t *testing.T, a *api, stream bool) {
		if !stream {
			t.Skip("see TestUpstreamResetBeforeTheResponse")
		}
		got := s.post(t, a.path(a.model, true), a.body(a.model, true, 100), "x-keel-team: roomy", "x-sample-cut-after: 4", "x-sample-chunk-delay: 20ms")
		if got.err == nil {
			t.Errorf("the client did not notice the cut: %q", tail(got.body, 100))
		}
		r := s.record(t, got.decision())
		r.want(t, record{"outcome": "aborted", "metered": "estimated"})
		if sameDecimal(t, r["actual_cost_usd"], "0") {
			t.Error("a cut stream is free")
		}
		s.explains(t, got.decision(), "aborted")
	})
}

func TestUpstreamResetBeforeTheResponse(t *testing.T) {
	s := shared(t)
	for _, a := range apis {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			got := s.post(t, a.path(a.model, false), a.body(a.model, false, 30), "x-keel-team: roomy", "x-sample-cut-after: 0")
			if got.status < 500 {
				t.Fatalf("status %d: %s", got.status, got.body)
			}
			r := s.record(t, got.decision())
			r.want(t, record{"outcome": "failed", "metered": "estimated", "http_status": strconv.Itoa(got.status)})
			if !sameDecimal(t, r["actual_cost_usd"], r["bound_cost_usd"]) {
				t.Errorf("cost %s; nobody knows what the provider did, so it is the bound %s", r["actual_cost_usd"], r["bound_cost_usd"])
			}
		})
	}
}

// A provider's own error is passed as it is and costs nothing.
func TestProviderError(t *testing.T) {
	s := shared(t)
	eachAPI(t, func(t *testing.T, a *api, stream bool) {
		got := s.post(t, a.path(a.model, stream), a.body(a.model, stream, 30), "x-keel-team: roomy", "x-sample-status: 429")
		if got.status != http.StatusTooManyRequests {
			t.Fatalf("status %d: %s", got.status, got.body)
		}
		r := s.record(t, got.decision())
		r.want(t, record{"action": "allow", "outcome": "failed", "metered": "none", "http_status": "429"})
		if !sameDecimal(t, r["actual_cost_usd"], "0") {
			t.Errorf("an error costs %s", r["actual_cost_usd"])
		}
	})
}

func TestOmittedUsageIsEstimated(t *testing.T) {
	s := shared(t)
	eachAPI(t, func(t *testing.T, a *api, stream bool) {
		got := s.post(t, a.path(a.model, stream), a.body(a.model, stream, 30), "x-keel-team: roomy", "x-sample-omit-usage: true")
		r := s.record(t, got.decision())
		r.want(t, record{"outcome": "complete", "metered": "estimated"})
		if sameDecimal(t, r["actual_cost_usd"], "0") {
			t.Error("unknown usage was taken for zero")
		}
	})
}

func TestCompressedResponse(t *testing.T) {
	s := shared(t)
	for _, encoding := range []string{"gzip", "br", "zstd"} {
		t.Run(encoding, func(t *testing.T) {
			eachAPI(t, func(t *testing.T, a *api, stream bool) {
				got := s.post(t, a.path(a.model, stream), a.body(a.model, stream, 30), "x-keel-team: roomy", "x-sample-encoding: "+encoding)
				if got.status != http.StatusOK || got.header.Get("content-encoding") != encoding {
					t.Fatalf("status %d, content-encoding %q", got.status, got.header.Get("content-encoding"))
				}
				served := s.served(t, got)
				s.record(t, got.decision()).want(t, record{
					"outcome": "complete", "metered": "provider",
					"input_tokens": strconv.FormatInt(served.Usage.InputTokens, 10), "output_tokens": strconv.FormatInt(served.Usage.OutputTokens, 10),
				})
			})
		})
	}
}

// A body that says two things, or nothing that can be read, reaches no provider.
func TestUnreadableBody(t *testing.T) {
	s := shared(t)
	bodies := map[string]func(a *api) string{
		"broken":        func(a *api) string { return strings.TrimSuffix(a.body(a.model, false, 10), "}") },
		"empty":         func(*api) string { return "" },
		"not an object": func(*api) string { return `["model"]` },
		"trailing":      func(a *api) string { return a.body(a.model, false, 10) + `{"model": "gpt-5"}` },
		"duplicate":     func(a *api) string { return strings.Replace(a.body(a.model, false, 10), "{", `{"x": 1, "x": 2, `, 1) },
		"duplicate model": func(a *api) string {
			return strings.Replace(a.body(a.model, false, 10), "{", `{"model": "gpt-5-nano", "model": "gpt-5", `, 1)
		},
		"nested duplicate": func(a *api) string {
			return strings.Replace(a.body(a.model, false, 10), "{", `{"metadata": {"a": 1, "\u0061": 2}, `, 1)
		},
		"invalid UTF-8": func(a *api) string { return strings.Replace(a.body(a.model, false, 10), "Name", "\xff\xfe", 1) },
	}
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			for _, a := range apis {
				t.Run(a.name, func(t *testing.T) {
					t.Parallel()
					got := s.post(t, a.path(a.model, false), body(&a), "x-keel-team: roomy")
					if got.status != http.StatusBadRequest {
						t.Fatalf("status %d, want 400: %s", got.status, got.body)
					}
					if e := a.refusal(t, got.body); e.message == "" {
						t.Errorf("no message: %s", got.body)
					}
					s.record(t, got.decision()).want(t, record{"action": "deny", "outcome": "denied", "http_status": "400"})
					s.notServed(t, got)
				})
			}
		})
	}
}

func TestOversizedBody(t *testing.T) {
	s := shared(t)
	big := `{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "` + strings.Repeat("a", 33<<20) + `"}]}`
	got := s.post(t, "/v1/chat/completions", big, "x-keel-team: roomy", "x-keel-user: oversized")
	if got.status != http.StatusRequestEntityTooLarge {
		t.Fatalf("status %d, want 413: %s", got.status, got.body)
	}
	r := s.recordWhere(t, "subject->>'user' = 'oversized'")
	r.want(t, record{"action": "deny", "outcome": "denied", "http_status": "413"})
	if !strings.Contains(r["reason"], "request_body_buffer_limit") {
		t.Errorf("the reason does not say what to do: %s", r["reason"])
	}
}

// A body far above Envoy's default buffer and below the limit passes, and a big answer too.
func TestLargeBody(t *testing.T) {
	s := shared(t)
	big := `{"model": "gpt-4o-mini", "max_tokens": 20, "messages": [{"role": "user", "content": "` + strings.Repeat("word ", 1<<20) + `"}]}`
	got := s.post(t, "/v1/chat/completions", big, "x-keel-team: roomy")
	if got.status != http.StatusOK {
		t.Fatalf("status %d: %s", got.status, tail(got.body, 500))
	}
	s.record(t, got.decision()).want(t, record{"outcome": "complete", "metered": "provider"})
}

func TestUnknownTraffic(t *testing.T) {
	s := shared(t)
	got := s.do(t, http.MethodGet, "/v1/models", nil, "x-keel-user: curious")
	r := s.recordWhere(t, "api = 'unknown' and subject->>'user' = 'curious'")
	r.want(t, record{"action": "allow", "outcome": "unmetered", "metered": "none"})
	if got.status == http.StatusServiceUnavailable || got.status == http.StatusForbidden {
		t.Errorf("status %d: %s", got.status, got.body)
	}
}

func TestDryRun(t *testing.T) {
	s := shared(t)
	eachAPI(t, func(t *testing.T, a *api, stream bool) {
		for _, team := range []string{"roomy", "tight"} {
			user := "dry-" + team + a.recordName(stream)
			got := s.post(t, a.path(a.dear, stream), a.body(a.dear, stream, 50), "x-keel-team: "+team, "x-keel-user: "+user, "x-keel-dry-run: true")
			if got.status != http.StatusOK {
				t.Fatalf("status %d: %s", got.status, got.body)
			}
			var answer map[string]json.RawMessage
			unmarshal(t, got.body, &answer)
			for _, key := range []string{"action", "estimate", "envelope", "budgets", "rules", "target", "alternatives"} {
				if _, ok := answer[key]; !ok {
					t.Errorf("no %q in %s", key, got.body)
				}
			}
			rows, err := s.query(t, "select to_jsonb(r) from keel.spend_records r where subject->>'user' = '"+user+"'")
			if err != nil || len(rows) != 0 {
				t.Errorf("a dry run left %d rows, %v", len(rows), err)
			}
			s.notServed(t, got)
		}
	})
}

// served is what reached the provider. It never sees a decision id, so the
// test goes by a key of its own.
func (s *stack) served(t *testing.T, got *answer) sample.Served {
	t.Helper()
	for _, served := range s.sample.Served() {
		if served.Header.Get("x-sample-key") == got.key {
			return served
		}
	}
	t.Fatal("the call did not reach the provider")
	return sample.Served{}
}

func (s *stack) notServed(t *testing.T, got *answer) {
	t.Helper()
	for _, served := range s.sample.Served() {
		if served.Header.Get("x-sample-key") == got.key {
			t.Errorf("the call reached the provider: %s", served.Path)
		}
	}
}

// explains checks that "keel explain" answers the three questions.
func (s *stack) explains(t *testing.T, decision string, words ...string) {
	t.Helper()
	out, err := s.run(t, "", "explain", decision)
	if err != nil {
		t.Fatalf("keel explain: %v\n%s", err, out)
	}
	for _, word := range append(words, "What did we think it would cost?", "What did it actually cost?", "Which rules were active?") {
		if !strings.Contains(out, word) {
			t.Errorf("keel explain does not say %q:\n%s", word, out)
		}
	}
	if out, err = s.run(t, "", "explain", decision, "-o", "json"); err != nil || !json.Valid([]byte(out)) {
		t.Errorf("keel explain -o json: %v\n%s", err, out)
	}
}
