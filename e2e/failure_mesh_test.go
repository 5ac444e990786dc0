//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"keel/budget/ledger/pgserver"
	"keel/envoy"
)

// failingMesh is an Envoy whose processor, replicas[0], fails in the middle of calls, and another replica, the
// witness, that takes the access log. Whatever Keel gave no target goes to the provider all the same, as in a mesh that has a
// route for everything.
type failingMesh struct {
	*cluster
	*paced
	*stack
	envoyAdmin string
}

func (m *failingMesh) processor() *replica { return m.replicas[0] }
func (m *failingMesh) witness() *replica   { return m.replicas[1] }

type failingOptions struct {
	mode   envoy.Mode
	amend  func(*bootstrapv3.Bootstrap)
	filter func(*extprocv3.ExternalProcessor)
	alone  bool // no witness: the processor takes the access log, too
	drain  time.Duration
}

const failingConfig = `
---
{kind: Budget, name: strict, selector: {team: strict}, limit: 1000 USD, window: month}
---
{kind: Budget, name: spent, selector: {team: spent}, limit: 0.000001 USD, window: month}
`

func startFailing(t *testing.T, o failingOptions) *failingMesh {
	t.Helper()
	m := &failingMesh{paced: startPaced(t)}
	n := 2
	if o.alone {
		n = 1
	}
	m.cluster = startCluster(t, keel, pgserver.ForTest(t), n, false, failingConfig)
	p := m.processor()
	p.args = append(p.args, "--grpc", p.connection().Target()) // it comes back where Envoy looks for it
	if o.drain > 0 {
		p.args = append(p.args, "--drain", o.drain.String())
	}
	if err := errors.Join(p.end(syscall.SIGTERM), p.start()); err != nil {
		t.Fatal(err)
	}
	log := p.connection().Target()
	if !o.alone {
		log = m.witness().connection().Target()
	}
	e, err := envoy.Start(t.Context(), envoy.Options{
		Dir: filepath.Join(openDir(t), "envoy"), Cache: cacheDir(t), Progress: os.Stderr, Concurrency: 1,
		Config: envoy.Config{
			Mode: o.mode, Processor: p.connection().Target(),
			Providers: []envoy.Provider{{Name: "openai", Host: "api.openai.com", Address: m.paced.server.URL}},
		},
		Amend: func(b *bootstrapv3.Bootstrap) {
			clusterOf(b, "keel_access_log").LoadAssignment.Endpoints[0].LbEndpoints[0] = endpoint(log, nil)
			overHTTP2(t, b, "openai") // the only way to trailers
			changeManager(t, b, func(manager *hcmv3.HttpConnectionManager) {
				routes := manager.GetRouteConfig().VirtualHosts[0].Routes
				last := routes[len(routes)-1].GetRoute()
				last.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: "openai"}
				if o.filter != nil {
					changeFilter(t, manager.HttpFilters[0].GetTypedConfig(), o.filter)
				}
			})
			if o.amend != nil {
				o.amend(b)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Stop() })
	m.envoyAdmin = "http://" + e.Admin()
	m.stack = &stack{url: "http://" + e.Listen(), dsn: m.cluster.dsn}
	return m
}

func changeManager(t *testing.T, b *bootstrapv3.Bootstrap, change func(*hcmv3.HttpConnectionManager)) {
	packed := b.StaticResources.Listeners[0].FilterChains[0].Filters[0].GetTypedConfig()
	var manager hcmv3.HttpConnectionManager
	repack(t, packed, &manager, func() { change(&manager) })
}

func changeFilter(t *testing.T, packed *anypb.Any, change func(*extprocv3.ExternalProcessor)) {
	var filter extprocv3.ExternalProcessor
	repack(t, packed, &filter, func() { change(&filter) })
}

func overHTTP2(t *testing.T, b *bootstrapv3.Bootstrap, cluster string) {
	for _, packed := range clusterOf(b, cluster).TypedExtensionProtocolOptions {
		var options upstreamv3.HttpProtocolOptions
		repack(t, packed, &options, func() {
			options.UpstreamProtocolOptions = &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: &corev3.Http2ProtocolOptions{}},
			}}
		})
	}
}

// repack changes a message inside an Any.
func repack(t *testing.T, packed *anypb.Any, into proto.Message, change func()) {
	t.Helper()
	if err := packed.UnmarshalTo(into); err != nil {
		t.Fatal(err)
	}
	change()
	if err := packed.MarshalFrom(into); err != nil {
		t.Fatal(err)
	}
}

// paced is a provider that goes on when the test says so. It serves one call at a time.
type paced struct {
	server *httptest.Server
	came   chan string // the path of a call that reached it
	left   chan string // and of one that was left
	steps  chan string
}

const (
	stepHeaders  = "headers"
	stepChunk    = "chunk"
	stepUsage    = "usage" // the last events of the stream, with what it used
	stepTrailers = "trailers"
	stepEnd      = "end"
)

func startPaced(t *testing.T) *paced {
	g := &paced{came: make(chan string, 100), left: make(chan string, 100), steps: make(chan string)}
	g.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		g.came <- r.URL.Path
		w.Header().Set("content-type", "text/event-stream")
		for {
			var step string
			select {
			case step = <-g.steps:
			case <-r.Context().Done():
				g.left <- r.URL.Path
				return
			}
			switch step {
			case stepHeaders:
			case stepChunk:
				fmt.Fprint(w, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-5-mini\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"some words\"}}]}\n\n")
			case stepUsage:
				fmt.Fprint(w, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-5-mini\",\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":15}}\n\ndata: [DONE]\n\n")
			case stepTrailers:
				w.Header().Set(http.TrailerPrefix+"x-end", "1")
				return
			case stepEnd:
				return
			}
			w.(http.Flusher).Flush()
		}
	}))
	g.server.Config.Protocols = new(http.Protocols)
	g.server.Config.Protocols.SetUnencryptedHTTP2(true)
	g.server.Start()
	t.Cleanup(g.server.Close)
	return g
}

// does has the provider make steps, one after the other.
func (g *paced) does(t *testing.T, steps ...string) {
	t.Helper()
	for _, step := range steps {
		select {
		case g.steps <- step:
		case <-time.After(patience):
			t.Fatalf("no call at the provider takes step %q", step)
		}
	}
}

// arrived waits for a call at the provider.
func (g *paced) arrived(t *testing.T) {
	t.Helper()
	select {
	case <-g.came:
	case <-time.After(patience):
		t.Fatal("no call reached the provider")
	}
}

// reached counts the calls that reached the provider since arrived was asked.
func (g *paced) reached() int {
	n := len(g.came)
	for range n {
		<-g.came
	}
	return n
}

// slowCall is a call whose client sends and reads when the test says so.
type slowCall struct {
	body     *io.PipeWriter
	leave    context.CancelFunc
	response chan *http.Response
	failed   chan error
}

// begin sends the headers of a call.
func (m *failingMesh) begin(t *testing.T, headers ...string) *slowCall {
	t.Helper()
	read, write := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, m.url+chatPath, read)
	if err != nil {
		t.Fatal(err)
	}
	setHeaders(request, headers)
	c := &slowCall{body: write, leave: cancel, response: make(chan *http.Response, 1), failed: make(chan error, 1)}
	go func() {
		response, err := client.Do(request)
		if err != nil {
			c.failed <- err
			return
		}
		c.response <- response
	}()
	return c
}

const failingBody = `{"model":"gpt-5-mini","stream":true,"stream_options":{"include_usage":true},"max_completion_tokens":200,"messages":[{"role":"user","content":"Hello there."}]}`

func (c *slowCall) send() {
	go func() { // Envoy may not take it any more
		io.WriteString(c.body, failingBody)
		c.body.Close()
	}()
}

// ended is what the client got.
func (c *slowCall) ended(t *testing.T) (a answer) {
	t.Helper()
	select {
	case response := <-c.response:
		defer response.Body.Close()
		a.status, a.header = response.StatusCode, response.Header
		a.body, a.err = io.ReadAll(response.Body)
	case a.err = <-c.failed:
	case <-time.After(patience):
		t.Error("the call does not end")
	}
	return a
}

// counter reads one of Envoy's.
func (m *failingMesh) counter(t *testing.T, name string) int {
	t.Helper()
	response, err := client.Get(m.envoyAdmin + "/stats?filter=^" + regexp.QuoteMeta(name) + "$")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	_, value, found := strings.Cut(string(readAll(t, response.Body)), ": ")
	if !found {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

const extProcStats = "http.keel.ext_proc.keel."

// messages waits until Envoy has sent, or got, n messages of the filter more than before.
func (m *failingMesh) messages(t *testing.T, which string, n int) {
	t.Helper()
	waitFor(t, fmt.Sprintf("%d messages %s", n, which), func() bool { return m.counter(t, extProcStats+which) >= n })
}

var adminURL = regexp.MustCompile(`admin on (http://\S+)`)

// metric reads one of a replica's process that runs.
func (r *replica) metric(t *testing.T, name string) float64 {
	t.Helper()
	found := adminURL.FindAllStringSubmatch(r.output.String(), -1)
	response, err := client.Get(found[len(found)-1][1] + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	for line := range strings.Lines(string(readAll(t, response.Body))) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// healthy waits until Envoy takes the processor for alive.
func (m *failingMesh) healthy(t *testing.T) {
	t.Helper()
	waitFor(t, "a healthy processor", func() bool { return m.counter(t, "cluster.keel_processor.membership_healthy") == 1 })
}

// gone waits until nothing listens at address.
func gone(t *testing.T, address string) {
	t.Helper()
	waitFor(t, address+" to be gone", func() bool {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
}
