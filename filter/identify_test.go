package filter

import (
	"path/filepath"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"keel/budget"
)

func rule(org, label string, from budget.Source) budget.SubjectRule {
	return budget.SubjectRule{Meta: budget.Meta{Org: org, Name: label}, Label: label, From: from}
}

func TestSubject(t *testing.T) {
	t.Parallel()
	server, _ := newServer(t,
		rule("default", "org", budget.Source{Header: "x-keel-org"}),
		rule("default", "team", budget.Source{Header: "x-keel-team"}),
		rule("default", "user", budget.Source{Claim: "sub"}),
		rule("default", "app", budget.Source{Metadata: "mesh.identity/app.name"}),
		rule("default", "key", budget.Source{PeerSAN: true}),
		rule("acme", "team", budget.Source{Header: "x-acme-squad"}),
	)
	metadata := func(values map[string]any) *structpb.Struct {
		s, err := structpb.NewStruct(values)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	message := &extprocv3.ProcessingRequest{
		MetadataContext: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
			"envoy.filters.http.jwt_authn": metadata(map[string]any{"payload": map[string]any{"sub": "ada"}}),
			"mesh.identity":                metadata(map[string]any{"app": map[string]any{"name": "chat"}}),
		}},
		Attributes: map[string]*structpb.Struct{
			"envoy.filters.http.ext_proc": metadata(map[string]any{"connection.uri_san_peer_certificate": "spiffe://mesh/ns/a"}),
		},
	}
	for _, test := range []struct {
		name    string
		headers []string
		org     string
		want    budget.Subject
	}{
		{"every source", []string{"x-keel-team", "research"}, "default",
			budget.Subject{"team": "research", "user": "ada", "app": "chat", "key": "spiffe://mesh/ns/a"}},
		{"a header sent twice is one value", []string{"x-keel-team", "a", "x-keel-team", "b"}, "default",
			budget.Subject{"team": "a,b", "user": "ada", "app": "chat", "key": "spiffe://mesh/ns/a"}},
		{"an organisation with rules of its own", []string{"x-keel-org", "acme", "x-keel-team", "ignored", "x-acme-squad", "red"}, "acme",
			budget.Subject{"org": "acme", "team": "red"}},
		{"one without", []string{"x-keel-org", "other", "x-keel-team", "blue"}, "other",
			budget.Subject{"org": "other", "team": "blue", "user": "ada", "app": "chat", "key": "spiffe://mesh/ns/a"}},
	} {
		call := new(Call)
		server.identify(call, headers(append(test.headers, ":method", "POST", ":path", "/v1/chat/completions")...), message)
		if call.org != test.org || len(call.subject) != len(test.want) {
			t.Errorf("%s: org %s, subject %v; want %s, %v", test.name, call.org, call.subject, test.org, test.want)
			continue
		}
		for label, value := range test.want {
			if call.subject[label] != value {
				t.Errorf("%s: %s = %q, want %q", test.name, label, call.subject[label], value)
			}
		}
	}
}

// A label that asks for pseudonyms has nothing else, whatever the client sends, and another one in another org.
func TestPseudonymsAtIntake(t *testing.T) {
	t.Parallel()
	user := rule("default", "user", budget.Source{Header: "x-keel-user"})
	user.Pseudonym = true
	server, ledger := newServer(t, rule("default", "org", budget.Source{Header: "x-keel-org"}), user)
	file := filepath.Join(t.TempDir(), "key")
	if _, err := budget.AddPseudonymKey(file); err != nil {
		t.Fatal(err)
	}
	keys, err := budget.ReadPseudonymKeys(file)
	if err != nil {
		t.Fatal(err)
	}
	identified := func(values ...string) *Call {
		call := new(Call)
		server.identify(call, headers(append(values, ":method", "POST", ":path", "/v1/chat/completions")...), &extprocv3.ProcessingRequest{})
		return call
	}
	// Without a key nobody can be named, and so nobody is let through.
	call := identified("x-keel-user", "ada")
	answer := server.admit(call, false).GetImmediateResponse()
	if call.subject["user"] != "" || call.unkeyed != "user" || int(answer.GetStatus().GetCode()) != 503 || !strings.Contains(string(answer.GetBody()), "--pseudonym-key") {
		t.Errorf("without a key: %v, %v", call.subject, answer)
	}
	if len(ledger.recorded) != 1 || ledger.recorded[0].Denial.Code != "pseudonym_key_missing" {
		t.Errorf("recorded %v", ledger.recorded)
	}
	if call := identified(); call.unkeyed != "" {
		t.Error("a call without the label needs no key")
	}
	server.pseudonyms = keys
	for _, org := range []string{"", "acme"} {
		ada := identified("x-keel-user", "ada", "x-keel-org", org)
		if want := keys.Of(ada.org, "user", "ada"); ada.subject["user"] != want || ada.unkeyed != "" {
			t.Errorf("org %q: %v, want %s", org, ada.subject, want)
		}
		// Who sends a pseudonym does not become whose it is.
		if thief := identified("x-keel-user", ada.subject["user"], "x-keel-org", org); thief.subject["user"] == ada.subject["user"] {
			t.Error("a client chose its pseudonym")
		}
	}
}

// A value that is too long for a label is its hash, so that two of them are two subjects and none is anybody else.
func TestLongLabel(t *testing.T) {
	t.Parallel()
	server, _ := newServer(t, rule("default", "team", budget.Source{Header: "x-keel-team"}))
	read := func(value string) string {
		call := new(Call)
		server.identify(call, headers("x-keel-team", value, ":method", "POST", ":path", "/v1/chat/completions"), &extprocv3.ProcessingRequest{})
		return call.subject["team"]
	}
	long := strings.Repeat("a", 60<<10)
	a, b := read(long+"1"), read(long+"2")
	if len(a) != len("sha256:")+64 || a == b || a != read(long+"1") {
		t.Errorf("%d bytes: %.80s; %.80s", len(a), a, b)
	}
	if edge := strings.Repeat("é", maxLabelBytes/2); read(edge) != edge {
		t.Error("a label of 1024 bytes is changed")
	}
}

func TestSubjectFromDNSName(t *testing.T) {
	t.Parallel()
	server, _ := newServer(t, rule("default", "app", budget.Source{PeerSAN: true}))
	for want, names := range map[string]map[string]any{
		"spiffe://mesh/a": {"connection.uri_san_peer_certificate": "spiffe://mesh/a", "connection.dns_san_peer_certificate": "a.internal"},
		"a.internal":      {"connection.dns_san_peer_certificate": "a.internal"},
		"":                {},
	} {
		attributes, err := structpb.NewStruct(names)
		if err != nil {
			t.Fatal(err)
		}
		call := new(Call)
		server.identify(call, headers("x-forwarded-client-cert", "URI=spiffe://mesh/admin", ":method", "POST", ":path", "/v1/chat/completions"),
			&extprocv3.ProcessingRequest{Attributes: map[string]*structpb.Struct{attributeSpace: attributes}})
		if call.subject["app"] != want {
			t.Errorf("%v: %q, want %q", names, call.subject["app"], want)
		}
	}
}

func TestProvider(t *testing.T) {
	t.Parallel()
	server, _ := newServer(t)
	server.hosts = map[string]string{"api.x.ai": "xai"}
	for _, test := range []struct{ method, host, path, api, provider string }{
		{"POST", "127.0.0.1:10000", "/v1/chat/completions", "openai.chat", "openai"},
		{"POST", "API.x.ai:443", "/v1/chat/completions", "openai.chat", "xai"},
		{"POST", "localhost", "/v1/responses", "openai.responses", "openai"},
		{"POST", "localhost", "/v1/messages?beta=true", "anthropic.messages", "anthropic"},
		{"POST", "localhost", "/v1beta/models/gemini-2.5-pro:generateContent", "gemini.generateContent", "google"},
		{"POST", "localhost", "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", "gemini.streamGenerateContent", "google"},
		{"GET", "localhost", "/v1/chat/completions", "", ""},
		{"POST", "localhost", "/v1/messages/count_tokens", "anthropic.count_tokens", "anthropic"},
		{"GET", "localhost", "/v1/responses/resp_1", "openai.responses", "openai"},
		{"POST", "bedrock-runtime.us-east-1.amazonaws.com", "/model/amazon.nova-lite-v1:0/converse", "bedrock.converse", "bedrock"},
		{"POST", "localhost", "/v1/files", "", ""},
	} {
		call := new(Call)
		server.identify(call, headers(":method", test.method, ":authority", test.host, ":path", test.path, "x-keel-provider", "attacker"), &extprocv3.ProcessingRequest{})
		api := ""
		if call.codec != nil {
			api = string(call.codec.API())
		}
		if api != test.api || call.provider != test.provider {
			t.Errorf("%s %s at %s: api %q, provider %q; want %q, %q", test.method, test.path, test.host, api, call.provider, test.api, test.provider)
		}
	}
}
