//go:build linux

package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keel/budget/ledger/pgserver"
	"keel/envoy"
	"keel/filter/wire/sample"
)

// routeConfig has a route of each mode over a dear and a cheap model of one provider and one of another.
const routeConfig = `
---
{kind: Price, name: dear, provider: openai, model: gpt-5-dear, effective_from: 2020-01-01, per_million: {input: 100, output: 1000 USD}}
---
{kind: Price, name: other, provider: xai, model: grok-cheap, effective_from: 2020-01-01, per_million: {input: 0.5, output: 5 USD}}
---
{kind: Route, name: watched, models: [watched-model], mode: observe, min_quality: 0.7, targets: [{provider: openai, model: gpt-5-dear, quality: 1.0}, {provider: openai, model: gpt-5-mini, quality: 0.8}]}
---
{kind: Price, name: watched, provider: openai, model: watched-model, effective_from: 2020-01-01, per_million: {input: 100, output: 1000 USD}}
---
{kind: Route, name: cheap, models: [cheap-model], mode: prefer-cheap, min_quality: 0.7, targets: [{provider: openai, model: gpt-5-dear, quality: 1.0}, {provider: openai, model: gpt-5-mini, quality: 0.8}, {provider: xai, model: grok-cheap, quality: 0.5, credential: injected}]}
---
{kind: Route, name: strict, models: [strict-model], mode: enforce, min_quality: 0.7, targets: [{provider: openai, model: gpt-5-dear, quality: 1.0}, {provider: openai, model: gpt-5-mini, quality: 0.8}, {provider: xai, model: grok-cheap, quality: 0.5, credential: injected}]}
---
{kind: Route, name: able, models: [able-model], mode: enforce, targets: [{provider: openai, model: gpt-5-dear, quality: 1.0}, {provider: openai, model: gpt-5-mini, quality: 0.8, lacks: [tools]}]}
---
{kind: Price, name: known, provider: openai, model: o3-deep-research, effective_from: 2020-01-01, per_million: {input: 0.01, output: 0.01 USD}}
---
{kind: Route, name: paced, models: [paced-model], mode: prefer-cheap, targets: [{provider: openai, model: gpt-5-dear}, {provider: openai, model: gpt-4.1-mini}]}
---
{kind: Route, name: known, models: [known-model], mode: enforce, targets: [{provider: openai, model: gpt-5-dear, quality: 1.0}, {provider: openai, model: o3-deep-research, quality: 0.8}]}
---
{kind: Budget, name: pressing, selector: {team: pressed}, limit: 0.000001 USD, window: month, mode: prefer-cheap, tiers: [{at: 90%, do: prefer-cheap}]}
`

func TestRoute(t *testing.T) {
	var sick, slow atomic.Bool
	provider := sample.New(sample.Options{Keep: 1000})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if sick.Load() && strings.Contains(r.Header.Get("x-break"), "mini") {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if slow.Load() && r.Header.Get("x-slow") != "" {
			select {
			case <-r.Context().Done():
			case <-time.After(2 * time.Second):
			}
		}
		provider.ServeHTTP(w, r)
	}))
	t.Cleanup(upstream.Close)
	c := startCluster(t, keel, pgserver.ForTest(t), 2, false, routeConfig)
	mesh := func(replica int) *stack {
		e, err := envoy.Start(t.Context(), envoy.Options{
			Dir: filepath.Join(openDir(t), "envoy"), Cache: cacheDir(t), Concurrency: 1,
			Config: envoy.Config{Processor: c.replicas[replica].connection().Target(), Providers: []envoy.Provider{
				{Name: "openai", Host: "api.openai.com", Address: upstream.URL}, {Name: "xai", Host: "api.x.ai", Address: upstream.URL},
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Stop() })
		return &stack{url: "http://" + e.Listen(), dsn: c.dsn, sample: provider}
	}
	first, second := mesh(0), mesh(1)
	body := func(model, more string) string {
		return `{"model":"` + model + `","max_completion_tokens":20,` + more + `"messages":[{"role":"user","content":"Hello there."}]}`
	}
	call := func(t *testing.T, s *stack, model, more string, headers ...string) *answer {
		t.Helper()
		got := s.post(t, chatPath, body(model, more), append(headers, "authorization: Bearer sk-client")...)
		if got.status != http.StatusOK {
			t.Fatalf("%s: status %d: %s", model, got.status, got.body)
		}
		return got
	}
	const tools = `"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{}}}}],`

	for _, tt := range []struct {
		name, model, more, team, want, action string
	}{
		{"observe goes as asked", "watched-model", "", "", "watched-model", "allow"},
		{"a tier switches it to prefer-cheap", "watched-model", "", "pressed", "gpt-5-mini", "substitute"},
		{"prefer-cheap keeps the quality", "cheap-model", "", "", "gpt-5-mini", "substitute"},
		{"enforce takes the cheapest", "strict-model", "", "", "grok-cheap", "substitute"},
		{"a target that can't serve it is left out", "able-model", tools, "", "gpt-5-dear", "substitute"},
		{"and taken where it can", "able-model", "", "", "gpt-5-mini", "substitute"},
		{"a target that the catalogue knows can't serve it is left out", "known-model", tools, "", "gpt-5-dear", "substitute"},
		{"and taken where it can, too", "known-model", "", "", "o3-deep-research", "substitute"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.team == "pressed" {
				first.record(t, call(t, first, "gpt-5-mini", "", "x-keel-team: pressed").decision()) // spends the budget
			}
			got := call(t, first, tt.model, tt.more, "x-keel-team: "+tt.team)
			if m := got.header.Get("x-keel-model"); m != tt.want {
				t.Errorf("went to %q, want %q", m, tt.want)
			}
			if asked := got.header.Get("x-keel-requested-cost-usd"); tt.model == "watched-model" && (asked != "") != (tt.action == "substitute") {
				t.Errorf("x-keel-requested-cost-usd = %q", asked)
			}
			first.record(t, got.decision()).want(t, record{"action": tt.action, "model_routed": tt.want, "outcome": "complete"})
			served := first.served(t, got)
			if tt.want == "grok-cheap" && (served.Header.Get("authorization") != "" || served.Host != "api.x.ai") {
				t.Errorf("another provider got the client's credential: %v at %s", served.Header, served.Host)
			}
			if tt.want != "grok-cheap" && served.Header.Get("authorization") != "Bearer sk-client" {
				t.Errorf("the client's credential is gone: %v", served.Header)
			}
		})
	}

	// goesDear waits until a replica holds the cheap target for unwell.
	goesDear := func(t *testing.T, s *stack, model, why string) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
			got := call(t, s, model, "")
			if got.header.Get("x-keel-model") == "gpt-5-dear" {
				if r := s.record(t, got.decision()); !strings.Contains(r["rules"], why) {
					t.Errorf("the record does not say what the route saw: %s", r["rules"])
				}
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("a target that is unwell is still chosen")
			}
		}
	}
	t.Run("a slow target is left out, by all replicas", func(t *testing.T) {
		for range 15 {
			call(t, first, "gpt-4.1-mini", "")
		}
		slow.Store(true)
		var calls sync.WaitGroup
		for range 80 { // of replica 0
			calls.Go(func() { first.post(t, chatPath, body("gpt-4.1-mini", ""), "x-slow: yes") })
		}
		calls.Wait()
		slow.Store(false)
		goesDear(t, first, "paced-model", "usually after 0.2")
		goesDear(t, second, "paced-model", "usually after 0.2")
		rows, err := rows[struct{ N int }](c, "select count(*)::int from keel.attempts where first_byte_ms between 2000 and 60000")
		if err != nil || rows[0].N < 80 {
			t.Errorf("%v, %v: the attempts do not say what they took", rows, err)
		}
	})

	t.Run("health is shared", func(t *testing.T) {
		sick.Store(true)
		for range 30 { // of replica 0, and more than go well while the other has not heard of it
			if got := first.post(t, chatPath, body("gpt-5-mini", ""), "x-break: mini"); got.status != http.StatusServiceUnavailable && got.status != http.StatusOK {
				t.Fatalf("status %d: %s", got.status, got.body)
			}
		}
		for _, s := range []*stack{first, second} {
			goesDear(t, s, "cheap-model", "recent attempts failed")
		}
	})

	t.Run("pressure", func(t *testing.T) {
		out, err := c.run(keel, "pressure", "--database", c.dsn, "-o", "json")
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		var rows []struct {
			Name               string
			Calls, Substituted int
			LeftUSD            json.Number `json:"left_usd"`
		}
		if err := json.Unmarshal([]byte(out), &rows); err != nil {
			t.Fatal(err)
		}
		watched := rows[0]
		if left, _ := watched.LeftUSD.Float64(); watched.Name != "watched" || watched.Calls != 2 || watched.Substituted != 1 || left <= 0 {
			t.Errorf("the most pressure is left at %+v:\n%s", watched, out)
		}
		for _, by := range []string{"team", "budget", "model"} {
			if out, err := c.run(keel, "pressure", "--database", c.dsn, "--by", by); err != nil || !strings.Contains(out, "LEFT TO SAVE USD") {
				t.Errorf("by %s: %v\n%s", by, err, out)
			}
		}
	})
}
