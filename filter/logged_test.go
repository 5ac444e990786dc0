package filter

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"math"
	"net/http"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"keel/budget"
	"keel/filter/frame"
	"keel/filter/wire"
	"keel/filter/wire/apis"
	"keel/pricing/meter"
)

// lightStream is a stream of a filter that sends requests only.
type lightStream struct {
	fakeStream
	usage string
}

func (l *lightStream) Context() context.Context {
	return metadata.NewIncomingContext(context.Background(), metadata.Pairs(envoyPhase, phaseLight, envoyUsage, l.usage))
}

// post is a request as ext_proc sends it, headers and body.
func post(path, body string) []*extprocv3.ProcessingRequest {
	return []*extprocv3.ProcessingRequest{
		{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: headers(":method", "POST", ":path", path, ":authority", "localhost", "content-type", "application/json")}},
		{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: []byte(body), EndOfStream: true}}},
	}
}

// entryOf is the access log entry of a call that was let out, with what Envoy found in its answer.
func entryOf(t *testing.T, kept map[string]*structpb.Value, contentType, details string, size uint64, usage map[string]any) *accesslogdatav3.HTTPAccessLogEntry {
	t.Helper()
	found, err := structpb.NewStruct(usage)
	if err != nil {
		t.Fatal(err)
	}
	return &accesslogdatav3.HTTPAccessLogEntry{
		CommonProperties: &accesslogdatav3.AccessLogCommon{
			Metadata:                    &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"keel": {Fields: kept}, usageSpace: found}},
			UpstreamRequestAttemptCount: 1, TimeToFirstUpstreamRxByte: durationpb.New(1),
		},
		Request: &accesslogdatav3.HTTPRequestProperties{Path: "/", Authority: "localhost"},
		Response: &accesslogdatav3.HTTPResponseProperties{
			ResponseCode: wrapperspb.UInt32(http.StatusOK), ResponseCodeDetails: details, ResponseBodyBytes: size,
			ResponseHeaders: map[string]string{"content-type": contentType},
		},
	}
}

// kept is what the answers of a stream leave in Envoy's metadata.
func kept(answers []*extprocv3.ProcessingResponse) map[string]*structpb.Value {
	all := make(map[string]*structpb.Value)
	for _, a := range answers {
		maps.Copy(all, a.GetDynamicMetadata().GetFields()[metadataSpace].GetStructValue().GetFields())
	}
	return all
}

// The access log ends a logged call, by what Envoy found in its answer, once.
func TestLoggedCallIsEndedByItsEntry(t *testing.T) {
	t.Parallel()
	const (
		chat    = `{"model":"gpt-4o-mini","max_tokens":20,"messages":[{"role":"user","content":"hi"}]}`
		message = `{"model":"claude-haiku-4-5","max_tokens":20,"stream":true,"messages":[{"role":"user","content":"hi"}]}`
		gemini  = `{"contents":[{"parts":[{"text":"hi"}]}],"generationConfig":{"maxOutputTokens":20}}`
		sound   = `{"contents":[{"parts":[{"text":"hi"},{"inlineData":{"mimeType":"audio/wav","data":"UklGRg=="}}]}],"generationConfig":{"maxOutputTokens":20}}`
		answers = `{"model":"gpt-4o-mini","max_output_tokens":20,"stream":true,"input":"hi","tools":[{"type":"web_search"}]}`
	)
	type entry struct {
		name, path, body, contentType, details string
		size                                   uint64
		usage                                  map[string]any
		outcome                                budget.Outcome
		metered                                budget.Metered
		want                                   meter.Usage
		says                                   string
		inOne                                  bool // as Keel's own filter of Envoy writes it
	}
	tests := []entry{
		{"json", "/v1/chat/completions", chat, "application/json", viaUpstream, 300, map[string]any{
			"id": "x", "model": "gpt-4o-mini", "usage.prompt_tokens": 9, "usage.completion_tokens": 3, "usage.prompt_tokens_details.cached_tokens": 2,
		}, budget.Complete, budget.ByProvider, meter.Usage{meter.Input: 7, meter.CachedInput: 2, meter.Output: 3}, "", false},
		{"json without usage", "/v1/chat/completions", chat, "application/json", viaUpstream, 30, nil, budget.Complete, budget.ByEstimate,
			meter.Usage{meter.Input: 8, meter.Output: 10}, "Envoy found no usage", false},
		{"events, one usage over another", "/v1/messages", message, "text/event-stream", viaUpstream, 900, map[string]any{
			"message.model": "claude-haiku-4-5", "message.usage{}": `{"input_tokens":9,"cache_read_input_tokens":4,"output_tokens":1}`,
			"usage{}": `{"output_tokens":17,"cache_read_input_tokens":null}`, "delta.stop_reason": "end_turn",
		}, budget.Complete, budget.ByProvider, meter.Usage{meter.Input: 9, meter.CachedInput: 4, meter.Output: 17}, "", false},
		{"cut behind the usage", "/v1/messages", message, "text/event-stream", "downstream_remote_disconnect", 900, map[string]any{
			"message.usage{}": `{"input_tokens":9,"output_tokens":1}`, "usage{}": `{"output_tokens":17}`, "delta.stop_reason": "end_turn",
		}, budget.Aborted, budget.ByProvider, meter.Usage{meter.Input: 9, meter.Output: 17}, "", false},
		{"cut before the usage", "/v1/messages", message, "text/event-stream", "downstream_remote_disconnect", 200, map[string]any{
			"message.usage{}": `{"input_tokens":9,"output_tokens":1}`,
		}, budget.Aborted, budget.ByEstimate, meter.Usage{meter.Input: 9, meter.Output: 10}, "cut after 200 bytes", false},
		{"one object in a stream of responses", "/v1/responses", strings.Replace(answers, `,"tools":[{"type":"web_search"}]`, "", 1), "text/event-stream", viaUpstream, 900, map[string]any{
			"response.id": "r", "response.status": "completed", "response.usage{}": `{"input_tokens":9,"output_tokens":3,"output_tokens_details":{"reasoning_tokens":1}}`,
		}, budget.Complete, budget.ByProvider, meter.Usage{meter.Input: 9, meter.Output: 2, meter.Reasoning: 1}, "", false},
		{"hosted tools", "/v1/responses", answers, "text/event-stream", viaUpstream, 900, map[string]any{
			"response.usage{}": `{"input_tokens":9,"output_tokens":3}`,
		}, budget.Complete, budget.ByEstimate, meter.Usage{meter.Input: 9, meter.Output: 3}, "calls of hosted tools can't be read", false},
		{"hosted tools that are counted", "/v1/responses", answers, "text/event-stream", viaUpstream, 900, map[string]any{
			"response.usage{}": `{"input_tokens":9,"output_tokens":3}`, "response.tool_usage{}": `{"web_search":{"num_requests":2}}`,
		}, budget.Complete, budget.ByProvider, meter.Usage{meter.Input: 9, meter.Output: 3, meter.WebSearch: 2}, "", false},
		{"gemini", "/v1beta/models/gemini-2.5-flash:generateContent", gemini, "application/json; charset=UTF-8", viaUpstream, 900, map[string]any{
			"usageMetadata.promptTokenCount": 9, "usageMetadata.candidatesTokenCount": 3, "usageMetadata.thoughtsTokenCount": 5,
		}, budget.Complete, budget.ByProvider, meter.Usage{meter.Input: 9, meter.Output: 3, meter.Reasoning: 5}, "", false},
		{"gemini hears", "/v1beta/models/gemini-2.5-flash:generateContent", sound, "application/json", viaUpstream, 900, map[string]any{
			"usageMetadata.promptTokenCount": 9, "usageMetadata.candidatesTokenCount": 3,
		}, budget.Complete, budget.ByEstimate, meter.Usage{meter.Input: 9, meter.Output: 3}, "the modalities of the usage can't be read", false},
		{"values that are none", "/v1/chat/completions", chat, "application/json", viaUpstream, 30, map[string]any{
			"usage{}": `not json`, "usage": "text", "usage.prompt_tokens": "many",
		}, budget.Complete, budget.ByEstimate, meter.Usage{meter.Input: 8, meter.Output: 10}, "Envoy found no usage", false},
	}
	for _, test := range tests {
		test.name, test.inOne = test.name+", in one text", true
		tests = append(tests, test)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server, ledger := newServer(t)
			stream := &lightStream{fakeStream: fakeStream{in: post(test.path, test.body), end: io.EOF}}
			if test.inOne {
				test.usage = inOne(test.usage, test.contentType)
			}
			server.Process(stream)
			if len(ledger.permitted) != 1 || len(ledger.closeouts) != 0 || len(stream.out) != 2 {
				t.Fatalf("%d permitted, %d closed before the log, %d answers; want 1, 0, 2", len(ledger.permitted), len(ledger.closeouts), len(stream.out))
			}
			server.noteSafely(server.note, lineOf(t, entryOf(t, kept(stream.out), test.contentType, test.details, test.size, test.usage)))
			if len(ledger.closeouts) != 1 || len(ledger.annotations) != 1 {
				t.Fatalf("%d closeouts, %d annotations; want 1 of each", len(ledger.closeouts), len(ledger.annotations))
			}
			c := ledger.closeouts[0]
			if c.ID != ledger.permitted[0].ID || c.Outcome != test.outcome || c.Metered != test.metered || !strings.Contains(c.Detail, test.says) || c.Usage == nil || *c.Usage != test.want {
				t.Errorf("%s %s %v %q; want %s %s %v %q", c.Outcome, c.Metered, c.Usage, c.Detail, test.outcome, test.metered, test.want, test.says)
			}
			if test.metered == budget.ByEstimate && strings.Contains(test.says, "can't be read") && c.Cost.Total != ledger.permitted[0].Estimate.Bound {
				t.Errorf("charged %s, want the bound %s", c.Cost.Total, ledger.permitted[0].Estimate.Bound)
			}
		})
	}
}

// Usage is forced where the filter says that it may be, and else only where the client asks.
func TestLightForcesUsageOnlyWhenTold(t *testing.T) {
	t.Parallel()
	for usage, want := range map[string]bool{"": false, usageForce: true} {
		server, _ := newServer(t)
		stream := &lightStream{fakeStream: fakeStream{in: post("/v1/chat/completions", `{"model":"gpt-4o-mini","stream":true,"messages":[]}`), end: io.EOF}, usage: usage}
		server.Process(stream)
		body := stream.out[1].GetRequestBody().GetResponse().GetBodyMutation().GetBody()
		if strings.Contains(string(body), "include_usage") != want {
			t.Errorf("%q: the body that goes out: %s", usage, body)
		}
	}
}

// check is a request as ext_authz asks about it.
func check(path, body string, headers map[string]string) *authv3.CheckRequest {
	all := map[string]string{":method": "POST", ":path": path, ":authority": "localhost", "content-type": "application/json"}
	maps.Copy(all, headers)
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Headers: all, RawBody: []byte(body), Size: int64(len(body))},
	}}}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	const chat = `{"model":"gpt-4o-mini","max_tokens":20,"messages":[{"role":"user","content":"hi"}]}`
	server, ledger := newServer(t)
	answer, err := server.Check(t.Context(), check("/v1/chat/completions", chat, map[string]string{"x-keel-target": "anthropic/x", "x-keel-org": "a", "accept-encoding": "gzip"}))
	if err != nil || answer.GetStatus().GetCode() != int32(codes.OK) || len(ledger.permitted) != 1 || len(ledger.closeouts) != 0 {
		t.Fatalf("%v, %v; %d permitted, %d closed", answer, err, len(ledger.permitted), len(ledger.closeouts))
	}
	ok := answer.GetOkResponse()
	if h := ok.GetHeaders(); len(h) != 1 || h[0].GetHeader().GetKey() != headerTarget || h[0].GetHeader().GetValue() != "openai/gpt-4o-mini" || h[0].GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
		t.Errorf("headers %v", h)
	}
	if removed := strings.Join(ok.GetHeadersToRemove(), ","); !strings.Contains(removed, "x-keel-org") || !strings.Contains(removed, "accept-encoding") || strings.Contains(removed, headerTarget) {
		t.Errorf("removed %s", removed)
	}
	fields := answer.GetDynamicMetadata().GetFields()
	if fields[metadataDecision].GetStringValue() != ledger.permitted[0].ID.String() || fields[metadataCall] == nil || len(ok.GetResponseHeadersToAdd()) < 2 {
		t.Errorf("metadata %v, response headers %v", fields, ok.GetResponseHeadersToAdd())
	}

	partial, err := server.Check(t.Context(), check("/v1/chat/completions", chat, map[string]string{partialBody: "true"}))
	if err != nil || partial.GetDeniedResponse().GetStatus().GetCode() != http.StatusRequestEntityTooLarge || len(ledger.recorded) != 1 {
		t.Errorf("a partial body: %v, %v", partial, err)
	}
	broken, err := server.Check(t.Context(), check("/v1/chat/completions", "{", nil))
	if err != nil || broken.GetDeniedResponse().GetStatus().GetCode() != http.StatusBadRequest {
		t.Errorf("a broken body: %v, %v", broken, err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := server.Check(gone, check("/v1/chat/completions", chat, nil)); err == nil || len(ledger.closeouts) != 1 || ledger.closeouts[0].Cost.Total != 0 || ledger.closeouts[0].Outcome != budget.Aborted {
		t.Errorf("nobody waits for the answer: %v, %d closed", err, len(ledger.closeouts))
	}
	ledger.panics = true
	if answer, err := server.Check(t.Context(), check("/v1/chat/completions", chat, nil)); err == nil {
		t.Errorf("a defect lets a call out: %v", answer)
	}
}

// inOne is what json_to_metadata and sse_to_metadata write as envoy/usage.lua does.
func inOne(found map[string]any, contentType string) map[string]any {
	if found == nil {
		return nil
	}
	key, paths := usageEvents, map[string]any{}
	if strings.HasPrefix(contentType, "application/json") {
		key = usageAnswer
	}
	for name, v := range found {
		path, whole := strings.CutSuffix(name, "{}")
		switch {
		case whole:
			if object, ok := decoded([]byte(v.(string))); ok {
				paths[path] = object
			}
		case key == usageAnswer:
			place(paths, strings.Split(path, "."), v)
		default:
			paths[path] = v
		}
	}
	text, err := json.Marshal(paths)
	if err != nil {
		panic(err)
	}
	return map[string]any{key: string(text)}
}

// Whatever stands in the metadata, it is read or left, and means no more than a body would.
func FuzzExtracted(f *testing.F) {
	f.Add("usage.prompt_tokens", "usage{}", `{"prompt_tokens":1,"completion_tokens":2}`, 9.0)
	f.Add("message.usage{}", "message", `{"input_tokens":null}`, 1e300)
	f.Add("response", "response.usage{}", `[]`, -1.0)
	f.Add("usage", "usage.", `{"usage":{}}`, 0.5)
	f.Add("usage.prompt_tokens", "", "", math.NaN())
	f.Add("usage.prompt_tokens", "{}", `{"usage":1}`, math.Inf(1))
	f.Add("", "answer", `{"id":"x","usage":{"prompt_tokens":1,"completion_tokens":2}}`, 0.0)
	f.Add("", "events", `{"message.usage":{"input_tokens":1},"usage":{"output_tokens":2},"delta.stop_reason":"end"}`, 0.0)
	f.Add("answer", "events", `{"response":[],"response.usage":{}}`, 1.0)
	f.Fuzz(func(t *testing.T, first, second, text string, number float64) {
		for _, path := range []string{"/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1beta/models/gemini-2.5-flash:generateContent"} {
			codec, _ := apis.Match("", http.MethodPost, path)
			for _, stream := range []bool{false, true} {
				request := &wire.Request{API: codec.API(), Stream: stream, Choices: 1}
				x := &extracted{ResponseReader: codec.NewReader(request, http.StatusOK, http.Header{"Content-Type": {"application/json"}}), written: 5}
				x.read(frame.Fields{{Key: []byte(first), Kind: frame.Number, Number: number}, {Key: []byte(second), Kind: frame.String, Text: []byte(text)}})
				reading := x.Reading()
				if reading.OutputBytes != 5 {
					t.Errorf("%s: %d bytes of output", path, reading.OutputBytes)
				}
				if u := reading.Usage; u != nil {
					for kind, n := range u {
						if n < 0 {
							t.Errorf("%s: meter %d is %d", path, kind, n)
						}
					}
				}
			}
		}
	})
}
