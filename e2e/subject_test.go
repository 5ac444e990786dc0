//go:build linux

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	setv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_metadata/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"keel/budget/ledger/pgserver"
	"keel/filter/peers/peerstest"
	"keel/filter/wire/sample"
)

// verifiedSubjects are of what nobody can say of himself: a verified token, a filter of the gateway, a certificate.
const verifiedSubjects = `---
kind: Subject
name: org
from: {claim: org}
label: org
---
kind: Subject
name: team
from: {claim: team}
label: team
---
kind: Subject
name: user
from: {claim: realm.user}
label: user
---
kind: Subject
name: app
from: {peer_san: true}
label: app
---
kind: Subject
name: site
from: {metadata: gateway.site/name}
label: site
`

// issuer signs tokens.
type issuer struct{ key *ecdsa.PrivateKey }

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{key}
}

var raw64 = base64.RawURLEncoding.EncodeToString

func (i *issuer) jwks() string {
	point, err := i.key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "1", "x": %q, "y": %q}]}`, raw64(point[1:33]), raw64(point[33:]))
}

func (i *issuer) token(t *testing.T, expires time.Duration, claims map[string]any) string {
	t.Helper()
	claims["iss"], claims["exp"] = "https://idp.example.com", time.Now().Add(expires).Unix()
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed := raw64([]byte(`{"alg":"ES256","kid":"1","typ":"JWT"}`)) + "." + raw64(body)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + raw64(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

func packed(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// before puts filters before Keel's.
func before(t *testing.T, filters ...*hcmv3.HttpFilter) func(*bootstrapv3.Bootstrap) {
	return func(b *bootstrapv3.Bootstrap) {
		config := b.StaticResources.Listeners[0].FilterChains[0].Filters[0]
		manager := new(hcmv3.HttpConnectionManager)
		if err := config.GetTypedConfig().UnmarshalTo(manager); err != nil {
			t.Fatal(err)
		}
		manager.HttpFilters = append(filters, manager.HttpFilters...)
		config.GetTypedConfig().Reset()
		proto.Merge(config.GetTypedConfig(), packed(t, manager))
	}
}

func filterOf(t *testing.T, name string, m proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(t, m)}}
}

// verifying is Envoy's filter that verifies tokens. Where it may be missing, a call without one passes without claims.
func verifying(t *testing.T, i *issuer, mayBeMissing bool) *hcmv3.HttpFilter {
	requires := &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_ProviderName{ProviderName: "idp"}}
	if mayBeMissing {
		requires = &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_RequiresAny{RequiresAny: &jwtv3.JwtRequirementOrList{Requirements: []*jwtv3.JwtRequirement{
			requires, {RequiresType: &jwtv3.JwtRequirement_AllowMissing{}},
		}}}}
	}
	return filterOf(t, "envoy.filters.http.jwt_authn", &jwtv3.JwtAuthentication{
		Providers: map[string]*jwtv3.JwtProvider{"idp": {
			Issuer: "https://idp.example.com", PayloadInMetadata: "idp",
			JwksSourceSpecifier: &jwtv3.JwtProvider_LocalJwks{LocalJwks: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: i.jwks()}}},
		}},
		Rules: []*jwtv3.RequirementRule{{Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}, RequirementType: &jwtv3.RequirementRule_Requires{Requires: requires}}},
	})
}

// startVerified is a processor that believes verified subjects alone.
func startVerified(t *testing.T) (c *cluster, provider *sample.Provider, config func(more ...string) []byte) {
	t.Helper()
	provider = sample.New(sample.Options{Keep: 100})
	upstream := httptest.NewServer(provider)
	t.Cleanup(upstream.Close)
	c = startCluster(t, keel, pgserver.ForTest(t), 0, false, "")
	for _, name := range []string{"org", "team", "user"} { // those by headers
		if out, err := c.run(keel, "delete", "subject", name, "--database", c.dsn); err != nil {
			t.Fatal(err, out)
		}
	}
	c.apply(t, verifiedSubjects)
	r := newReplica(t, 0, keel, c.dsn, filepath.Join(openDir(t), "0"))
	if err := r.start(); err != nil {
		t.Fatal(err)
	}
	c.replicas = append(c.replicas, r)
	return c, provider, func(more ...string) []byte {
		return envoyConfig(t, r.connection().Target(), append([]string{"--provider", "openai=" + upstream.URL}, more...)...)
	}
}

func (s *stack) subject(t *testing.T, a *answer) map[string]string {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	var subject map[string]string
	if err := json.Unmarshal([]byte(s.record(t, a.decision())["subject"]), &subject); err != nil {
		t.Fatal(err)
	}
	return subject
}

func wantSubject(t *testing.T, got map[string]string, want map[string]string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) { // maps print in order
		t.Errorf("subject %v, want %v", got, want)
	}
}

// Who pays is what the token says that Envoy verified, and a namespace of metadata that a filter of the gateway wrote, whatever headers a
// client sends; a token that has expired, or that somebody else signed, gets nobody past Envoy, and costs nothing.
func TestSubjectFromClaims(t *testing.T) {
	t.Parallel()
	c, provider, config := startVerified(t)
	idp := newIssuer(t)
	site := filterOf(t, "envoy.filters.http.set_metadata", &setv3.Config{Metadata: []*setv3.Metadata{{
		MetadataNamespace: "gateway.site", Value: &structpb.Struct{Fields: map[string]*structpb.Value{"name": structpb.NewStringValue("berlin")}}}}})
	s := &stack{url: runAttached(t, config("--metadata", "gateway.site"), before(t, verifying(t, idp, false), site)), dsn: c.dsn, sample: provider}
	claims := func() map[string]any {
		return map[string]any{"org": "acme", "team": "research", "realm": map[string]any{"user": "ada"}}
	}
	spoofs := []string{"x-keel-org: evil", "x-keel-team: finance", "x-keel-user: eve", "x-keel-decision-id: 01988a3e-5f0c-7c31-9d5e-1b2a3c4d5e6f", "x-keel-target: attacker/gpt-9", "x-keel-provider: attacker"}
	with := func(token string) []string {
		return append(slices.Clone(spoofs), "authorization: Bearer "+token)
	}

	a := s.post(t, "/v1/chat/completions", helloCall, with(idp.token(t, time.Hour, claims()))...)
	wantSubject(t, s.subject(t, a), map[string]string{"org": "acme", "team": "research", "user": "ada", "site": "berlin"})
	s.record(t, a.decision()).want(t, record{"org": "acme", "provider": "openai"})

	calls := func() string {
		t.Helper()
		found, err := s.query(t, `select jsonb_build_object('decisions', (select count(*) from keel.decisions), 'settled', (select coalesce(sum(settled_n), 0) from keel.accounts))`)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(found, len(provider.Served()))
	}
	was := calls()
	for name, token := range map[string]string{
		"expired":             idp.token(t, -time.Hour, claims()),
		"of somebody else":    newIssuer(t).token(t, time.Hour, claims()),
		"changed":             strings.Replace(idp.token(t, time.Hour, claims()), ".", ".e30", 1),
		"without a signature": raw64([]byte(`{"alg":"none"}`)) + "." + raw64([]byte(`{"iss":"https://idp.example.com","org":"acme"}`)) + ".",
	} {
		if a := s.post(t, "/v1/chat/completions", helloCall, with(token)...); a.status != http.StatusUnauthorized {
			t.Errorf("a token %s: status %d", name, a.status)
		}
	}
	if now := calls(); now != was {
		t.Errorf("calls that Envoy refused left something: %s, before %s", now, was)
	}
}

// Without a token that says so, a label is missing, and a call belongs to the default organisation: no header makes up for it. A namespace that
// the filter is not told to forward is not seen.
func TestSpoofedSubjectHeader(t *testing.T) {
	t.Parallel()
	c, provider, config := startVerified(t)
	idp := newIssuer(t)
	site := filterOf(t, "envoy.filters.http.set_metadata", &setv3.Config{Metadata: []*setv3.Metadata{{
		MetadataNamespace: "gateway.site", Value: &structpb.Struct{Fields: map[string]*structpb.Value{"name": structpb.NewStringValue("berlin")}}}}})
	s := &stack{url: runAttached(t, config(), before(t, verifying(t, idp, true), site)), dsn: c.dsn, sample: provider}
	a := s.post(t, "/v1/chat/completions", helloCall, "x-keel-org: acme", "x-keel-team: finance", "x-keel-user: eve", "org: acme", "sub: eve",
		"x-forwarded-client-cert: By=spiffe://x;Hash=00;URI=spiffe://acme.example/ns/apps/sa/chat")
	wantSubject(t, s.subject(t, a), map[string]string{})
	s.record(t, a.decision()).want(t, record{"org": "default"})
}

// The decision id and the target are Keel's: what a client sends under their names is neither believed nor passed on.
func TestSpoofedDecisionAndTarget(t *testing.T) {
	t.Parallel()
	c, provider, config := startVerified(t)
	s := &stack{url: runAttached(t, config()), dsn: c.dsn, sample: provider}
	const forged = "01988a3e-5f0c-7c31-9d5e-1b2a3c4d5e6f"
	a := s.post(t, "/v1/chat/completions", helloCall, "x-keel-decision-id: "+forged, "x-keel-target: attacker/gpt-9", "x-keel-provider: attacker", "x-keel-cost-usd: 0", "x-request-id: "+forged)
	if a.status != http.StatusOK || a.decision() == forged || a.decision() == "" {
		t.Fatalf("status %d, decision %s: %s", a.status, a.decision(), a.body)
	}
	s.record(t, a.decision()).want(t, record{"provider": "openai", "model_routed": "gpt-4o-mini", "outcome": "complete"})
	if rows, err := s.query(t, "select to_jsonb(r) from keel.spend_records r where decision_id = '"+forged+"'"); err != nil || len(rows) > 0 {
		t.Errorf("there is a record under the id of the client: %v, %v", rows, err)
	}
	for name := range s.served(t, a).Header {
		if strings.HasPrefix(strings.ToLower(name), "x-keel-") {
			t.Errorf("the provider was sent %s", name)
		}
	}
}

// Who pays is the name in the certificate that Envoy verified.
func TestSubjectFromPeerCertificate(t *testing.T) {
	t.Parallel()
	c, provider, config := startVerified(t)
	apps, edge := peerstest.NewCA(t, "apps"), peerstest.NewCA(t, "edge")
	certificate, key := edge.Sign(t, peerstest.Lifetime(time.Hour), "127.0.0.1")
	inline := func(text []byte) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: text}}
	}
	url := runAttached(t, config(), func(b *bootstrapv3.Bootstrap) {
		b.StaticResources.Listeners[0].FilterChains[0].TransportSocket = &corev3.TransportSocket{Name: "envoy.transport_sockets.tls", ConfigType: &corev3.TransportSocket_TypedConfig{
			TypedConfig: packed(t, &tlsv3.DownstreamTlsContext{RequireClientCertificate: wrapperspb.Bool(true), CommonTlsContext: &tlsv3.CommonTlsContext{
				TlsCertificates:       []*tlsv3.TlsCertificate{{CertificateChain: inline(certificate), PrivateKey: inline(key)}},
				ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(apps.PEM)}},
			}})}}
	})
	url = strings.Replace(url, "http://", "https://", 1)
	call := func(ca *peerstest.CA, names ...string) (*http.Response, error) {
		certificate, key := ca.Sign(t, peerstest.Lifetime(time.Hour), names...)
		pair, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(edge.PEM)
		client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots}}}
		request, err := http.NewRequest(http.MethodPost, url+"/v1/chat/completions", strings.NewReader(helloCall))
		if err != nil {
			t.Fatal(err)
		}
		setHeaders(request, []string{"x-keel-app: eve", "x-forwarded-client-cert: By=spiffe://x;URI=spiffe://acme.example/ns/apps/sa/admin"})
		return client.Do(request)
	}
	s := &stack{url: url, dsn: c.dsn, sample: provider}
	for want, names := range map[string][]string{
		"spiffe://acme.example/ns/apps/sa/chat": {"spiffe://acme.example/ns/apps/sa/chat", "chat.acme.internal"},
		"chat.acme.internal":                    {"chat.acme.internal"},
	} {
		response, err := call(apps, names...)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		wantSubject(t, s.subject(t, &answer{status: response.StatusCode, header: response.Header}), map[string]string{"app": want})
	}
	if response, err := call(peerstest.NewCA(t, "somebody"), "spiffe://acme.example/ns/apps/sa/chat"); err == nil {
		response.Body.Close()
		t.Errorf("a certificate of somebody else: status %d", response.StatusCode)
	}
}
