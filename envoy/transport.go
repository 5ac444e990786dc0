package envoy

import (
	"errors"
	"fmt"
	"path"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/goccy/go-yaml"
)

// TLS is how Envoy speaks to the processor where they are not on one machine: with a certificate of its own.
type TLS struct {
	// Folder of tls.crt, tls.key and ca.crt where Envoy runs; with Istio that is in the gateway's pods. Envoy Gateway takes Secret
	// keel-client and ConfigMap keel-ca instead.
	Folder string

	// Names are those that the processor's certificate may have: DNS names, or URIs such as spiffe://example.com/keel.
	// Default: the host of the processor.
	Names []string
}

// The secrets that Envoy reads from files of the folder, so that it takes new certificates without a restart.
const (
	secretCertificate = "keel_certificate"
	secretCA          = "keel_ca"
)

// SecretFiles are the files in TLS.Folder that Envoy reads its secrets from, by what to call them.
var SecretFiles = map[string]string{"certificate": secretCertificate, "ca": secretCA}

func (c Config) completeTLS() (*TLS, error) {
	if c.TLS == nil {
		return nil, nil
	}
	t := *c.TLS
	processor, err := parseProcessor(c.Processor)
	switch {
	case err != nil:
		return nil, err
	case processor.path != "":
		return nil, errors.New("TLS is not for a socket, which the modes of its file protect")
	case !path.IsAbs(t.Folder) || strings.ContainsAny(t.Folder, "\r\n"):
		return nil, fmt.Errorf("folder of certificates %q: want its absolute path where Envoy runs, as in /etc/envoy/keel", t.Folder)
	}
	if len(t.Names) == 0 {
		t.Names = []string{processor.host}
	}
	for _, name := range t.Names {
		if name == "" || strings.ContainsAny(name, "* \r\n") {
			return nil, fmt.Errorf("name %q of the processor's certificate: want a DNS name, an IP address or a URI", name)
		}
	}
	return &t, nil
}

// transportSocket shows Envoy's certificate to the processor, and checks the processor's.
func (b *builder) transportSocket() *corev3.TransportSocket {
	processor, err := parseProcessor(b.Processor)
	if err != nil && b.err == nil {
		b.err = err
	}
	validation := &tlsv3.CertificateValidationContext{}
	for _, name := range b.TLS.Names {
		m := &tlsv3.SubjectAltNameMatcher{
			SanType: tlsv3.SubjectAltNameMatcher_DNS,
			Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: name}},
		}
		if strings.Contains(name, "://") {
			m.SanType = tlsv3.SubjectAltNameMatcher_URI
		} else if (address{host: name}).isIP() {
			m.SanType = tlsv3.SubjectAltNameMatcher_IP_ADDRESS
		}
		validation.MatchTypedSubjectAltNames = append(validation.MatchTypedSubjectAltNames, m)
	}
	sni := processor.host
	if processor.isIP() {
		sni = ""
	}
	return &corev3.TransportSocket{Name: "envoy.transport_sockets.tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: b.any(&tlsv3.UpstreamTlsContext{
		Sni: sni,
		CommonTlsContext: &tlsv3.CommonTlsContext{
			TlsParams:                      &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2},
			TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{b.secret(secretCertificate)},
			ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
				DefaultValidationContext:         validation,
				ValidationContextSdsSecretConfig: b.secret(secretCA),
			}},
		},
	})}}
}

func (b *builder) secret(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: &corev3.ConfigSource{
		ResourceApiVersion: corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_PathConfigSource{PathConfigSource: &corev3.PathConfigSource{
			Path: path.Join(b.TLS.Folder, name+".yaml"),
		}},
	}}
}

// secretFile is the file of a secret, which names those that have it. Envoy reads them again when something is moved into the folder, as
// Kubernetes does with a Secret.
func (a Attachment) secretFile() ([]byte, error) {
	if a.TLS == nil {
		return nil, errors.New("a file of a secret is for TLS: name the folder of certificates")
	}
	in := func(name string) yaml.MapSlice { return object("filename", path.Join(a.TLS.Folder, name)) }
	watched := object("path", a.TLS.Folder)
	name := SecretFiles[a.Secret]
	var key string
	var value yaml.MapSlice
	switch name {
	case secretCertificate:
		key, value = "tls_certificate", object("certificate_chain", in("tls.crt"), "private_key", in("tls.key"), "watched_directory", watched)
	case secretCA:
		key, value = "validation_context", object("trusted_ca", in("ca.crt"), "watched_directory", watched)
	default:
		return nil, fmt.Errorf("secret %q: there are certificate and ca", a.Secret)
	}
	return documents([]document{{
		head: []string{fmt.Sprintf("Written by \"keel envoy config\"; Envoy reads it as %s.", path.Join(a.TLS.Folder, name+".yaml"))},
		body: object("resources", list(object("@type", "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", "name", name, key, value))),
	}})
}
