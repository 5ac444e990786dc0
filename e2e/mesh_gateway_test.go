//go:build linux

package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	// What Envoy Gateway has its Envoys run beside what Keel generates.
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/health_check/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"keel/budget/ledger/pgserver"
	"keel/filter/wire/sample"
)

// Envoy Gateway's own translator takes what "keel envoy config --target envoy-gateway" prints, and what it
// makes of that runs in the real Envoy, as in TestIstio.
func TestEnvoyGateway(t *testing.T) {
	t.Parallel()
	egctl := builtBy(t, "make mesh", "egctl")
	for name, c := range map[string]struct {
		mode     string
		tls      bool // with certificates, as docs/envoy.md has it
		attempts int
	}{
		"full":                  {mode: "full"},
		"full, by certificates": {mode: "full", tls: true},
		"attempts":              {mode: "attempts", attempts: 1},
		"light":                 {mode: "light"},
		"authz":                 {mode: "authz"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			provider := httptest.NewServer(sample.New(sample.Options{Keep: 10}))
			defer provider.Close()
			replicas := startCluster(t, keel, pgserver.ForTest(t), 1, false, "---"+meshPolicy)
			flags := append(throughGateway, "--mode", c.mode)
			var theirs string
			var manifests [][]byte
			if c.tls {
				theirs = overTLS(t, replicas.replicas[0])
				flags, manifests = append(flags, "--tls", theirs), append(manifests, []byte(gatewaySecrets(t, theirs)))
			}
			written := inGateway(t, egctl, replicas.replicas[0].connection().Target(), provider.URL, append(manifests, keelOutput(t, flags...))...)
			held := holdSecrets(t, written, func(name string) *tlsv3.Secret { // which the translator does not print
				switch name {
				case "keel/keel-client":
					return certificateSecret(filepath.Join(theirs, "tls.crt"), filepath.Join(theirs, "tls.key"))
				case "keel-processor/keel-ca":
					return authoritySecret(filepath.Join(theirs, "ca.crt"))
				}
				return nil
			})
			if (held == 2) != c.tls {
				t.Errorf("%d secrets", held)
			}
			s := &stack{url: runBootstrap(t, written), dsn: replicas.dsn}
			meshCalls(t, s, replicas, c.attempts, c.mode)
		})
	}
}

// The Gateway and its routes stay as they are: Keel is put into the listener, and what passes is metered as in TestObserve.
func TestEnvoyGatewayObserve(t *testing.T) {
	t.Parallel()
	egctl := builtBy(t, "make mesh", "egctl")
	routes, err := os.ReadFile("testdata/envoy-gateway-routes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	o := startObservedBy(t, sample.New(sample.Options{Keep: 10_000}), func(processor, provider string) string {
		own := keelOutput(t, "envoy", "config", "--target", "envoy-gateway", "--mode", "observe", "--grpc", clusterProcessor, "--gateway", "llm")
		return runBootstrap(t, inGateway(t, egctl, processor, provider, routes, own))
	})
	o.routed = true
	o.observes(t)
}

// Envoy Gateway bounds by itself neither the headers nor the body of a request; Keel's ClientTrafficPolicy does.
func TestEnvoyGatewaySlowRequest(t *testing.T) {
	t.Parallel()
	egctl := builtBy(t, "make mesh", "egctl")
	provider := sample.New(sample.Options{Keep: 10})
	upstream := httptest.NewServer(provider)
	defer upstream.Close()
	replicas := startCluster(t, keel, pgserver.ForTest(t), 1, false, "")
	written := inGateway(t, egctl, replicas.replicas[0].connection().Target(), upstream.URL, keelOutput(t, append(throughGateway, "--idle-timeout", "2s")...))
	s := &stack{url: runBootstrap(t, written), dsn: replicas.dsn, sample: provider}
	s.refusesSlowRequests(t)
}

// Claims of tokens that Envoy Gateway verified reach Keel in both kinds of modes, and nothing that a client says of itself makes up for them.
func TestEnvoyGatewayClaims(t *testing.T) {
	t.Parallel()
	egctl := builtBy(t, "make mesh", "egctl")
	for _, mode := range []string{"full", "authz"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			replicas, provider, _ := startVerified(t)
			upstream := httptest.NewServer(provider)
			defer upstream.Close()
			idp := newIssuer(t)
			manifests := [][]byte{keelOutput(t, append(throughGateway, "--mode", mode)...)}
			jwt := fmt.Sprintf(verifiedByGateway, idp.jwks())
			if mode == "authz" { // a Gateway has one SecurityPolicy
				manifests[0] = bytes.Replace(manifests[0], []byte("  extAuth:\n"), []byte(jwt+"  extAuth:\n"), 1)
			} else {
				manifests = append(manifests, []byte(gatewayTokens+jwt))
			}
			written := inGateway(t, egctl, replicas.replicas[0].connection().Target(), upstream.URL, manifests...)
			s := &stack{url: runBootstrap(t, written), dsn: replicas.dsn, sample: provider}
			s.believesClaims(t, idp, true)
		})
	}
}

const (
	gatewayTokens = `apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: tokens, namespace: keel}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: llm}]
`
	verifiedByGateway = `  jwt: {optional: true, providers: [{name: idp, issuer: "https://idp.example.com", localJWKS: {type: Inline, inline: '%s'}}]}
`
)

// Envoy Gateway refuses a Backend on loopback, and its translator knows a Service by its cluster address alone: Keel's manifests name
// places that inGateway moves once the translator is done.
const (
	clusterProcessor = "keel.keel.svc.cluster.local:10002"
	clusterProvider  = "provider.test:80"
)

var throughGateway = slices.Clip([]string{"envoy", "config", "--target", "envoy-gateway", "--grpc", clusterProcessor, "--gateway", "llm",
	"--provider", "openai=http://" + clusterProvider})

// inGateway is what Envoy Gateway makes of a Gateway, the processor's Service and other manifests, Keel's among them; it listens on any port.
func inGateway(t *testing.T, egctl, processor, provider string, manifests ...[]byte) *bootstrapv3.Bootstrap {
	t.Helper()
	_, port, _ := strings.Cut(processor, ":")
	written := translated(t, egctl, append(manifests, gatewayOf(t), processorService(t, port))...)
	move(written, map[string]string{"10.0.0.1:10002": processor, clusterProcessor: processor, clusterProvider: strings.TrimPrefix(provider, "http://")})
	listenAnywhere(t, written)
	return written
}

// gatewayOf is the Gateway that a cluster has.
func gatewayOf(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/envoy-gateway.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// translated is what Envoy Gateway makes of manifests, without what would come by xDS.
func translated(t *testing.T, egctl string, manifests ...[]byte) *bootstrapv3.Bootstrap {
	t.Helper()
	file := filepath.Join(t.TempDir(), "manifests.yaml")
	if err := os.WriteFile(file, bytes.Join(manifests, []byte("\n---\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(egctl, "x", "translate", "--from", "gateway-api", "--to", "xds", "-t", "all", "-o", "json", "-f", file).Output()
	if err != nil {
		t.Fatalf("egctl: %v\n%s", err, out)
	}
	return staticOf(t, out)
}

// gatewaySecrets are the Secret and the ConfigMap of docs/envoy.md, of the files of a folder.
func gatewaySecrets(t *testing.T, dir string) string {
	t.Helper()
	text := map[string]string{}
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		text[name] = string(b)
	}
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: keel-client, namespace: keel}\ntype: kubernetes.io/tls\ndata: {tls.crt: %s, tls.key: %s}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: keel-ca, namespace: keel}\ndata: {ca.crt: %q}\n",
		base64.StdEncoding.EncodeToString([]byte(text["tls.crt"])), base64.StdEncoding.EncodeToString([]byte(text["tls.key"])), text["ca.crt"])
}

// staticOf is a bootstrap of all that Envoy Gateway would send by xDS.
func staticOf(t *testing.T, translated []byte) *bootstrapv3.Bootstrap {
	t.Helper()
	var made struct {
		XDS map[string]json.RawMessage // by Gateway
	}
	if err := json.Unmarshal(translated, &made); err != nil {
		t.Fatal(err)
	}
	b := &bootstrapv3.Bootstrap{StaticResources: new(bootstrapv3.Bootstrap_StaticResources)}
	routes := map[string]*routev3.RouteConfiguration{}
	assigned := map[string]*endpointv3.ClusterLoadAssignment{}
	for _, text := range made.XDS {
		var dump adminv3.ConfigDump
		if err := protojson.Unmarshal(text, &dump); err != nil {
			t.Fatal(err)
		}
		for _, part := range dump.Configs {
			switch part := message(t, part).(type) {
			case *adminv3.ListenersConfigDump:
				for _, l := range part.DynamicListeners {
					// One more answers the probes of Envoy Gateway's own pods.
					if l := message(t, l.ActiveState.Listener).(*listenerv3.Listener); !strings.HasPrefix(l.Name, "envoy-gateway-proxy-ready") {
						b.StaticResources.Listeners = append(b.StaticResources.Listeners, l)
					}
				}
			case *adminv3.ClustersConfigDump:
				for _, c := range part.DynamicActiveClusters {
					b.StaticResources.Clusters = append(b.StaticResources.Clusters, message(t, c.Cluster).(*clusterv3.Cluster))
				}
			case *adminv3.RoutesConfigDump:
				for _, r := range part.DynamicRouteConfigs {
					r := message(t, r.RouteConfig).(*routev3.RouteConfiguration)
					routes[r.Name] = r
				}
			case *adminv3.EndpointsConfigDump:
				for _, e := range part.DynamicEndpointConfigs {
					e := message(t, e.EndpointConfig).(*endpointv3.ClusterLoadAssignment)
					assigned[e.ClusterName] = e
				}
			}
		}
	}
	for _, c := range b.StaticResources.Clusters {
		if c.GetType() == clusterv3.Cluster_EDS {
			c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
			c.EdsClusterConfig, c.LoadAssignment = nil, assigned[c.Name]
		}
	}
	for _, l := range b.StaticResources.Listeners {
		for _, chain := range append(l.FilterChains, l.DefaultFilterChain) {
			for _, filter := range chain.GetFilters() {
				manager, ok := message(t, filter.GetTypedConfig()).(*hcmv3.HttpConnectionManager)
				if !ok || manager.GetRds() == nil {
					continue
				}
				manager.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: routes[manager.GetRds().RouteConfigName]}
				config, err := anypb.New(manager)
				if err != nil {
					t.Fatal(err)
				}
				filter.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: config}
			}
		}
	}
	return b
}

// move changes addresses of endpoints.
func move(b *bootstrapv3.Bootstrap, to map[string]string) {
	for _, c := range b.StaticResources.Clusters {
		for _, locality := range c.LoadAssignment.GetEndpoints() {
			for _, e := range locality.LbEndpoints {
				a := e.GetEndpoint().GetAddress().GetSocketAddress()
				if host, port, ok := strings.Cut(to[fmt.Sprintf("%s:%d", a.GetAddress(), a.GetPortValue())], ":"); ok {
					n, _ := strconv.ParseUint(port, 10, 16)
					a.Address, a.PortSpecifier = host, &corev3.SocketAddress_PortValue{PortValue: uint32(n)}
				}
			}
		}
	}
}

func message(t *testing.T, packed *anypb.Any) proto.Message {
	t.Helper()
	m, err := packed.UnmarshalNew()
	if err != nil {
		t.Fatal(err)
	}
	return m
}
