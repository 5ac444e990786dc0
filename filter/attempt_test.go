package filter

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"keel/budget"
)

// upstreamStream is what the filter in the cluster sends.
type upstreamStream struct{ fakeStream }

func (u *upstreamStream) Context() context.Context {
	return metadata.NewIncomingContext(context.Background(), metadata.Pairs(envoyPhase, phaseUpstream))
}

const carriedText = `{"at":"2026-11-24T12:00:00Z","method":"POST","path":"/v1/chat/completions","asked":"openai","provider":"openai","model":"gpt-4o-mini",
	"input_tokens_bound":1000,"output_tokens_bound":100,"bound_usd":"0.00021","envelope":{"limit_usd":"0.00021","max_attempts":1,"mode":"enforce","unknown":"full"}}`

// attemptHeaders is the first message of attempt 2.
func attemptHeaders(call, before, host string) *extprocv3.ProcessingRequest {
	fields := map[string]*structpb.Value{metadataDecision: structpb.NewStringValue("019aaf00-0000-7000-8000-000000000002"), metadataOrg: structpb.NewStringValue("default")}
	if call != "" {
		fields[metadataCall] = structpb.NewStringValue(call)
	}
	if before != "" {
		fields[attemptKey(1)] = structpb.NewStringValue(before)
	}
	return &extprocv3.ProcessingRequest{
		Request:         &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: headers(":method", "POST", ":path", "/v1/chat/completions")},
		MetadataContext: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{metadataSpace: {Fields: fields}}},
		Attributes: map[string]*structpb.Struct{attributeSpace: {Fields: map[string]*structpb.Value{
			"upstream.request_attempt_count": structpb.NewNumberValue(2), "upstream.address": structpb.NewStringValue("192.0.2.1:443"), "xds.upstream_host_metadata": structpb.NewStringValue(host),
		}}},
	}
}

// Endpoints without a label are counted as the call's own, and where they are not surely that, it shows.
func TestAttemptAtAnEndpointWithoutALabel(t *testing.T) {
	t.Parallel()
	first := func(address string) string {
		return `{"number":1,"cost_usd":"0","basis":"free","address":"` + address + `"}`
	}
	for _, tt := range []struct {
		name, before, host, cluster string
		noted                       bool
	}{
		{"where the first went", first("192.0.2.1:443"), "", "", false},
		{"where the first went, as Envoy says it", first("192.0.2.1:443"), "NULL", "NULL", false},
		{"elsewhere", first("192.0.2.7:443"), "", "", true},
		{"elsewhere, as Envoy says it", first("192.0.2.7:443"), "NULL", "NULL", true},
		{"elsewhere, labelled", first("192.0.2.7:443"), host("openai", ""), "", false},
		{"the others of its cluster are labelled", first("192.0.2.1:443"), "", host("openai", ""), true},
		{"the first one, too", "", "", host("openai", ""), true},
		{"as is usual", "", host("openai", ""), host("openai", ""), false},
		{"a model alone", first("192.0.2.7:443"), host("", "gpt-4o-mini"), "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server, _ := newServer(t)
			message := attemptHeaders(carriedText, tt.before, tt.host)
			message.Attributes[attributeSpace].Fields["xds.cluster_metadata"] = structpb.NewStringValue(tt.cluster)
			stream := &upstreamStream{fakeStream{in: []*extprocv3.ProcessingRequest{message}, end: io.EOF}}
			server.Process(stream)
			a := written(t, stream.out[0])
			if noted := strings.Contains(a.Detail, "endpoint 192.0.2.1:443 has no metadata keel {provider, model}: counted as openai/gpt-4o-mini"); noted != tt.noted || !noted && a.Detail != "" {
				t.Errorf("noted: %v, %q", noted, a.Detail)
			}
			registry := prometheus.NewRegistry()
			registry.MustRegister(server.metrics.unlabelled)
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			if n := families[0].GetMetric()[0].GetCounter().GetValue(); n > 1 || (n == 1) != tt.noted {
				t.Errorf("counted %v times", n)
			}
		})
	}
}

func host(provider, model string) string {
	return `filter_metadata { key: "keel" value { fields { key: "provider" value { string_value: "` + provider + `" } } fields { key: "model" value { string_value: "` + model + `" } } } }`
}

func written(t *testing.T, answer *extprocv3.ProcessingResponse) (a budget.Attempt) {
	t.Helper()
	text := answer.GetDynamicMetadata().GetFields()[metadataSpace].GetStructValue().GetFields()[attemptKey(2)].GetStringValue()
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		t.Fatalf("the attempt is not in the metadata: %v: %v", err, answer)
	}
	return a
}

func TestAttemptIsAdmitted(t *testing.T) {
	t.Parallel()
	const free, billed = `{"number":1,"cost_usd":"0","basis":"free"}`, `{"number":1,"cost_usd":"0.000000001","basis":"usage"}`
	observed := strings.Replace(carriedText, "enforce", "observe", 1)
	rewritable := strings.Replace(strings.Replace(carriedText, "enforce", "prefer-cheap", 1), `"envelope":`,
		`"rewrites":[{"provider":"openai","model":"gpt-4o-nano","input_tokens_bound":1000,"output_tokens_bound":100,"bound_usd":"0.0001"}],"envelope":`, 1)
	for _, tt := range []struct {
		name, call, before, host string
		want                     string // the attempt, "" where it is not looked at, "!" where the call fails closed
	}{
		{"fits", carriedText, free, "", "openai/gpt-4o-mini lost 0.00021 full"},
		{"does not fit", carriedText, billed, "", "openai/gpt-4o-mini refused 0 free"},
		{"does not fit, observed", observed, billed, "", "openai/gpt-4o-mini lost 0.00021 full"},
		{"another model", strings.Replace(carriedText, "0.00021\",\"max", "0.1\",\"max", 1), free, host("openai", "gpt-4o"), "openai/gpt-4o lost 0.0035 full"},
		{"another model does not fit", carriedText, free, host("openai", "gpt-4o"), "openai/gpt-4o refused 0 free"},
		{"another provider without a price", carriedText, free, host("nobody", ""), "nobody/gpt-4o-mini refused 0 free"},
		{"does not fit, and is rewritten", rewritable, billed, host("openai", "gpt-4o"), "openai/gpt-4o-nano lost 0.0001 full"},
		{"does not fit, and nothing of the provider does", rewritable, billed, host("anthropic", "claude-haiku-4-5"), "anthropic/claude-haiku-4-5 lost 0.0025 full"},
		{"no envelope", "", "", "", ""},
		{"another filter writes there", "{", "", "", "!"},
		{"another filter writes an attempt", carriedText, "7", "", "!"},
		{"host metadata that is none", carriedText, "", "filter_metadata {", "!"},
		{"an API of a newer replica", strings.Replace(carriedText, "/v1/chat/completions", "/v9/thoughts", 1), "", "", "!"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server, _ := newServer(t)
			stream := &upstreamStream{fakeStream{in: []*extprocv3.ProcessingRequest{attemptHeaders(tt.call, tt.before, tt.host)}, end: io.EOF}}
			if err := server.Process(stream); status.Code(err) != codes.Unavailable {
				t.Errorf("ended with %v", err)
			}
			switch {
			case tt.want == "!":
				if len(stream.out) > 0 {
					t.Errorf("answered %v", stream.out)
				}
			case len(stream.out) != 1:
				t.Fatalf("%d answers", len(stream.out))
			case tt.want == "":
				if stream.out[0].GetRequestHeaders() == nil || stream.out[0].DynamicMetadata != nil {
					t.Errorf("answered %v", stream.out[0])
				}
			default:
				a := written(t, stream.out[0])
				if got := a.Provider + "/" + a.Model + " " + string(a.Ended) + " " + a.Cost.String() + " " + string(a.Basis); got != tt.want {
					t.Errorf("%s, want %s", got, tt.want)
				}
				refusal := stream.out[0].GetImmediateResponse()
				if refused := a.Ended == budget.AttemptRefused; refused != (refusal != nil) || refused && !bytes.Contains(refusal.Body, []byte(codeEnvelope)) {
					t.Errorf("answered %v", stream.out[0])
				}
				if buffers := stream.out[0].GetModeOverride().GetRequestBodyMode() == extprocfilterv3.ProcessingMode_BUFFERED; buffers != (a.Model != "gpt-4o-mini" && refusal == nil) {
					t.Errorf("asks for the body: %v", buffers)
				}
			}
		})
	}
}

// The body of an error tells what was billed, compressed or not; an attempt that went well is not read.
func TestAttemptIsObserved(t *testing.T) {
	t.Parallel()
	const failed = `{"error":{"message":"too late"},"usage":{"prompt_tokens":100,"completion_tokens":10,"total_tokens":110}}`
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	w.Write([]byte(failed))
	w.Close()
	for _, tt := range []struct {
		name string
		head []string
		body string
		want string
		read bool
	}{
		{"billed error", []string{":status", "503", "content-type", "application/json"}, failed, "failed 503 0.000021 usage; provider: too late", true},
		{"compressed", []string{":status", "503", "content-encoding", "gzip"}, zipped.String(), "failed 503 0.000021 usage; provider: too late", true},
		{"not what it says", []string{":status", "503", "content-encoding", "gzip"}, failed, "failed 503 0 free", true},
		{"unbilled error", []string{":status", "429"}, `{"error":{"message":"slow down"}}`, "failed 429 0 free; provider: slow down", true},
		{"too large to wait", []string{":status", "500", "content-length", "2000000"}, "", "failed 500 0 free", false},
		{"a stream that fails", []string{":status", "500", "content-type", "text/event-stream"}, "", "failed 500 0 free", false},
		{"answered", []string{":status", "200"}, "", "answered 200 0.00021 full", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server, _ := newServer(t)
			stream := &upstreamStream{fakeStream{in: []*extprocv3.ProcessingRequest{
				attemptHeaders(carriedText, "", ""),
				{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: headers(tt.head...)}},
				{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{Body: []byte(tt.body), EndOfStream: true}}},
			}, end: io.EOF}}
			server.Process(stream)
			if reads := stream.out[1].GetModeOverride() != nil; reads != tt.read {
				t.Errorf("asks for the body: %v", reads)
			}
			last := stream.out[1]
			if tt.read {
				last = stream.out[2]
			}
			a := written(t, last)
			got := string(a.Ended) + " " + a.Cost.String() + " " + string(a.Basis)
			want := strings.Fields(strings.ReplaceAll(tt.want, ";", " ;"))
			if got != want[0]+" "+want[2]+" "+want[3] || !strings.Contains(tt.want, "; ") != (a.Detail == "" || strings.Contains(a.Detail, "decoded")) {
				t.Errorf("%s; %s, want %s", got, a.Detail, tt.want)
			}
		})
	}
}

func TestAttemptIsRewritten(t *testing.T) {
	t.Parallel()
	server, _ := newServer(t)
	roomy := strings.Replace(carriedText, "0.00021\",\"max", "0.1\",\"max", 1)
	stream := &upstreamStream{fakeStream{in: []*extprocv3.ProcessingRequest{
		attemptHeaders(roomy, "", host("openai", "gpt-4o")),
		{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: []byte(`{"model":"gpt-4o-mini", "messages":[]}`), EndOfStream: true}}},
	}, end: io.EOF}}
	server.Process(stream)
	common := stream.out[1].GetRequestBody().GetResponse()
	if body := string(common.GetBodyMutation().GetBody()); body != `{"model":"gpt-4o", "messages":[]}` || len(common.GetHeaderMutation().GetSetHeaders()) != 2 {
		t.Errorf("%v", common)
	}
}

// Metadata is written by Keel alone, and read as if it were not.
func FuzzCarried(f *testing.F) {
	f.Add(carriedText, `{"number":1,"cost_usd":"0.1","basis":"usage"}`, host("openai", "gpt-4o"))
	f.Add(`{"method":"POST","path":"/v1/messages","asked":""}`, `{}`, ``)
	f.Add(`{"envelope":{"limit_usd":"99999999999999999999"}}`, `[]`, `filter_metadata {`)
	f.Fuzz(func(t *testing.T, call, before, host string) {
		server, _ := newServer(t)
		stream := &upstreamStream{fakeStream{in: []*extprocv3.ProcessingRequest{attemptHeaders(call, before, host)}, end: io.EOF}}
		if err := server.Process(stream); status.Code(err) != codes.Unavailable || strings.Contains(err.Error(), "internal error") {
			t.Errorf("%v", err)
		}
	})
}
