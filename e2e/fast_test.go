//go:build linux

package e2e

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	matchingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/matching/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"keel/budget/ledger/pgserver"
	"keel/envoy"
	"keel/filter/wire/sample"
)

// fastConfig changes requests in every way that there is.
const fastConfig = `
---
{kind: Price, name: dear, provider: openai, model: gpt-5-dear, effective_from: 2020-01-01, per_million: {input: 100, output: 1000 USD}}
---
{kind: Price, name: gemini-dear, provider: google, model: gemini-dear, effective_from: 2020-01-01, per_million: {input: 100, output: 1000 USD}}
---
{kind: Route, name: cheap, models: [gpt-5-dear], mode: prefer-cheap, targets: [{provider: openai, model: gpt-5-dear}, {provider: openai, model: gpt-5-mini}]}
---
{kind: Route, name: gemini, models: [gemini-dear], mode: prefer-cheap, targets: [{provider: google, model: gemini-dear}, {provider: google, model: gemini-2.5-flash}]}
---
{kind: Policy, name: short, when: 'subject.team == "short"', do: {constrain: {max_output_tokens: 5}}}
---
{kind: Policy, name: alone, when: 'subject.team == "alone"', do: {constrain: {choices: 1, service_tier: flex, tools: none}}}
`

// upstreamLog is a provider that keeps what it was sent.
type upstreamLog struct {
	http.Handler
	mu   sync.Mutex
	sent []string
}

func (u *upstreamLog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	line := []string{r.Method, r.RequestURI, "length", r.Header.Get("content-length"), "encoding", r.Header.Get("content-encoding"), string(body)}
	for name := range r.Header {
		if strings.HasPrefix(strings.ToLower(name), "x-keel-") {
			line = append(line, name)
		}
	}
	u.mu.Lock()
	u.sent = append(u.sent, strings.Join(line, " "))
	u.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(body))
	u.Handler.ServeHTTP(w, r)
}

// taken is what was sent since it was last asked.
func (u *upstreamLog) taken() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	sent := u.sent
	u.sent = nil
	return sent
}

// In mode fast a provider gets, to the byte, what it gets in mode full.
func TestFastChanges(t *testing.T) {
	t.Parallel()
	upstream := &upstreamLog{Handler: sample.New(sample.Options{Keep: 100})}
	s := attach(t, "fast", upstream, fastConfig, "--force-usage")
	whole := httptest.NewServer(upstream)
	t.Cleanup(whole.Close)
	full := &stack{url: s.envoy(t, "full", whole.URL), dsn: s.cluster.dsn}
	const (
		chat   = "/v1/chat/completions"
		dear   = `{"model":"gpt-5-dear","max_completion_tokens":20,"messages":[{"role":"user","content":"Hello"}]}`
		asks   = `{"model":"gpt-5-dear","n":3,"max_completion_tokens":20,"messages":[{"role":"user","content":"Hello"}],"tools":[{"type":"function","function":{"name":"f"}}]}`
		gemini = `{"contents":[{"parts":[{"text":"Hello"}]}],"generationConfig":{"maxOutputTokens":20}}`
	)
	for _, c := range []struct {
		name, path, body, action string
		headers                  []string
	}{
		{"nothing", chat, helloChat, "allow", nil},
		{"the model", chat, dear, "substitute", nil},
		{"the output", chat, helloChat, "constrain", []string{"x-keel-team: short"}},
		{"an output that is not more", chat, strings.Replace(helloChat, "20", "3", 1), "allow", []string{"x-keel-team: short"}},
		{"all that a policy fixes, and the model", chat, asks, "", []string{"x-keel-team: alone"}},
		{"usage that a stream is asked for", chat, helloStream, "allow", nil},
		{"usage that a stream asks for itself", chat, helloCounted, "allow", nil},
		{"the path", "/v1beta/models/gemini-dear:generateContent", gemini, "substitute", nil},
		{"a body of two megabytes", chat, strings.Replace(dear, ",", ","+strings.Repeat(" ", 2<<20), 1), "substitute", nil},
		{"a body that came compressed", chat, compressed(t, "gzip", dear), "substitute", []string{"content-encoding: gzip"}},
	} {
		fast := s.post(t, c.path, c.body, c.headers...)
		got := upstream.taken()
		whole := full.post(t, c.path, c.body, c.headers...)
		want := upstream.taken()
		if fast.status != http.StatusOK || whole.status != http.StatusOK {
			t.Errorf("%s: %d %s; in mode full %d %s", c.name, fast.status, tail(fast.body, 300), whole.status, tail(whole.body, 300))
			continue
		}
		if !slices.Equal(got, want) || len(got) != 1 {
			t.Errorf("%s: the provider got\n%.500s\nin mode full\n%.500s", c.name, got, want)
		}
		if model := fast.header.Get("x-keel-model"); model != whole.header.Get("x-keel-model") {
			t.Errorf("%s: x-keel-model %q, in mode full %q", c.name, model, whole.header.Get("x-keel-model"))
		}
		ours, theirs := s.record(t, fast.decision()), full.record(t, whole.decision())
		if c.action != "" {
			ours.want(t, record{"action": c.action})
		}
		ours.want(t, record{"outcome": "complete", "metered": "provider", "action": theirs["action"], "model_routed": theirs["model_routed"], "actual_cost_usd": theirs["actual_cost_usd"]})
	}
}

// Whatever happens to the filter that changes calls, none goes out that is not changed as it was decided. Others are not touched.
func TestFastFailsClosed(t *testing.T) {
	t.Parallel()
	upstream := &upstreamLog{Handler: sample.New(sample.Options{Keep: 100})}
	server := httptest.NewServer(upstream)
	t.Cleanup(server.Close)
	c := startCluster(t, keel, pgserver.ForTest(t), 1, false, fastConfig)
	text := envoyConfig(t, c.replicas[0].connection().Target(), "--mode", "fast", "--provider", "openai="+server.URL)
	away := func(b *bootstrapv3.Bootstrap) {
		away := proto.CloneOf(clusterOf(b, "keel_processor"))
		away.Name, away.LoadAssignment.ClusterName, away.HealthChecks = "away", "away", nil
		away.LoadAssignment.Endpoints[0].LbEndpoints[0].GetEndpoint().Address = &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/nobody"}}}
		b.StaticResources.Clusters = append(b.StaticResources.Clusters, away)
		theChanger(t, b, func(p *extprocv3.ExternalProcessor) { p.GrpcService.GetEnvoyGrpc().ClusterName = "away" })
	}
	open := func(p *extprocv3.ExternalProcessor) { p.FailureModeAllow = true }
	for name, test := range map[string]struct {
		amend  func(*bootstrapv3.Bootstrap)
		status int
	}{
		"it is missing": {func(b *bootstrapv3.Bootstrap) {
			changeManager(t, b, func(m *hcmv3.HttpConnectionManager) {
				m.HttpFilters = slices.DeleteFunc(m.HttpFilters, func(f *hcmv3.HttpFilter) bool { return f.Name == envoy.ChangeFilterName })
			})
		}, http.StatusNotFound},
		"it is not told the decision": {func(b *bootstrapv3.Bootstrap) {
			theChanger(t, b, func(p *extprocv3.ExternalProcessor) { p.MetadataOptions = nil })
		}, http.StatusServiceUnavailable},
		"it is not told the decision, and fails open": {func(b *bootstrapv3.Bootstrap) {
			theChanger(t, b, func(p *extprocv3.ExternalProcessor) { p.MetadataOptions = nil; open(p) })
		}, http.StatusNotFound},
		"its processor is away": {away, http.StatusServiceUnavailable},
		"its processor is away, and it fails open": {func(b *bootstrapv3.Bootstrap) {
			away(b)
			theChanger(t, b, open)
		}, http.StatusNotFound},
		"it gets no body": {func(b *bootstrapv3.Bootstrap) {
			theChanger(t, b, func(p *extprocv3.ExternalProcessor) { p.ProcessingMode.RequestBodyMode = extprocv3.ProcessingMode_NONE })
		}, http.StatusNotFound},
		"another filter changed the body before it": {func(b *bootstrapv3.Bootstrap) {
			lua, err := anypb.New(&luav3.Lua{DefaultSourceCode: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: `
function envoy_on_request(handle)
  if string.find(handle:headers():get("x-keel-target"), "keel/", 1, true) == 1 then
    local body = handle:body()
    local text = string.gsub(body:getBytes(0, body:length()), "Hello", "HELLO, and much that nobody paid for")
    handle:headers():replace("content-length", body:setBytes(text))
  end
end`}}})
			if err != nil {
				t.Fatal(err)
			}
			changeManager(t, b, func(m *hcmv3.HttpConnectionManager) {
				at := slices.IndexFunc(m.HttpFilters, func(f *hcmv3.HttpFilter) bool { return f.Name == envoy.ChangeFilterName })
				m.HttpFilters = slices.Insert(m.HttpFilters, at, &hcmv3.HttpFilter{Name: "between", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: lua}})
			})
		}, http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			e := startWritten(t, bootstrapOf(t, text, test.amend))
			s := &stack{url: "http://" + e.Listen(), dsn: c.dsn}
			upstream.taken()
			changed := s.post(t, "/v1/chat/completions", helloChat, "x-keel-team: short", "x-keel-user: "+name)
			if sent := upstream.taken(); changed.status != test.status || len(sent) > 0 {
				t.Errorf("status %d, want %d; the provider got %q", changed.status, test.status, sent)
			}
			s.recordWhere(t, "subject->>'user' = '"+name+"' and outcome <> 'open'").want(t, record{"action": "constrain", "outcome": "aborted", "metered": "none", "actual_cost_usd": "0.000000000"})
			if same := s.post(t, "/v1/chat/completions", helloChat); same.status != http.StatusOK || len(upstream.taken()) != 1 {
				t.Errorf("a call that is not changed: %d %s", same.status, same.body)
			}
		})
	}
}

// theChanger changes the filter that changes calls.
func theChanger(t *testing.T, b *bootstrapv3.Bootstrap, change func(*extprocv3.ExternalProcessor)) {
	t.Helper()
	changeManager(t, b, func(m *hcmv3.HttpConnectionManager) {
		for _, f := range m.HttpFilters {
			if f.Name != envoy.ChangeFilterName {
				continue
			}
			var wrapper matchingv3.ExtensionWithMatcher
			repack(t, f.GetTypedConfig(), &wrapper, func() {
				var action compositev3.ExecuteFilterAction
				packed := wrapper.XdsMatcher.GetMatcherList().Matchers[0].OnMatch.GetAction().TypedConfig
				repack(t, packed, &action, func() { changeFilter(t, action.TypedConfig.TypedConfig, change) })
			})
		}
	})
}
