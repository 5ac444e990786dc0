package anthropic

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keel/filter/wire"
	"keel/filter/wire/wiretest"
	"keel/pricing/meter"
)

// feed reads the response of a codec to a request that says nothing.
func feed(t testing.TB, codec wire.Codec, body string, seed uint64, end bool) wire.Reading {
	t.Helper()
	return wiretest.Read(t, codec, &wire.Request{}, wiretest.Response{Status: 200, Body: []byte(body), Open: !end}, seed)
}

func usage(kv map[meter.Kind]int64) *meter.Usage {
	u := new(meter.Usage)
	for k, n := range kv {
		u[k] = n
	}
	return u
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, start, delta string // of message_start and message_delta
		want               *meter.Usage
		raw                string
	}{
		{"delta replaces", `{"input_tokens":10,"output_tokens":1}`, `{"output_tokens":50}`,
			usage(map[meter.Kind]int64{meter.Input: 10, meter.Output: 50}), `{"input_tokens":10,"output_tokens":50}`},
		{"hosted tools grow the input", `{"input_tokens":2049,"output_tokens":1}`, `{"input_tokens":13520,"output_tokens":5,"server_tool_use":{"web_search_requests":2}}`,
			usage(map[meter.Kind]int64{meter.Input: 13520, meter.Output: 5, meter.WebSearch: 2}), `{"input_tokens":13520,"output_tokens":5,"server_tool_use":{"web_search_requests":2}}`},
		{"null replaces nothing", `{"input_tokens":10,"cache_read_input_tokens":7,"output_tokens":1}`, `{"input_tokens":null,"cache_read_input_tokens":null,"output_tokens":2}`,
			usage(map[meter.Kind]int64{meter.Input: 10, meter.CachedInput: 7, meter.Output: 2}), `{"input_tokens":10,"cache_read_input_tokens":7,"output_tokens":2}`},
		{"zero replaces", `{"input_tokens":100,"cache_read_input_tokens":55096,"output_tokens":1}`, `{"cache_read_input_tokens":0,"output_tokens":2}`,
			usage(map[meter.Kind]int64{meter.Input: 100, meter.Output: 2}), `{"input_tokens":100,"cache_read_input_tokens":0,"output_tokens":2}`},
		{"split by lifetime", `{"input_tokens":1,"cache_creation_input_tokens":30,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},"output_tokens":1}`, `{"output_tokens":2}`,
			usage(map[meter.Kind]int64{meter.Input: 1, meter.CacheWrite5m: 10, meter.CacheWrite1h: 20, meter.Output: 2}), ""},
		{"stale split", `{"input_tokens":1,"cache_creation_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":1}`, `{"cache_creation_input_tokens":17269,"output_tokens":2}`,
			usage(map[meter.Kind]int64{meter.Input: 1, meter.CacheWrite5m: 17269, meter.Output: 2}), ""},
		{"split over the sum", `{"input_tokens":1,"cache_creation":{"ephemeral_1h_input_tokens":50},"output_tokens":1}`, `{"cache_creation_input_tokens":20,"output_tokens":2}`,
			usage(map[meter.Kind]int64{meter.Input: 1, meter.CacheWrite1h: 20, meter.Output: 2}), ""},
		{"split without a sum", `{"input_tokens":1,"cache_creation":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":4},"output_tokens":1}`, `{"output_tokens":2}`,
			usage(map[meter.Kind]int64{meter.Input: 1, meter.CacheWrite5m: 3, meter.CacheWrite1h: 4, meter.Output: 2}), ""},
		{"thinking is inside the output", `{"input_tokens":1,"output_tokens":1}`, `{"output_tokens":20,"output_tokens_details":{"thinking_tokens":15}}`,
			usage(map[meter.Kind]int64{meter.Input: 1, meter.Output: 5, meter.Reasoning: 15}), ""},
		{"thinking is clamped", `{"input_tokens":1,"output_tokens":1}`, `{"output_tokens":20,"output_tokens_details":{"thinking_tokens":150}}`,
			usage(map[meter.Kind]int64{meter.Input: 1, meter.Reasoning: 20}), ""},
		{"iterations stay in the raw object", `{"input_tokens":1,"output_tokens":1}`, `{"output_tokens":2,"iterations":[{"type":"message"}]}`,
			usage(map[meter.Kind]int64{meter.Input: 1, meter.Output: 2}), `{"input_tokens":1,"output_tokens":2,"iterations":[{"type":"message"}]}`},
		{"fetching is free", `{"input_tokens":1,"output_tokens":1}`, `{"output_tokens":2,"server_tool_use":{"web_fetch_requests":3,"web_search_requests":0}}`,
			usage(map[meter.Kind]int64{meter.Input: 1, meter.Output: 2}), ""},
		{"none", `{}`, `{"service_tier":"standard"}`, nil, ""},
		{"nonsense is no count", `{"input_tokens":-1}`, `{"output_tokens":"many"}`, nil, ""},
	} {
		body := "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"m\",\"usage\":" + c.start + "}}\n\n" +
			"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{},\"usage\":" + c.delta + "}\n\n" +
			"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
		got := feed(t, messages, body, 0, true)
		if diff := cmp.Diff(c.want, got.Usage); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		if !got.Terminal || got.Partial || got.Model != "m" || got.ID != "msg_1" || got.Parts != nil || (got.RawUsage == nil) != (c.want == nil) || c.raw != "" && string(got.RawUsage) != c.raw {
			t.Errorf("%s: %+v, raw %s", c.name, got, got.RawUsage)
		}
	}
}

func TestTerms(t *testing.T) {
	t.Parallel()
	got := feed(t, messages, `{"usage":{"input_tokens":1,"output_tokens":1,"service_tier":"priority","inference_geo":"us","speed":"fast"}}`, 0, true)
	if got.ServiceTier != "priority" || got.Region != "us" || got.Speed != "fast" {
		t.Errorf("%+v", got)
	}
	// At Vertex AI the place in the path is what is billed, whatever the answer says.
	r, err := messages.ReadRequest(vertex, []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	got = wiretest.Read(t, messages, r, wiretest.Response{Status: 200, Body: []byte(`{"usage":{"input_tokens":1,"inference_geo":"global"}}`)}, 0)
	if got.Region != "" || r.Region != "us-east5" {
		t.Errorf("region %q of a request to %q", got.Region, r.Region)
	}
}

func TestIterations(t *testing.T) {
	t.Parallel()
	const head = `"input_tokens":100,"output_tokens":20,"output_tokens_details":{"thinking_tokens":5},"server_tool_use":{"web_search_requests":2},"cache_creation_input_tokens":0,"cache_read_input_tokens":0`
	own := usage(map[meter.Kind]int64{meter.Input: 100, meter.Output: 15, meter.Reasoning: 5, meter.WebSearch: 2})
	part := func(model string, kv map[meter.Kind]int64) meter.Part {
		return meter.Part{Model: model, Usage: *usage(kv)}
	}
	for _, c := range []struct {
		name, iterations string
		want             []meter.Part
	}{
		{"none", `[]`, nil},
		{"nonsense", `[7,{},{"type":"message"}]`, nil},
		{"the top level in pieces", `[{"type":"message","input_tokens":60,"output_tokens":5},{"type":"message","model":"m","input_tokens":40,"output_tokens":15}]`, nil},
		{"an advisor", `[{"input_tokens":60,"output_tokens":5},{"type":"advisor_message","model":"dear","input_tokens":70,"cache_read_input_tokens":9,"output_tokens":8},{"input_tokens":40,"output_tokens":15},{"type":"advisor_message","model":"dear","input_tokens":1,"output_tokens":1}]`,
			[]meter.Part{{Usage: *own}, part("dear", map[meter.Kind]int64{meter.Input: 71, meter.CachedInput: 9, meter.Output: 9})}},
		{"a compaction", `[{"type":"compaction","input_tokens":3,"cache_read_input_tokens":55096,"cache_creation_input_tokens":7,"cache_creation":{"ephemeral_1h_input_tokens":2},"output_tokens":83},{"type":"message","input_tokens":100,"output_tokens":20}]`,
			[]meter.Part{part("", map[meter.Kind]int64{meter.Input: 103, meter.CachedInput: 55096, meter.CacheWrite5m: 5, meter.CacheWrite1h: 2, meter.Output: 98, meter.Reasoning: 5, meter.WebSearch: 2})}},
		{"a large compaction", `[{"type":"compaction","input_tokens":150000,"output_tokens":83},{"type":"message","input_tokens":100,"output_tokens":20}]`,
			[]meter.Part{part("", map[meter.Kind]int64{meter.Input: 150000, meter.Output: 78, meter.Reasoning: 5, meter.WebSearch: 2}), part("", map[meter.Kind]int64{meter.Input: 100, meter.Output: 20})}},
		{"less than the top level", `[{"type":"message","input_tokens":60,"output_tokens":5}]`, nil},
		{"all by another model", `[{"type":"message","model":"other","input_tokens":100,"output_tokens":20}]`,
			[]meter.Part{part("", map[meter.Kind]int64{meter.WebSearch: 2}), part("other", map[meter.Kind]int64{meter.Input: 100, meter.Output: 20})}},
	} {
		for _, body := range []string{
			`{"model":"m","usage":{` + head + `,"iterations":` + c.iterations + `}}`,
			`{"usage":{"iterations":` + c.iterations + `,` + head + `},"model":"m"}`,
			"data: {\"type\":\"message_start\",\"message\":{\"model\":\"m\",\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n" +
				"data: {\"type\":\"message_delta\",\"usage\":{" + head + ",\"iterations\":" + c.iterations + "}}\n\n",
		} {
			got := feed(t, messages, body, 0, true)
			if diff := cmp.Diff(c.want, got.Parts); diff != "" {
				t.Errorf("%s: %s", c.name, diff)
			}
			if diff := cmp.Diff(own, got.Usage); diff != "" {
				t.Errorf("%s: the provider's own totals: %s", c.name, diff)
			}
		}
	}
}

func TestIterationsOfAnotherModelAlone(t *testing.T) {
	t.Parallel()
	got := feed(t, messages, `{"model":"m","usage":{"input_tokens":3,"output_tokens":2,"iterations":[{"model":"n","input_tokens":3,"output_tokens":2}]}}`, 0, true)
	want := []meter.Part{{Model: "n", Usage: *usage(map[meter.Kind]int64{meter.Input: 3, meter.Output: 2})}}
	if diff := cmp.Diff(want, got.Parts); diff != "" {
		t.Error(diff)
	}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	const (
		start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"m\",\"usage\":{\"input_tokens\":9,\"output_tokens\":1,\"service_tier\":\"standard\"}}}\n\n"
		text  = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"h\u00e9llo\"}}\n\n"
		args  = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{}\"}}\n\n"
		delta = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":5}}\n\n"
		stop  = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
		ouch  = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n"
		whole = `{"type":"message","model":"m","content":[{"type":"text","text":"abc"},{"type":"tool_use","input":{"x":1}},{"type":"web_search_tool_result","content":[{"text":"not ours"}]}],"usage":{"input_tokens":9,"output_tokens":5}}`
	)
	inOut := func(o int64) *meter.Usage {
		return usage(map[meter.Kind]int64{meter.Input: 9, meter.Output: o})
	}
	for _, c := range []struct {
		name, body        string
		end               bool
		usage             *meter.Usage
		terminal, partial bool
		failure           string
		bytes             int64
	}{
		{"stream", start + text + args + delta + stop, false, inOut(5), true, false, "", 8},
		{"stream with CRLF", strings.ReplaceAll(start+text+delta+stop, "\n", "\r\n"), true, inOut(5), true, false, "", 6},
		{"cut before the delta", start + text, true, inOut(1), false, true, "", 6},
		{"cut before the stop", start + text + delta, true, inOut(5), false, false, "", 6},
		{"cut in the stop", start + delta + stop[:len(stop)-1], true, inOut(5), false, false, "", 0},
		{"error event", start + ouch, true, inOut(1), false, true, "Overloaded", 0},
		{"message", whole, false, inOut(5), true, false, "", 3 + 7},
		{"message in space", "\n " + whole + " \n", true, inOut(5), true, false, "", 3 + 7},
		{"message cut", whole[:len(whole)-1], true, nil, false, false, "", int64(len(whole)) - 1},
		{"message and more", whole + "x", true, inOut(5), false, false, "", 3 + 7},
		{"half a usage", `{"usage":{"input_tokens":9}}`, true, inOut(0), true, true, "", 0},
		{"error", `{"type":"error","error":{"type":"rate_limit_error","message":"slow"},"request_id":"r"}`, true, nil, true, false, "slow", 0},
		{"error in a list", `[{"error":{"code":429,"message":"slow"}}]`, true, nil, true, false, "slow", 0},
		{"error as a text", `{"error":"slow"}`, true, nil, true, false, "slow", 0},
		{"error of a proxy", `{"message":"slow"}`, true, nil, true, false, "slow", 0},
		{"text", "Not Found", true, nil, false, false, "", 0},
		{"nothing", "", true, nil, false, false, "", 0},
	} {
		for seed := range uint64(20) {
			got := feed(t, messages, c.body, seed, c.end)
			if diff := cmp.Diff(c.usage, got.Usage); diff != "" || got.Terminal != c.terminal || got.Partial != c.partial || got.Failure != c.failure || got.OutputBytes != c.bytes {
				t.Errorf("%s, seed %d: %s %+v", c.name, seed, diff, got)
				break
			}
		}
	}
}

// Behind each event of a stream, what it told is known, and nothing less than before.
func TestStreamCutBetweenEvents(t *testing.T) {
	t.Parallel()
	events := []string{
		`{"type":"message_start","message":{"id":"a","model":"m","usage":{"input_tokens":9,"cache_read_input_tokens":4,"output_tokens":1}}}`,
		`{"type":"content_block_start","content_block":{"type":"text","text":""}}`, `{"type":"ping"}`,
		`{"type":"content_block_delta","delta":{"type":"text_delta","text":"hello"}}`,
		`{"type":"message_delta","delta":{},"usage":{"output_tokens":50}}`, `{"type":"message_stop"}`,
	}
	body := ""
	for i, event := range events {
		body += "data: " + event + "\n\n"
		got := feed(t, messages, body, uint64(i), false)
		output, final := int64(1), i >= 4
		if final {
			output = 50
		}
		if got.Usage == nil || got.Usage.InputTokens() != 13 || got.Usage.OutputTokens() != output || got.Partial == final || got.Terminal != (i == 5) {
			t.Errorf("behind %s: %+v", event, got)
		}
	}
}

func TestCounted(t *testing.T) {
	t.Parallel()
	got := feed(t, countTokens, `{"input_tokens":1114,"context_management":{"original_input_tokens":9}}`, 0, true)
	if got.Usage == nil || *got.Usage != *usage(map[meter.Kind]int64{meter.UnbilledInput: 1114}) || !got.Terminal || got.Partial {
		t.Errorf("%+v", got)
	}
	if got = feed(t, countTokens, `{"error":{"message":"no"}}`, 0, true); got.Usage != nil || got.Failure != "no" {
		t.Errorf("%+v", got)
	}
}

func TestCompletions(t *testing.T) {
	t.Parallel()
	got := feed(t, complete, `{"type":"completion","id":"compl_1","completion":" Hello","stop_reason":"stop_sequence","model":"claude-2.1","stop":"x","log_id":"l"}`, 0, true)
	if !got.Terminal || got.Usage != nil || got.ID != "compl_1" || got.Model != "claude-2.1" || got.OutputBytes != 6 {
		t.Errorf("%+v", got)
	}
	const first, last = "event: completion\r\ndata: {\"completion\":\" Hel\",\"stop_reason\":null}\r\n\r\nevent: ping\r\ndata: {}\r\n\r\n", "event: completion\r\ndata: {\"completion\":\"lo\",\"stop_reason\":\"max_tokens\"}\r\n\r\n"
	if got = feed(t, complete, first, 1, true); got.Terminal || got.OutputBytes != 4 {
		t.Errorf("cut: %+v", got)
	}
	if got = feed(t, complete, first+last, 1, false); !got.Terminal || got.OutputBytes != 6 || got.Usage != nil {
		t.Errorf("%+v", got)
	}
	if got = feed(t, complete, "data: {\"completion\":\"a\"}\n\ndata: [DONE]\n\n", 1, false); !got.Terminal {
		t.Errorf("%+v", got)
	}
}
