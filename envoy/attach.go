package envoy

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Target is what takes the configuration.
type Target string

const (
	TargetEnvoy        Target = "envoy"
	TargetIstio        Target = "istio"
	TargetEnvoyGateway Target = "envoy-gateway"
)

// Attachment is configuration for an Envoy that is already there. Only Target and
// what Config requires are required.
type Attachment struct {
	Config
	Target  Target
	Journal string // folder of the processor that the text mentions; default /var/lib/keel

	// The rest is for manifests.
	Namespace string // of Keel's own objects; default keel
	Gateway   string // name of the Gateway that calls enter by; default keel
	Listener  string // of that Gateway; Envoy Gateway only; default http
	Selector  string // KEY=VALUE label of Istio's gateway pods; default istio=ingressgateway

	// CustomPolicy has the check of mode authz made by an AuthorizationPolicy of action CUSTOM. Istio makes such a check before it
	// verifies tokens, so Keel sees no claims. Target istio only.
	CustomPolicy bool

	// MeshConfig asks for what Istio reads from its own configuration, not from a manifest.
	MeshConfig bool

	// Secret asks for the file of a secret of TLS, which is one of SecretFiles. Target envoy only.
	Secret string
}

// Render writes the configuration as YAML, with a comment at every setting that
// matters. The same Attachment gives the same bytes. An error names what is wrong.
func Render(a Attachment) ([]byte, error) {
	a, err := a.complete()
	if err != nil {
		return nil, err
	}
	switch a.Target {
	case TargetEnvoy:
		if a.Secret != "" {
			return a.secretFile()
		}
		return a.bootstrap()
	case TargetIstio:
		if a.MeshConfig {
			return a.meshConfig()
		}
		return a.istio()
	default:
		return a.gateway()
	}
}

// objectName is what Kubernetes takes as a name everywhere.
var (
	objectName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	labelPair  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9./_-]*=[A-Za-z0-9][A-Za-z0-9._-]*$`)
)

func (a Attachment) complete() (Attachment, error) {
	a.Journal = cmp.Or(a.Journal, "/var/lib/keel")
	a.Namespace = cmp.Or(a.Namespace, "keel")
	a.Gateway = cmp.Or(a.Gateway, "keel")
	a.Listener = cmp.Or(a.Listener, "http")
	a.Selector = cmp.Or(a.Selector, "istio=ingressgateway")
	if a.Target == TargetEnvoy && a.Listen == "" {
		a.Listen = "0.0.0.0:10000"
	}
	for _, name := range []struct{ what, value string }{{"namespace", a.Namespace}, {"gateway", a.Gateway}, {"listener", a.Listener}} {
		if !objectName.MatchString(name.value) {
			return a, fmt.Errorf("%s %q: want lower case letters, digits and -, as Kubernetes does", name.what, name.value)
		}
	}
	if !labelPair.MatchString(a.Selector) {
		return a, fmt.Errorf("selector %q: want KEY=VALUE, as in istio=ingressgateway", a.Selector)
	}
	if strings.ContainsAny(a.Journal, "\r\n") {
		return a, fmt.Errorf("journal folder %q: it has more than one line", a.Journal)
	}
	if a.MeshConfig && a.Target != TargetIstio {
		return a, errors.New("only Istio has a MeshConfig")
	}
	if a.CustomPolicy && (a.Target != TargetIstio || a.Mode != ModeAuthz) {
		return a, errors.New("only Istio has AuthorizationPolicies of action CUSTOM, and only mode authz makes such a check")
	}
	if a.Secret != "" && a.Target != TargetEnvoy {
		return a, errors.New("only a plain Envoy reads files of secrets")
	}
	switch a.Target {
	case TargetEnvoy, TargetIstio, TargetEnvoyGateway:
	default:
		return a, fmt.Errorf("target %q: there are %s, %s and %s", a.Target, TargetEnvoy, TargetIstio, TargetEnvoyGateway)
	}
	config, err := a.Config.complete()
	if err != nil {
		return a, err
	}
	a.Config = config
	if a.Target == TargetEnvoy {
		return a, nil
	}
	if a.Mode == ModeFast { // their own APIs write the filter of ext_authz, and have no field for what it says of itself
		return a, fmt.Errorf("mode %s: built for target %s alone; for %s there is %s, which denies calls whose body would have to change, and %s", a.Mode, TargetEnvoy, a.Target, ModeAuthz, ModeLight)
	}
	if a.TLS != nil && a.Target == TargetEnvoyGateway {
		if name := a.TLS.Names[0]; len(a.TLS.Names) > 1 || !hostName.MatchString(name) || (address{host: name}).isIP() {
			return a, fmt.Errorf("names %s of the processor's certificate: Envoy Gateway checks one DNS name", strings.Join(a.TLS.Names, ", "))
		}
	}
	for _, p := range a.Providers {
		if e, err := p.endpoint(); err != nil {
			return a, err
		} else if !objectName.MatchString(p.Name) {
			return a, fmt.Errorf("provider %s: want a name of lower case letters, digits and -, as Kubernetes does", p.Name)
		} else if a.Target == TargetEnvoyGateway && e.tls && e.isIP() {
			return a, fmt.Errorf("provider %s: Envoy Gateway checks a certificate against a name, and %s is an IP address", p.Name, e.host)
		}
	}
	return a, nil
}

// bootstrap is the whole of a static configuration.
func (a Attachment) bootstrap() ([]byte, error) {
	b, err := Bootstrap(a.Config)
	if err != nil {
		return nil, err
	}
	body, err := tree(b)
	if err != nil {
		return nil, err
	}
	return documents([]document{{body: body, head: append(a.heading(),
		"This is a whole bootstrap: envoy --config-path FILE. For an Envoy that has one, take over",
		"the filter, the access log, the routes and the clusters.",
	)}})
}

// heading says what a configuration is for and what has to run beside it.
func (a Attachment) heading() []string {
	return []string{
		fmt.Sprintf("Keel in mode %s, for %s. Written by \"keel envoy config\"; \"keel envoy lint\" checks what becomes of it.", a.Mode, a.Target),
		fmt.Sprintf("The processor: keel serve --grpc %s%s --journal %s --database DSN", a.serves(), a.servesBy(), a.Journal),
	}
}

// servesBy are the flags of keel serve that its transport needs.
func (a Attachment) servesBy() string {
	p, err := parseProcessor(a.Processor)
	switch {
	case a.TLS != nil:
		return " --tls-cert tls.crt --tls-key tls.key --tls-peer-ca ca.crt --peer NAME-OF-ENVOY"
	case err != nil || p.isLocal():
		return ""
	}
	return " --grpc-cleartext"
}

// serves is the address that the processor listens on, as far as it is known here.
func (a Attachment) serves() string {
	p, err := parseProcessor(a.Processor)
	if err != nil || p.isFixed() {
		return a.Processor
	}
	return fmt.Sprintf("0.0.0.0:%d", p.port)
}
