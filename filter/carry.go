package filter

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/structpb"

	"keel/budget"
	"keel/filter/frame"
	"keel/filter/wire"
	"keel/pricing"
)

// What has to survive a stream travels with the call in Envoy's dynamic metadata,
// which no client can write: the decision from the filter at the router to every
// attempt, each attempt to those after it and back to the router, all of it to the
// access log. So it does not matter which replica gets which stream. A value is JSON in
// a string: numbers of dynamic metadata are floats.

// carriedAsked is what is known of a logged call before it is decided.
type carriedAsked struct {
	At       time.Time      `json:"at"`
	Method   string         `json:"method"`
	Path     string         `json:"path"`
	Provider string         `json:"provider,omitempty"`
	Subject  budget.Subject `json:"subject,omitempty"`
}

// carriedCall is what an attempt, and the end of a logged call, has to know of the decision.
type carriedCall struct {
	At              time.Time       `json:"at"`
	Method          string          `json:"method"`
	Path            string          `json:"path"`
	Asked           string          `json:"asked"` // the provider that the call would have gone to: with method and path it gives the format
	Stream          bool            `json:"stream,omitempty"`
	Provider        string          `json:"provider"` // where the call was sent
	Model           string          `json:"model"`
	ServiceTier     string          `json:"service_tier,omitempty"`
	Speed           string          `json:"speed,omitempty"`
	Region          string          `json:"region,omitempty"`
	SearchContext   string          `json:"search_context,omitempty"`
	InputBound      int64           `json:"input_tokens_bound"`
	OutputBound     int64           `json:"output_tokens_bound"`
	Bound           pricing.NanoUSD `json:"bound_usd"` // of one attempt
	Unpriced        string          `json:"unpriced,omitempty"`
	budget.Envelope `json:"envelope"`
	Rewrites        []budget.Rewrite `json:"rewrites,omitempty"`

	// Of a logged call.
	Input      int64  `json:"input_tokens,omitempty"` // likely
	WantsUsage bool   `json:"wants_usage,omitempty"`  // the stream was asked for its usage
	Choices    int64  `json:"choices,omitempty"`
	Background bool   `json:"background,omitempty"`
	Retrieval  bool   `json:"retrieval,omitempty"`
	Beside     string `json:"beside,omitempty"` // what is billed, and is not in the usage that Envoy can read

	Change *carriedChange `json:"change,omitempty"` // what is to be changed in it on its way, nil for nothing
}

// carryCall is the metadata of a call that is let out with an envelope.
func carryCall(call *Call) *structpb.Struct {
	d := call.decision
	c := carriedCall{
		At: d.At, Method: call.method, Path: call.path, Asked: call.provider, Stream: d.Stream, Provider: d.RoutedProvider, Model: d.RoutedModel,
		ServiceTier: d.ServiceTier, Speed: d.Speed, Region: d.Region, SearchContext: d.SearchContext,
		InputBound: d.Estimate.InputTokensBound, OutputBound: d.Estimate.OutputTokensBound, Bound: d.Estimate.Bound,
		Unpriced: d.Estimate.Unpriced, Envelope: d.Envelope, Rewrites: d.Rewrites,
	}
	if !call.logged {
		return carry(call, metadataCall, c.value())
	}
	c.Input, c.Background, c.Retrieval, c.Beside, c.Change = d.Estimate.InputTokens, call.request.Background, call.retrieval, call.beside, call.change
	c.WantsUsage, c.Choices = call.request.WantsUsage || call.request.UsageForced, call.request.Choices
	out := carry(call, metadataCall, c.value())
	out.Fields[metadataSpace].GetStructValue().Fields[metadataAsked] = askedAndDecided
	if call.retrieval || call.checked { // ext_authz adds the headers itself
		return out
	}
	fields := out.Fields[metadataSpace].GetStructValue().Fields
	for _, h := range responseHeaders(call) { // Envoy adds them to the answer, which does not pass here
		fields[h.Header.Key] = stringValue(string(h.Header.RawValue))
	}
	return out
}

// carryNothing is the metadata of a call that is not limited, or not decided yet: its name, and
// for a logged one what it is.
func carryNothing(call *Call) *structpb.Struct {
	if !call.logged {
		return carry(call, "", nil)
	}
	return carry(call, metadataAsked, carried(asked(call)))
}

var nothing, pending = structpb.NewStringValue(""), structpb.NewStringValue("true")

// askedAndDecided is what is left of a carriedAsked when the decision is carried, too: that it is a logged call.
var askedAndDecided = structpb.NewStringValue("{}")

func asked(call *Call) carriedAsked {
	return carriedAsked{At: call.at, Method: call.method, Path: call.path, Provider: call.provider, Subject: call.subject}
}

// carryPending is the metadata of a call that waits for its body. Should it go on without the filter, the access log can tell
// that nobody decided, and for a logged one what Envoy refused.
func carryPending(call *Call) *structpb.Struct {
	m := carryNothing(call)
	m.Fields[metadataSpace].GetStructValue().Fields[metadataPending] = pending
	return m
}

// carry is what is said of a call. Envoy adds it to what was said before, and where attempts pass Keel, too, sends all of it on with each message
// from there on.
func carry(call *Call, key string, value *structpb.Value) *structpb.Struct {
	fields := make(map[string]*structpb.Value, 4)
	fields[metadataPending] = nothing // takes back what was there
	if !call.admitted {
		fields[metadataDecision], fields[metadataOrg] = stringValue(call.id.String()), stringValue(call.org)
	}
	if key != "" {
		fields[key] = value
	}
	return inNamespace(fields)
}

// stringValue is a string as metadata have it, in one piece of memory.
func stringValue(text string) *structpb.Value {
	v := new(struct {
		value structpb.Value
		kind  structpb.Value_StringValue
	})
	v.kind.StringValue, v.value.Kind = text, &v.kind
	return &v.value
}

func inNamespace(fields map[string]*structpb.Value) *structpb.Struct {
	m := new(struct {
		all, space structpb.Struct
		value      structpb.Value
		kind       structpb.Value_StructValue
	})
	m.space.Fields, m.kind.StructValue, m.value.Kind = fields, &m.space, &m.kind
	m.all.Fields = map[string]*structpb.Value{metadataSpace: &m.value}
	return &m.all
}

// value is c in metadata.
func (c *carriedCall) value() *structpb.Value {
	var memory [512]byte // of most
	return stringValue(string(c.append(memory[:0])))
}

func carried(value any) *structpb.Value {
	return stringValue(string(appendRare(nil, value)))
}

// decision is what c says, as far as prices and envelopes need it.
func (c *carriedCall) decision(id uuid.UUID, org string, api wire.API) *budget.Decision {
	return &budget.Decision{
		Call: budget.Call{
			ID: id, Org: org, At: c.At, API: string(api), Stream: c.Stream,
			ServiceTier: c.ServiceTier, Speed: c.Speed, Region: c.Region, SearchContext: c.SearchContext,
		},
		RoutedProvider: c.Provider, RoutedModel: c.Model, Envelope: c.Envelope, Rewrites: c.Rewrites,
		Estimate: budget.Estimate{InputTokens: c.Input, InputTokensBound: c.InputBound, OutputTokensBound: c.OutputBound, Bound: c.Bound, Unpriced: c.Unpriced},
	}
}

// attemptKey is under which an attempt is carried.
func attemptKey(number int) string { return metadataAttempt + strconv.Itoa(number) }

// carriedAttempts reads the attempts that a message brings, in the order of their numbers.
func carriedAttempts(message *extprocv3.ProcessingRequest) (attempts []budget.Attempt, err error) {
	for key, value := range message.GetMetadataContext().GetFilterMetadata()[metadataSpace].GetFields() {
		if attempts, err = appendAttempt(attempts, key, []byte(value.GetStringValue())); err != nil {
			return nil, err
		}
	}
	return inOrder(attempts), nil
}

// attemptsIn reads those that a line of the access log tells of.
func attemptsIn(fields frame.Fields) (attempts []budget.Attempt, err error) {
	for i := range fields {
		if attempts, err = appendAttempt(attempts, string(fields[i].Key), fields[i].Text); err != nil {
			return nil, err
		}
	}
	return inOrder(attempts), nil
}

func appendAttempt(attempts []budget.Attempt, key string, text []byte) ([]budget.Attempt, error) {
	if !strings.HasPrefix(key, metadataAttempt) {
		return attempts, nil
	}
	var a budget.Attempt
	if err := json.Unmarshal(text, &a); err != nil {
		return nil, fmt.Errorf("keel: the metadata %s/%s can't be read: %w; does another filter write this namespace?", metadataSpace, key, err)
	}
	return append(attempts, a), nil
}

func inOrder(attempts []budget.Attempt) []budget.Attempt {
	slices.SortFunc(attempts, func(a, b budget.Attempt) int { return a.Number - b.Number })
	return attempts
}

// carriedIn is what travelled with a call: where ext_proc left it, else where ext_authz did.
func carriedIn(line *frame.Line) frame.Fields {
	if fields := line.Metadata(metadataSpace); len(fields) > 0 {
		return fields
	}
	return line.Metadata(authzSpace)
}

// orgIn is whose the call is. Most are of the one that is there without being named.
func orgIn(fields frame.Fields) string {
	org := fields.Text(metadataOrg)
	if string(org) == budget.DefaultOrg {
		return budget.DefaultOrg
	}
	return string(org)
}
