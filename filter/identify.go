package filter

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/structpb"

	"keel/budget"
	"keel/filter/wire"
	"keel/filter/wire/apis"
)

// Header and metadata names are contracts of the design.
const (
	headerPrefix     = "x-keel-"
	headerTarget     = "x-keel-target"
	headerDryRun     = "x-keel-dry-run"
	headerDecision   = "x-keel-decision-id"
	headerEstimate   = "x-keel-estimated-cost-usd"
	headerModel      = "x-keel-model"
	headerAsked      = "x-keel-requested-cost-usd" // what a substituted call would have cost where it was asked to go, as estimated
	headerCost       = "x-keel-cost-usd"
	headerWarning    = "x-keel-warning"
	headerRequestID  = "x-request-id" // Envoy's
	metadataSpace    = "keel"
	metadataDecision = "decision_id"
	metadataOrg      = "org"
	metadataPending  = "pending" // not "" while the call is not decided
	metadataCall     = "call"
	metadataAsked    = "asked"
	metadataAttempt  = "attempt_"
	attributeSpace   = "envoy.filters.http.ext_proc"
	jwtSpace         = "envoy.filters.http.jwt_authn"
	unknownAPI       = "unknown"

	// A stream says by gRPC metadata which filter it comes from; without it, from the one at the router.
	envoyPhase    = "x-keel-phase"
	phaseUpstream = "upstream"
	phaseLight    = "light" // the filter at the router sends requests only
	phaseFast     = "fast"  // ext_authz, with the filter behind it that changes what has to be changed
	phaseChange   = "change"

	// Whether usage may be forced where its event can't be hidden from the client.
	envoyUsage = "x-keel-usage"
	usageForce = "force"
)

// identify fills the first section of call from the request headers.
func (s *Server) identify(call *Call, headers *extprocv3.HttpHeaders, message *extprocv3.ProcessingRequest) {
	call.at = time.Now()
	call.id = uuid.Must(uuid.NewV7()) // fails only when the system has no randomness left
	call.config = s.config.Load()

	seen := requestHeaders{list: headers.GetHeaders().GetHeaders()}
	for _, h := range seen.list {
		name := strings.ToLower(h.Key)
		switch name {
		case ":method":
			call.method = headerValue(h)
		case ":authority":
			call.host = headerValue(h)
		case ":path":
			call.path = headerValue(h)
		case "content-encoding":
			call.encoding = headerValue(h)
		case "traceparent":
			call.parent[0] = headerValue(h)
		case "tracestate":
			call.parent[1] = headerValue(h)
		case headerDryRun:
			call.dryRun = strings.EqualFold(headerValue(h), "true")
		}
		if strings.HasPrefix(name, headerPrefix) {
			call.remove = append(call.remove, name)
		}
	}
	seen.metadata = message.GetMetadataContext().GetFilterMetadata()
	seen.peerSAN = cmp.Or(attribute(message, "connection.uri_san_peer_certificate"), attribute(message, "connection.dns_san_peer_certificate"))

	call.subject, call.org, call.unkeyed = subjectOf(call.config, &seen, s.pseudonyms)
	s.findFormat(call)
}

// findFormat finds the codec for the request line, nil for what Keel can't
// read, and names where the call goes unless a route says otherwise: by its
// Host, else by its API. x-keel-provider is a client's word and not asked:
// there is no configuration yet that trusts a peer with it.
func (s *Server) findFormat(call *Call) {
	host, _, _ := strings.Cut(strings.ToLower(call.host), ":")
	call.provider = s.hosts[host]
	if call.provider == "" {
		call.provider = apis.ProviderOf(host)
	}
	codec, ok := apis.Match(call.provider, call.method, call.path)
	if !ok {
		return
	}
	call.codec = codec
	if call.provider == "" {
		call.provider = apis.Maker(codec.API())
	}
}

// speaks reports whether a call of api can be sent to provider as it is, with
// another model at most: same format under the same path.
func speaks(provider string, api wire.API) bool {
	switch api {
	case wire.OpenAIResponses:
		return provider == "openai" || provider == "xai"
	case wire.OpenAIChat:
		switch provider {
		case "openai", "xai", "mistral", "deepseek":
			return true
		}
		return false
	}
	return provider == apis.Maker(api)
}

// requestHeaders is what subject rules read from.
type requestHeaders struct {
	list     []*corev3.HeaderValue
	metadata map[string]*structpb.Struct
	peerSAN  string
}

// value is that of a header, of repeated ones joined by comma, as HTTP does. Few are asked for, so they are looked for.
func (r *requestHeaders) value(name string) (value string) {
	found := false
	for _, h := range r.list {
		if !isNamed(h, name) {
			continue
		}
		if found {
			value += ","
		}
		value, found = value+headerValue(h), true
	}
	return value
}

// read returns what source says, "" when it says nothing.
func (r *requestHeaders) read(source budget.Source) string {
	switch {
	case source.Header != "":
		return r.value(source.Header)
	case source.Claim != "":
		// jwt_authn publishes the payload under a key of the operator's choice
		// (payload_in_metadata); the claim is looked for in each.
		for _, payload := range r.metadata[jwtSpace].GetFields() {
			if v := lookUp(payload.GetStructValue(), source.Claim); v != "" {
				return v
			}
		}
	case source.Metadata != "":
		space, key, _ := strings.Cut(source.Metadata, "/")
		return lookUp(r.metadata[space], key)
	case source.PeerSAN:
		return r.peerSAN
	}
	return ""
}

// lookUp reads a dotted key. Only strings, bools and lists of one are values of
// a label; everything else reads as missing.
func lookUp(in *structpb.Struct, key string) string {
	first, rest, nested := strings.Cut(key, ".")
	value := in.GetFields()[first]
	if nested {
		return lookUp(value.GetStructValue(), rest)
	}
	switch v := value.GetKind().(type) {
	case *structpb.Value_StringValue:
		return v.StringValue
	case *structpb.Value_BoolValue:
		if v.BoolValue {
			return "true"
		}
		return "false"
	case *structpb.Value_ListValue:
		if len(v.ListValue.Values) == 1 {
			return v.ListValue.Values[0].GetStringValue()
		}
	}
	return ""
}

// subjectOf reads who pays. The rules of the default organisation say which
// organisation it is; that one's own rules, where it has any, say the rest. Where a rule asks for
// pseudonyms the value is replaced here, and goes no further; unkeyed names a label for which that could not be done,
// because this processor has no key.
func subjectOf(config *budget.Config, headers *requestHeaders, keys *budget.PseudonymKeys) (subject budget.Subject, org, unkeyed string) {
	org = budget.DefaultOrg
	for _, rule := range config.Subjects(org) {
		if rule.Label != "org" {
			continue
		}
		if v := headers.read(rule.From); v != "" {
			org = boundedLabel(v)
			break
		}
	}
	rules := config.SubjectsOf(org)
	subject = make(budget.Subject, len(rules))
	for _, rule := range rules {
		v := headers.read(rule.From)
		switch {
		case v == "" || subject[rule.Label] != "":
			continue
		case rule.Pseudonym && keys == nil:
			unkeyed = rule.Label
			continue
		case rule.Pseudonym:
			v = keys.Of(org, rule.Label, v)
		}
		subject[rule.Label] = boundedLabel(v)
	}
	if org != budget.DefaultOrg {
		subject["org"] = org
	}
	return subject, org, unkeyed
}

// maxLabelBytes is what package budget/policy reckons with. It is far above what names are, and far below what a header may have.
const maxLabelBytes = 1024

// boundedLabel stands for a value that is too long by its hash: cut short it could be another's.
func boundedLabel(v string) string {
	if len(v) <= maxLabelBytes {
		return v
	}
	sum := sha256.Sum256([]byte(v))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func attribute(message *extprocv3.ProcessingRequest, name string) string {
	return message.GetAttributes()[attributeSpace].GetFields()[name].GetStringValue()
}

func attributeInt(message *extprocv3.ProcessingRequest, name string) int {
	return int(message.GetAttributes()[attributeSpace].GetFields()[name].GetNumberValue())
}
