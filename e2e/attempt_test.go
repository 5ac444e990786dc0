//go:build linux

package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	prioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"keel/budget/ledger/pgserver"
	"keel/envoy"
)

// An attempt costs 10 input tokens at 1 USD and 5 output tokens at 10 USD a million,
// 0.00006 USD; the bound is of the 20 output tokens that the request allows.
const attemptConfig = `
---
kind: Price
name: dear
provider: openai
model: gpt-5-dear
effective_from: 2020-01-01
per_million: {input: 100, cached_input: 100, output: 1000 USD}
---
{kind: Price, name: chaos, org: roomy, provider: openai, model: gpt-5-mini, effective_from: 2020-01-01, per_million: {input: 1, cached_input: 1, output: 10 USD}}
---
{kind: Price, name: chaos, org: free, provider: openai, model: gpt-5-mini, effective_from: 2020-01-01, per_million: {input: 1, cached_input: 1, output: 10 USD}}
---
{kind: Price, name: chaos, org: input, provider: openai, model: gpt-5-mini, effective_from: 2020-01-01, per_million: {input: 1, cached_input: 1, output: 10 USD}}
---
{kind: Price, name: chaos, org: routed, provider: openai, model: gpt-5-mini, effective_from: 2020-01-01, per_million: {input: 1, cached_input: 1, output: 10 USD}}
---
{kind: Price, name: dear, org: routed, provider: openai, model: gpt-5-dear, effective_from: 2020-01-01, per_million: {input: 100, cached_input: 100, output: 1000 USD}}
---
{kind: Price, name: other, org: routed, provider: xai, model: grok-cheap, effective_from: 2020-01-01, per_million: {input: 5, cached_input: 5, output: 50 USD}}
---
{kind: Route, name: r, org: routed, models: [gpt-5-mini], mode: prefer-cheap, min_quality: 0.7, targets: [{provider: openai, model: gpt-5-mini, quality: 0.8}, {provider: openai, model: gpt-5-dear, quality: 1.0}, {provider: xai, model: grok-cheap, quality: 0.8, credential: injected}]}
---
{kind: Settings, name: default, org: routed, max_attempts: 12}
---
{kind: Budget, name: cheap, org: routed, selector: {team: cheap}, limit: 1000 USD, window: month, mode: prefer-cheap}
---
{kind: Budget, name: strict, org: routed, selector: {team: strict}, limit: 1000 USD, window: month}
---
{kind: Settings, name: default, org: roomy, max_attempts: 5}
---
{kind: Settings, name: default, org: free, unknown_attempt: none}
---
{kind: Settings, name: default, org: input, unknown_attempt: input, max_attempts: 3}
---
{kind: Budget, name: strict, selector: {team: strict}, limit: 1000 USD, window: month}
---
{kind: Budget, name: strict, org: roomy, selector: {team: strict}, limit: 1000 USD, window: month}
---
{kind: Budget, name: strict, org: free, selector: {team: strict}, limit: 1000 USD, window: month}
---
{kind: Budget, name: strict, org: input, selector: {team: strict}, limit: 1000 USD, window: month}
---
{kind: Budget, name: cheap, selector: {team: cheap}, limit: 1000 USD, window: month, mode: prefer-cheap}
---
{kind: Budget, name: seen, selector: {team: seen}, limit: 1000 USD, window: month, mode: observe}
`

// attemptStack is two replicas behind one Envoy, which gives every stream to
// another one: what an attempt knows of its call it knows from the call's metadata.
type attemptStack struct {
	*cluster
	upstream, dear *httptest.Server
}

func startAttempts(t *testing.T) *attemptStack {
	t.Helper()
	s := &attemptStack{upstream: scripted(t, "cheap"), dear: scripted(t, "dear")}
	s.cluster = startCluster(t, keel, pgserver.ForTest(t), 2, false, attemptConfig)
	return s
}

// scripted is a provider that does to the n-th attempt of a call what the n-th word of its x-script says. Its answer
// has its name and the credential that came.
func scripted(t *testing.T, name string) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var request struct{ Model string }
		json.Unmarshal(body, &request)
		n, _ := strconv.Atoi(r.Header.Get("x-envoy-attempt-count"))
		script := strings.Fields(r.Header.Get("x-script"))
		word := script[min(n, len(script))-1]
		usage := `"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}`
		w.Header().Set("content-type", "application/json")
		switch word {
		case "ok":
			fmt.Fprintf(w, `{"id":"c","object":"chat.completion","created":1,"model":%q,"choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}],%s}`, request.Model, name+" "+cmp.Or(r.Header.Get("authorization"), "without a credential"), usage)
		case "billed": // an error that comes late, and was billed
			w.WriteHeader(http.StatusServiceUnavailable)
			w.(http.Flusher).Flush()
			time.Sleep(50 * time.Millisecond)
			fmt.Fprintf(w, `{"error":{"message":"too late","type":"server_error"},%s}`, usage)
		case "trailed": // an error with trailers
			w.Header().Set("trailer", "x-after")
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"error":{"message":"scripted","type":"server_error"}}`)
			w.(http.Flusher).Flush()
			w.Header().Set("x-after", "all")
		case "hang":
			note(r)
			<-r.Context().Done()
		case "slow":
			select {
			case <-r.Context().Done():
			case <-time.After(600 * time.Millisecond):
				fmt.Fprintf(w, `{"id":"c","object":"chat.completion","created":1,"model":%q,"choices":[],%s}`, request.Model, usage)
			}
		case "reset":
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				c.Close()
			}
		default:
			status, err := strconv.Atoi(word)
			if err != nil {
				t.Errorf("the script says %q", word)
			}
			w.WriteHeader(status)
			fmt.Fprint(w, `{"error":{"message":"scripted","type":"server_error"}}`)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

// mesh starts an Envoy between clients and the replicas, and returns its URL.
func (s *attemptStack) mesh(t *testing.T, amend func(*bootstrapv3.Bootstrap)) string {
	t.Helper()
	return "http://" + s.start(t, amend).Listen()
}

func (s *attemptStack) start(t *testing.T, amend func(*bootstrapv3.Bootstrap)) *envoy.Envoy {
	t.Helper()
	e, err := envoy.Start(t.Context(), envoy.Options{
		Dir: filepath.Join(openDir(t), "envoy"), Cache: cacheDir(t), Progress: os.Stderr, Concurrency: 1,
		Config: envoy.Config{
			Processor: s.replicas[0].connection().Target(),
			Providers: []envoy.Provider{{Name: "openai", Host: "api.openai.com", Address: s.upstream.URL}},
			Retry:     &envoy.Retry{On: []string{"5xx", "reset"}, Times: 4},
		},
		Amend: func(b *bootstrapv3.Bootstrap) {
			processors := clusterOf(b, "keel_processor").LoadAssignment.Endpoints[0]
			processors.LbEndpoints = append(processors.LbEndpoints, endpoint(s.replicas[1].connection().Target(), nil))
			if amend != nil {
				amend(b)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Stop() })
	return e
}

func clusterOf(b *bootstrapv3.Bootstrap, name string) *clusterv3.Cluster {
	for _, c := range b.StaticResources.Clusters {
		if c.Name == name {
			return c
		}
	}
	return nil
}

func endpoint(address string, labels map[string]any) *endpointv3.LbEndpoint {
	host, port, _ := strings.Cut(strings.TrimPrefix(address, "http://"), ":")
	n, _ := strconv.ParseUint(port, 10, 16)
	e := &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(n)},
		}}},
	}}}
	if labels != nil {
		value, err := structpb.NewStruct(labels)
		if err != nil {
			panic(err)
		}
		e.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{envoy.MetadataNamespace: value}}
	}
	return e
}

// routeOf changes the route to the provider.
func routeOf(b *bootstrapv3.Bootstrap, change func(*routev3.RouteAction)) {
	filter := b.StaticResources.Listeners[0].FilterChains[0].Filters[0]
	var manager hcmv3.HttpConnectionManager
	if err := filter.GetTypedConfig().UnmarshalTo(&manager); err != nil {
		panic(err)
	}
	change(manager.GetRouteConfig().VirtualHosts[0].Routes[0].GetRoute())
	packed, err := anypb.New(proto.Message(&manager))
	if err != nil {
		panic(err)
	}
	filter.GetTypedConfig().Reset()
	proto.Merge(filter.GetTypedConfig(), packed)
}

// attemptRow is a row of keel.attempts, and what spend_records says of the whole.
type attemptRow struct {
	Attempt  int
	Model    string
	Ended    string
	Status   int
	Cost     string
	Basis    string
	Broke    bool
	Attempts int
	Summed   bool // the cost of the call is that of its attempts
	Outcome  string
	Metered  string
	Instead  string // the model that it would have gone to
	Guessed  bool   // nobody said whose endpoint it was at
}

type attemptWant struct {
	status   int
	body     string // in the answer
	rows     []string
	attempts int
	outcome  string
	metered  string
}

// call makes a call by a script and compares its record.
func (s *attemptStack) call(t *testing.T, url, org, team, script string, want attemptWant) {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, url+chatPath, strings.NewReader(`{"model":"gpt-5-mini","max_completion_tokens":20,"messages":[{"role":"user","content":"Hello there."}]}`))
	if err != nil {
		t.Fatal(err)
	}
	setHeaders(request, []string{"x-keel-org: " + org, "x-keel-team: " + team, "x-script: " + script, "authorization: Bearer of-openai"})
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	body := readAll(t, response.Body)
	response.Body.Close()
	id := response.Header.Get("x-keel-decision-id")
	if response.StatusCode != want.status || !strings.Contains(string(body), want.body) || id == "" {
		t.Errorf("%s: answered %d, decision %q: %s\nwant %d with %q", script, response.StatusCode, id, body, want.status, want.body)
	}
	if id == "" {
		return
	}
	var got []attemptRow
	for deadline := time.Now().Add(patience); len(got) == 0 && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		got, err = rows[attemptRow](s.cluster, `
select a.attempt, a.model, a.ended, coalesce(a.http_status, 0),
  case when a.cost_usd = a.bound_usd then 'bound' else a.cost_usd::float8::text end, a.basis, a.broke_envelope,
  s.attempts, s.actual_cost_usd = (select sum(cost_usd) from keel.attempts x where x.decision_id = a.decision_id), s.outcome, s.metered,
  coalesce(a.instead_of, '') || case when a.instead_bound_usd > a.bound_usd then ', which is dearer' else '' end, coalesce(a.detail like '%has no metadata keel {provider, model}%', false)
from keel.attempts a join keel.spend_records s using (org, decision_id) where decision_id = $1 order by attempt`, id)
		if err != nil {
			t.Fatal(err)
		}
	}
	var told []string
	for _, r := range got {
		told = append(told, fmt.Sprintf("%s %s %d %s %s", strings.TrimPrefix(r.Model, "gpt-5-"), r.Ended, r.Status, r.Cost, r.Basis)+map[bool]string{true: " broke"}[r.Broke]+map[bool]string{true: " instead of " + r.Instead}[r.Instead != ""]+map[bool]string{true: " guessed"}[r.Guessed])
	}
	if strings.Join(told, "\n") != strings.Join(want.rows, "\n") {
		t.Errorf("%s: the attempts are\n%s\nwant\n%s", script, strings.Join(told, "\n"), strings.Join(want.rows, "\n"))
	}
	if len(got) > 0 {
		r := got[0]
		if !r.Summed || r.Attempts != want.attempts || r.Outcome != want.outcome || r.Metered != want.metered {
			t.Errorf("%s: closed out as %s with %d attempts, metered %s, costs summed %v; want %s, %d, %s", script,
				r.Outcome, r.Attempts, r.Metered, r.Summed, want.outcome, want.attempts, want.metered)
		}
	}
}

const (
	fine   = "mini answered 200 6e-05 usage"
	billed = "mini failed 503 6e-05 usage"
	free   = "mini failed 503 0 free"
	lost   = "mini lost 0 bound full"
)

type attemptCase struct {
	name, org, team, script string
	want                    attemptWant
}

func (s *attemptStack) calls(t *testing.T, url string, cases []attemptCase) {
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) { s.call(t, url, tt.org, tt.team, tt.script, tt.want) })
	}
}

func TestAttempts(t *testing.T) {
	s := startAttempts(t)
	// First: a route looks at the health of targets, and what follows makes them sick.
	t.Run("Rewrite", func(t *testing.T) {
		s.calls(t, s.mesh(t, s.failover), []attemptCase{
			{"to a cheaper model", "routed", "cheap", "503 ok", attemptWant{200, "dear", []string{free, fine + " instead of gpt-5-dear, which is dearer"}, 2, "complete", "provider"}},
			{"not where the budget enforces", "routed", "strict", "503 ok", attemptWant{429, "envelope_exceeded", []string{free, "dear refused 0 0 free broke"}, 1, "failed", "none"}},
		})
		s.calls(t, s.mesh(t, func(b *bootstrapv3.Bootstrap) { s.failoverTo(b, map[string]any{"provider": "xai"}) }), []attemptCase{
			{"to a model of the other provider", "routed", "cheap", "503 ok", attemptWant{200, `"model":"grok-cheap"`, []string{free, "grok-cheap answered 200 0.0003 usage instead of gpt-5-mini"}, 2, "complete", "provider"}},
			{"a provider without a target on the route", "default", "cheap", "503 ok", attemptWant{200, "dear without a credential", []string{free, "mini answered 200 bound full broke"}, 2, "complete", "provider"}},
		})
	})
	t.Run("Retry", func(t *testing.T) {
		s.calls(t, s.mesh(t, nil), []attemptCase{
			{"one", "default", "strict", "ok", attemptWant{200, "cheap", []string{fine}, 1, "complete", "provider"}},
			{"503, 503, 200", "default", "strict", "503 503 ok", attemptWant{200, "cheap", []string{free, free, fine}, 3, "complete", "provider"}},
			{"billed errors are summed", "roomy", "strict", "billed billed ok", attemptWant{200, "cheap", []string{billed, billed, fine}, 3, "complete", "provider"}},
			{"an error with trailers", "default", "strict", "trailed ok", attemptWant{200, "cheap", []string{free, fine}, 2, "complete", "provider"}},
			{"a billed error leaves no room", "default", "strict", "billed ok", attemptWant{429, "envelope_exceeded",
				[]string{billed, "mini refused 0 0 free broke"}, 1, "failed", "provider"}},
			{"observed", "default", "seen", "billed ok", attemptWant{200, "cheap", []string{billed, fine + " broke"}, 2, "complete", "provider"}},
			{"recorded", "default", "cheap", "billed ok", attemptWant{200, "cheap", []string{billed, fine + " broke"}, 2, "complete", "provider"}},
			{"a reset may have been billed", "default", "strict", "reset ok", attemptWant{429, "envelope_exceeded",
				[]string{lost, "mini refused 0 0 free broke"}, 1, "failed", "estimated"}},
			{"a reset is not billed, by the settings", "free", "strict", "reset ok", attemptWant{200, "cheap",
				[]string{"mini lost 0 0 nothing", fine}, 2, "complete", "estimated"}},
			{"a storm ends at the envelope", "roomy", "strict", "reset", attemptWant{503, "", []string{lost, lost, lost, lost, lost}, 5, "failed", "estimated"}},
			{"a storm that would pass it", "input", "strict", "billed billed billed billed billed billed", attemptWant{503, "", []string{billed, billed, billed, billed, billed}, 5, "failed", "provider"}},
			{"all fail, and bill nothing", "default", "strict", "503", attemptWant{503, "scripted", []string{free, free, free, free, free}, 5, "failed", "none"}},
		})
	})
	t.Run("Leave", func(t *testing.T) { s.leave(t, s.mesh(t, nil)) })
	t.Run("Failover", func(t *testing.T) { s.calls(t, s.mesh(t, s.failover), s.fallbacks()) })
	t.Run("Aggregate", func(t *testing.T) { s.calls(t, s.mesh(t, s.aggregate), s.fallbacks()) })
	t.Run("Unlabelled", func(t *testing.T) {
		s.calls(t, s.mesh(t, func(b *bootstrapv3.Bootstrap) { s.failoverTo(b, nil) }), []attemptCase{
			{"an endpoint that does not say whose it is", "default", "seen", "503 ok", attemptWant{200, "dear", []string{free, fine + " guessed"}, 2, "complete", "provider"}},
		})
		s.calls(t, s.mesh(t, func(b *bootstrapv3.Bootstrap) {
			clusterOf(b, "openai").LoadAssignment.Endpoints[0].LbEndpoints[0].Metadata = nil
		}), []attemptCase{
			{"the first goes to one", "default", "seen", "ok", attemptWant{200, "cheap", []string{fine + " guessed"}, 1, "complete", "provider"}},
		})
	})
	t.Run("Hedge", func(t *testing.T) {
		s.calls(t, s.mesh(t, hedge), []attemptCase{
			{"the loser may be billed", "roomy", "strict", "slow ok", attemptWant{200, "", []string{lost, fine}, 2, "complete", "estimated"}},
			{"no room for a hedge", "default", "strict", "slow ok", attemptWant{429, "envelope_exceeded", []string{lost, "mini refused 0 0 free broke"}, 1, "failed", "estimated"}},
		})
	})
}

// leave makes calls whose client leaves before a response: no filter sees how many attempts there were. The
// envelope is charged until the access log tells of them.
func (s *attemptStack) leave(t *testing.T, url string) {
	for _, tt := range []struct{ name, org, script, want string }{
		{"one of five that have room", "roomy", "hang", "aborted 1 estimated: 1 lost full, summed, within a fifth"},
		{"the second", "roomy", "503 hang", "aborted 2 estimated: 1 failed free, 2 lost full, summed, within a fifth"},
		{"charged its input", "input", "hang", "aborted 1 estimated: 1 lost input, summed, within a fifth"},
		{"charged nothing", "free", "hang", "aborted 1 estimated: 1 lost nothing, summed, within a fifth"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+chatPath, strings.NewReader(`{"model":"gpt-5-mini","max_completion_tokens":20,"messages":[{"role":"user","content":"Hello there."}]}`))
			if err != nil {
				t.Fatal(err)
			}
			setHeaders(request, []string{"x-keel-org: " + tt.org, "x-keel-team: strict", "x-script: " + tt.script})
			if err := leaveOn(t, request, t.Name()); err == nil {
				t.Fatal("answered")
			}
			got := ""
			for deadline := time.Now().Add(patience); got != tt.want && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
				found, err := rows[struct{ Told string }](s.cluster, `
select concat(s.outcome, ' ', s.attempts, ' ', s.metered, ': ', (select string_agg(concat(a.attempt, ' ', a.ended, ' ', a.basis), ', ' order by a.attempt) from keel.attempts a where a.decision_id = s.decision_id),
  case when s.actual_cost_usd = (select sum(cost_usd) from keel.attempts a where a.decision_id = s.decision_id) then ', summed' end, case when s.actual_cost_usd <= s.bound_cost_usd then ', within a fifth' end)
from keel.spend_records s where org = $1 order by decided_at desc limit 1`, tt.org)
				if err != nil {
					t.Fatal(err)
				}
				got = found[0].Told
			}
			if got != tt.want {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
		})
	}
}

// fallbacks are what happens when the first provider fails and the mesh turns to one that costs a hundred times as much.
func (s *attemptStack) fallbacks() []attemptCase {
	dear := "dear answered 200 0.006 usage broke" // of the same provider: it gets the credential that the call brought
	return []attemptCase{
		{"enforce", "default", "strict", "503 ok", attemptWant{429, "envelope_exceeded", []string{free, "dear refused 0 0 free broke"}, 1, "failed", "none"}},
		{"prefer-cheap", "default", "cheap", "503 ok", attemptWant{200, "dear Bearer of-openai", []string{free, dear}, 2, "complete", "provider"}},
		{"observe", "default", "seen", "503 ok", attemptWant{200, "dear Bearer of-openai", []string{free, dear}, 2, "complete", "provider"}},
	}
}

// failover gives the cluster endpoints of another model, for when those of the first fail.
func (s *attemptStack) failover(b *bootstrapv3.Bootstrap) {
	s.failoverTo(b, map[string]any{"provider": "openai", "model": "gpt-5-dear"})
}

func (s *attemptStack) failoverTo(b *bootstrapv3.Bootstrap, labels map[string]any) {
	c := clusterOf(b, "openai")
	c.LoadAssignment.Endpoints = append(c.LoadAssignment.Endpoints, &endpointv3.LocalityLbEndpoints{
		Priority: 1, LbEndpoints: []*endpointv3.LbEndpoint{endpoint(s.dear.URL, labels)},
	})
	routeOf(b, previousPriorities)
}

func (s *attemptStack) aggregate(b *bootstrapv3.Bootstrap) {
	aggregateOf(b, endpoint(s.dear.URL, map[string]any{"provider": "openai", "model": "gpt-5-dear"}))
}

// aggregateOf puts a cluster of two clusters in the place of the provider's: it, and one where that endpoint is its first. The filter is on the aggregate: on
// its members it would not run.
func aggregateOf(b *bootstrapv3.Bootstrap, fallback *endpointv3.LbEndpoint) {
	c := clusterOf(b, "openai")
	first, second := proto.CloneOf(c), proto.CloneOf(c)
	first.Name, first.LoadAssignment.ClusterName = "first", "first"
	second.Name, second.LoadAssignment.ClusterName = "second", "second"
	second.LoadAssignment.Endpoints[0].LbEndpoints[0] = fallback
	members, err := anypb.New(&aggregatev3.ClusterConfig{Clusters: []string{"first", "second"}})
	if err != nil {
		panic(err)
	}
	c.LoadAssignment, c.LbPolicy = nil, clusterv3.Cluster_CLUSTER_PROVIDED
	c.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{Name: "envoy.clusters.aggregate", TypedConfig: members}}
	b.StaticResources.Clusters = append(b.StaticResources.Clusters, first, second)
	routeOf(b, previousPriorities)
}

func previousPriorities(r *routev3.RouteAction) {
	config, err := anypb.New(&prioritiesv3.PreviousPrioritiesConfig{UpdateFrequency: 1})
	if err != nil {
		panic(err)
	}
	r.RetryPolicy.RetryPriority = &routev3.RetryPolicy_RetryPriority{
		Name: "envoy.retry_priorities.previous_priorities", ConfigType: &routev3.RetryPolicy_RetryPriority_TypedConfig{TypedConfig: config},
	}
}

// hedge sends a second attempt beside one that takes long.
func hedge(b *bootstrapv3.Bootstrap) {
	routeOf(b, func(r *routev3.RouteAction) {
		r.RetryPolicy.PerTryTimeout = durationpb.New(200 * time.Millisecond)
		r.HedgePolicy = &routev3.HedgePolicy{InitialRequests: wrapperspb.UInt32(1), HedgeOnPerTryTimeout: true}
	})
}
