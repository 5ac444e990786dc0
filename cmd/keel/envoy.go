package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"keel/envoy"
)

type envoyCmd struct {
	Config envoyConfigCmd `cmd:"" help:"Write the configuration that attaches Envoy, Istio or Envoy Gateway to Keel."`
	Lint   envoyLintCmd   `cmd:"" help:"Name what is unsafe in such a configuration."`
}

type envoyConfigCmd struct {
	Mode         string        `help:"How much of a call Keel sees: full (one filter, before the router), attempts (and one in each provider's cluster), light (one that sends requests only; Envoy reads the usage), authz (ext_authz: one round trip, and no change to the body), fast (that, and one filter more for calls whose body has to change) or observe (it only looks on)." default:"attempts" placeholder:"MODE"`
	Target       string        `help:"What takes it: envoy, istio or envoy-gateway." required:"" placeholder:"TARGET"`
	GRPC         string        `name:"grpc" help:"Where Envoy finds \"keel serve\": HOST:PORT, unix:PATH, or uds for unix:/run/keel/keel.sock." default:"127.0.0.1:10002" placeholder:"ADDR"`
	Provider     []string      `help:"A provider and where its calls go, as in openai=https://api.openai.com; a known NAME alone is enough. May be given more than once. All that Keel knows, unless given." sep:"none" placeholder:"NAME[=URL]"`
	Journal      string        `help:"Folder of the processor's journal." default:"/var/lib/keel" placeholder:"DIR"`
	Listen       string        `help:"Where Envoy listens for applications. Target envoy only." default:"0.0.0.0:10000" placeholder:"ADDR"`
	EnvoyAdmin   string        `help:"Where Envoy's own admin interface listens, on loopback. Target envoy only." default:"127.0.0.1:9901" placeholder:"ADDR"`
	CA           string        `name:"ca-file" help:"File of certificates that a provider's is checked against. Target envoy only. The system's own, unless given." placeholder:"FILE"`
	ForceUsage   bool          `help:"Ask every OpenAI-style stream for its usage, although the client then gets one more event, with no choices. Modes light and fast."`
	RequestLimit uint64        `help:"Most bytes of a request body; a longer one is answered with 413." default:"33554432" placeholder:"BYTES"`
	IdleTimeout  time.Duration `help:"Ends a call in which nothing moves for so long." default:"300s"`
	RetryOn      []string      `help:"When Envoy tries again, by Envoy's names; in mode full only what no provider can have seen." default:"connect-failure,refused-stream,reset-before-request" placeholder:"CONDITION,..."`
	Retries      uint32        `help:"How often, after the first try." default:"2"`
	Namespace    string        `help:"Namespace of the manifests." default:"keel"`
	Gateway      string        `help:"Gateway that applications call." default:"keel"`
	Listener     string        `help:"Listener of that Gateway. Target envoy-gateway only." default:"http"`
	Selector     string        `help:"Label of the gateway's pods. Target istio only." default:"istio=ingressgateway" placeholder:"KEY=VALUE"`
	TLS          string        `name:"tls" help:"Speak to Keel by TLS, with tls.crt, tls.key and ca.crt of this folder where Envoy runs (Istio: in the gateway's pods; Envoy Gateway: Secret keel-client and ConfigMap keel-ca)." placeholder:"DIR"`
	TLSName      []string      `name:"tls-name" help:"Name that Keel's certificate has: a DNS name or a URI. May be given more than once. The host of --grpc, unless given." sep:"none" placeholder:"NAME"`
	TLSSecret    string        `name:"tls-secret" help:"Write the file by which Envoy finds its certificate or the authorities (ca), and takes new ones when they change. Target envoy only." enum:",certificate,ca" default:"" placeholder:"SECRET"`
	Metadata     []string      `help:"Namespace of dynamic metadata that subjects are read from. May be given more than once." sep:"none" placeholder:"NAMESPACE"`
	CustomPolicy bool          `help:"Have the check made by an AuthorizationPolicy of action CUSTOM. Istio makes it before it verifies tokens, so Keel sees no claims. Mode authz, target istio only."`
	MeshConfig   bool          `help:"Write what belongs to MeshConfig instead of the manifests. Target istio only."`
}

func (c *envoyConfigCmd) Help() string {
	return `The configuration goes to standard output, with a comment at every setting that
matters. Nothing is sent anywhere. "keel dev" runs the very same.

Mode attempts has the fewest limits, and is written unless another is named. Mode fast costs least, and is
the one to take for a plain Envoy where calls are not tried again once they may be billed, no policy
watches a stream, and streams ask for their usage: docs/envoy.md has its limits beside all others.

Examples:
  keel envoy config --target envoy --grpc keel.internal:10002 > envoy.yaml
  keel envoy config --target envoy --mode fast --grpc keel.internal:10002 > envoy.yaml
  keel envoy config --target envoy --mode full --grpc uds --provider openai --provider local=http://llama.internal:8080 > envoy.yaml
  keel envoy config --target envoy --grpc keel.internal:10002 --tls /etc/envoy/keel --tls-secret certificate > keel_certificate.yaml
  keel envoy config --target istio --grpc keel.keel.svc.cluster.local:10002 --namespace istio-system --provider openai > keel.yaml
  keel envoy config --target istio --grpc keel.keel.svc.cluster.local:10002 --mesh-config > meshconfig.yaml
  keel envoy config --target envoy-gateway --grpc keel.keel.svc.cluster.local:10002 --provider openai > keel.yaml`
}

func (c *envoyConfigCmd) Run(m *Main) error {
	providers, err := namedProviders(c.Provider)
	if err != nil {
		return err
	}
	processor := c.GRPC
	if processor == "uds" {
		processor = envoy.UnixScheme + "/run/keel/keel.sock" // not in the journal's folder, which is its owner's alone
	}
	var transport *envoy.TLS
	if c.TLS != "" {
		transport = &envoy.TLS{Folder: c.TLS, Names: c.TLSName}
	} else if len(c.TLSName) > 0 || c.TLSSecret != "" {
		return errors.New("--tls-name and --tls-secret go with --tls DIR")
	}
	text, err := envoy.Render(envoy.Attachment{
		Target: envoy.Target(c.Target),
		Config: envoy.Config{
			Mode: envoy.Mode(c.Mode), Listen: c.Listen, Admin: c.EnvoyAdmin, Processor: processor, Providers: providers,
			RequestLimit: c.RequestLimit, IdleTimeout: c.IdleTimeout, CAFile: c.CA, TLS: transport, Namespaces: c.Metadata, ForceUsage: c.ForceUsage,
			Retry: &envoy.Retry{On: c.RetryOn, Times: c.Retries},
		},
		Journal: c.Journal, Namespace: c.Namespace, Gateway: c.Gateway, Listener: c.Listener, Selector: c.Selector, MeshConfig: c.MeshConfig, CustomPolicy: c.CustomPolicy, Secret: c.TLSSecret,
	})
	if err != nil {
		return err
	}
	_, err = m.Stdout.Write(text)
	return err
}

// namedProviders are those of --provider, or all that Keel knows.
func namedProviders(entries []string) ([]envoy.Provider, error) {
	known := envoy.DefaultProviders()
	if len(entries) == 0 {
		return known, nil
	}
	var providers []envoy.Provider
	for _, entry := range entries {
		name, url, given := strings.Cut(entry, "=")
		p := envoy.Provider{Name: name, Address: url}
		if i := slices.IndexFunc(known, func(k envoy.Provider) bool { return k.Name == name }); i >= 0 {
			p.Host = known[i].Host
		} else if !given || url == "" {
			return nil, fmt.Errorf("--provider %q: Keel knows no host for it: want NAME=URL, as in local=http://llama.internal:8080", entry)
		}
		if given && p.Host == "" {
			_, address, ok := strings.Cut(url, "://")
			if !ok {
				return nil, fmt.Errorf("--provider %q: want NAME=URL, as in local=http://llama.internal:8080", entry)
			}
			p.Host = strings.TrimSuffix(address, "/")
			if host, _, err := net.SplitHostPort(p.Host); err == nil && strings.HasPrefix(url, "https://") && strings.HasSuffix(p.Host, ":443") {
				p.Host = host
			}
		}
		providers = append(providers, p)
	}
	return providers, nil
}
