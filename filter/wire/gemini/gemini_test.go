package gemini

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keel/filter/wire"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

const path = "/v1beta/models/gemini-2.5-flash:generateContent"

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ path, api, model string }{
		{path, "gemini.generateContent", "gemini-2.5-flash"},
		{"/v1/models/gemini-3-pro:streamGenerateContent?alt=sse", "gemini.streamGenerateContent", "gemini-3-pro"},
		{"/v1beta1/projects/p/locations/global/publishers/google/models/gemini-2.5-pro:generateContent", "gemini.generateContent", "gemini-2.5-pro"},
		{"/gateway/v1beta/tunedModels/mine:generateContent", "gemini.generateContent", "tunedModels/mine"},
		{"/v1beta/models/gemini-2.5-flash%3AgenerateContent", "gemini.generateContent", "gemini-2.5-flash"},
		{"/v1beta/models/a%20b:generateContent", "gemini.generateContent", "a b"},
		{"/v1beta/models/gemini-2.5-flash:countTokens", "", ""},
		{"/v1beta/models/gemini-2.5-flash", "", ""},
		{"/v1beta/models/:generateContent", "", ""},
		{"/x?y=/models/m:generateContent", "", ""},
		{":generateContent", "", ""},
		{"/models/%zz:generateContent", "", ""},
	} {
		codec, ok := Match(http.MethodPost, c.path)
		if ok != (c.api != "") || ok && string(codec.API()) != c.api {
			t.Errorf("%s: %v %v", c.path, codec, ok)
		}
		if ok {
			r, err := codec.ReadRequest(c.path, []byte(`{}`))
			if err != nil || r.Model != c.model || r.Stream != strings.HasPrefix(c.api, "gemini.stream") {
				t.Errorf("%s: %+v, %v; want model %s", c.path, r, err, c.model)
			}
		}
		if _, ok := Match(http.MethodGet, c.path); ok {
			t.Errorf("GET %s is matched", c.path)
		}
	}
}

func TestPrompt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, body string
		want       tokens.Prompt
	}{
		{"text", `{"contents":[{"role":"user","parts":[{"text":"h\u00e9llo"}]},{"parts":[{"text":"you"}]}]}`, tokens.Prompt{TextBytes: 9, Messages: 2}},
		{"single values", `{"contents":{"parts":{"text":"hello"}}}`, tokens.Prompt{TextBytes: 5, Messages: 1}},
		{"bare texts", `{"contents":"hello","system_instruction":"be"}`, tokens.Prompt{TextBytes: 7, Messages: 1}},
		{"list of texts", `{"contents":["hello",{"text":"you"}]}`, tokens.Prompt{TextBytes: 8, Messages: 2}},
		{"system", `{"systemInstruction":{"role":"system","parts":[{"text":"hello"}]},"contents":null}`, tokens.Prompt{TextBytes: 5}},
		{"media, both casings", `{"contents":[{"parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"}},{"inline_data":{"data":"AAAAAAAA","mime_type":"audio/wav"}}]}]}`,
			tokens.Prompt{Messages: 1, Images: 1, ImageBytes: 4, Media: 1, MediaBytes: 8}},
		{"file", `{"contents":[{"parts":[{"file_data":{"fileUri":"gs://x"}}]}]}`, tokens.Prompt{Messages: 1, Opaque: "fileData"}},
		{"cache", `{"contents":[],"cachedContent":"cachedContents/1"}`, tokens.Prompt{Opaque: "cachedContent"}},
		{"no cache", `{"contents":[],"cachedContent":null}`, tokens.Prompt{}},
		{"functions", `{"tools":[{"functionDeclarations":[{"name":"a"},{"name":"b"}]}]}`, tokens.Prompt{Tools: 2, ToolBytes: 27}},
		{"functions as an object", `{"tools":{"function_declarations":{"name":"a"}}}`, tokens.Prompt{Tools: 1, ToolBytes: 12}},
		{"hosted tool", `{"tools":[{"functionDeclarations":[{"name":"a"}]},{"google_search":{}}]}`, tokens.Prompt{Tools: 1, ToolBytes: 14, Opaque: "tool google_search"}},
		{"no hosted tool", `{"tools":[{"googleSearch":null}]}`, tokens.Prompt{}},
		{"schema", `{"generationConfig":{"responseSchema":{"type":"OBJECT"}}}`, tokens.Prompt{SchemaBytes: 17}},
		{"function call", `{"contents":[{"parts":[{"functionCall":{"args":{}},"thoughtSignature":"AAAAAA"},{"functionResponse":{"response":{},"parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"}}]}}]}]}`,
			tokens.Prompt{TextBytes: int64(len(`{"args":{}}`) + len(`{}`)), Messages: 1, Images: 1, ImageBytes: 4}},
		{"code", `{"contents":[{"parts":[{"executableCode":{"language":"PYTHON","code":"1+1"}}]}]}`, tokens.Prompt{TextBytes: 9, Messages: 1}},
	} {
		r, err := Codec{}.ReadRequest(path, []byte(c.body))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(c.want, r.Prompt); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestLimitsAndChoices(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		body           string
		limit, choices int64
	}{
		{`{"generationConfig":{"maxOutputTokens":10,"candidateCount":2}}`, 10, 2},
		{`{"generation_config":{"max_output_tokens":"10","candidate_count":"3"}}`, 10, 3},
		{`{"generationConfig":{"maxOutputTokens":null,"candidateCount":0}}`, 0, 1},
		{`{"generationConfig":null}`, 0, 1},
	} {
		r, err := Codec{}.ReadRequest(path, []byte(c.body))
		if err != nil || r.MaxOutputTokens != c.limit || r.Choices != c.choices {
			t.Errorf("%s: %+v, %v", c.body, r, err)
		}
	}
}

func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"generationConfig":{"maxOutputTokens":0}}`,
		`{"generationConfig":{"maxOutputTokens":-1}}`,
		`{"generationConfig":{"maxOutputTokens":"ten"}}`,
		`{"generationConfig":{"maxOutputTokens":1.5}}`,
		`{"generationConfig":{"candidateCount":-1}}`,
		`{"generationConfig":{"maxOutputTokens":5,"max_output_tokens":5000}}`,
		`{"generationConfig":{"maxOutputTokens":5},"generation_config":{"maxOutputTokens":5000}}`,
		`{"generationConfig":{"topK":1},"generation_config":{"maxOutputTokens":5000}}`,
		`{"systemInstruction":"a","system_instruction":"b"}`,
		`{"model":"models/gemini-3-pro"}`,
	} {
		_, err := Codec{}.ReadRequest(path, []byte(body))
		var want *wire.RequestError
		if !errors.As(err, &want) {
			t.Errorf("%s: %v, want a RequestError", body, err)
		}
	}
	for _, body := range []string{``, `[]`, `{"contents":[}`, `{"contents":[],"contents":[]}`, "{\"contents\":\"\xff\"}", `{} {}`} {
		_, err := Codec{}.ReadRequest(path, []byte(body))
		var want *wire.SyntaxError
		if !errors.As(err, &want) {
			t.Errorf("%s: %v, want a SyntaxError", body, err)
		}
	}
	if _, err := (Codec{}).ReadRequest("/v1/chat", []byte(`{}`)); err == nil {
		t.Error("a path without a model is read")
	}
}

func TestRewrite(t *testing.T) {
	t.Parallel()
	const query = "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"
	for _, c := range []struct {
		name, path, body string
		edit             wire.Edit
		wantPath, want   string
	}{
		{"nothing", query, ` {"contents": []} `, wire.Edit{ForceUsage: true}, query, ` {"contents": []} `},
		{"model", query, `{"contents":[]}`, wire.Edit{Model: "gemini-2.5-flash"}, "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", `{"contents":[]}`},
		{"model at Vertex", "/v1/projects/p/publishers/google/models/gemini-2.5-pro:generateContent", `{}`, wire.Edit{Model: "m"}, "/v1/projects/p/publishers/google/models/m:generateContent", `{}`},
		{"model to a tuned one", path, `{}`, wire.Edit{Model: "tunedModels/a b"}, "/v1beta/tunedModels/a%20b:generateContent", `{}`},
		{"model in the body too", query, `{"model": "models/gemini-2.5-pro"}`, wire.Edit{Model: "m"}, "/v1beta/models/m:streamGenerateContent?alt=sse", `{"model": "models/m"}`},
		{"lower", query, `{"generationConfig": {"maxOutputTokens": 100, "topK": 1}}`, wire.Edit{MaxOutputTokens: 7}, query, `{"generationConfig": {"maxOutputTokens": 7, "topK": 1}}`},
		{"lower snake", query, `{"generation_config": {"max_output_tokens": "100"}}`, wire.Edit{MaxOutputTokens: 7}, query, `{"generation_config": {"max_output_tokens": 7}}`},
		{"not raised", query, `{"generationConfig":{"maxOutputTokens":5}}`, wire.Edit{MaxOutputTokens: 7}, query, `{"generationConfig":{"maxOutputTokens":5}}`},
		{"null", query, `{"generationConfig":{"maxOutputTokens":null}}`, wire.Edit{MaxOutputTokens: 7}, query, `{"generationConfig":{"maxOutputTokens":7}}`},
		{"into the config", query, `{"generationConfig":{ "topK":1}}`, wire.Edit{MaxOutputTokens: 7}, query, `{"generationConfig":{"maxOutputTokens":7, "topK":1}}`},
		{"into an empty config", query, `{"generation_config":{ }}`, wire.Edit{MaxOutputTokens: 7}, query, `{"generation_config":{"maxOutputTokens":7 }}`},
		{"null config", query, `{"generationConfig": null}`, wire.Edit{MaxOutputTokens: 7}, query, `{"generationConfig": {"maxOutputTokens":7}}`},
		{"no config", query, `{ "contents":[]}`, wire.Edit{MaxOutputTokens: 7}, query, `{"generationConfig":{"maxOutputTokens":7}, "contents":[]}`},
		{"empty", query, `{}`, wire.Edit{MaxOutputTokens: 7}, query, `{"generationConfig":{"maxOutputTokens":7}}`},
	} {
		codec, _ := Match(http.MethodPost, c.path)
		r, err := codec.ReadRequest(c.path, []byte(c.body))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		gotPath, got := codec.Rewrite(r, c.path, []byte(c.body), c.edit)
		if gotPath != c.wantPath || string(got) != c.want {
			t.Errorf("%s: %s %s, want %s %s", c.name, gotPath, got, c.wantPath, c.want)
		}
		again, err := codec.ReadRequest(gotPath, got)
		if err != nil || c.edit.Model != "" && again.Model != c.edit.Model || c.edit.MaxOutputTokens > 0 && (again.MaxOutputTokens < 1 || again.MaxOutputTokens > c.edit.MaxOutputTokens) {
			t.Errorf("%s: read again: %+v, %v", c.name, again, err)
		}
	}
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
		name, metadata string
		want           *meter.Usage
	}{
		{"none", `{"trafficType":"ON_DEMAND"}`, nil},
		{"thoughts and tools stand beside", `{"promptTokenCount":10,"toolUsePromptTokenCount":5,"candidatesTokenCount":3,"thoughtsTokenCount":7,"totalTokenCount":25}`,
			usage(map[meter.Kind]int64{meter.Input: 15, meter.Output: 3, meter.Reasoning: 7})},
		{"no candidates", `{"promptTokenCount":10,"thoughtsTokenCount":7}`, usage(map[meter.Kind]int64{meter.Input: 10, meter.Reasoning: 7})},
		{"cached is inside", `{"promptTokenCount":10,"cachedContentTokenCount":4}`, usage(map[meter.Kind]int64{meter.Input: 6, meter.CachedInput: 4})},
		{"cached is clamped", `{"promptTokenCount":10,"cachedContentTokenCount":40}`, usage(map[meter.Kind]int64{meter.CachedInput: 10})},
		{"modalities", `{"promptTokenCount":100,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":30},{"modality":"IMAGE","tokenCount":20},{"modality":"VIDEO","tokenCount":10}],"candidatesTokenCount":50,"candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":40}]}`,
			usage(map[meter.Kind]int64{meter.Input: 50, meter.InputAudio: 30, meter.InputImage: 20, meter.Output: 10, meter.OutputImage: 40})},
		{"modalities as numbers", `{"promptTokenCount":100,"promptTokensDetails":[{"modality":4,"tokenCount":30},{"modality":2,"tokenCount":20},{"modality":1,"tokenCount":50}]}`,
			usage(map[meter.Kind]int64{meter.Input: 50, meter.InputAudio: 30, meter.InputImage: 20})},
		{"cached audio", `{"promptTokenCount":100,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":30}],"cachedContentTokenCount":40,"cacheTokensDetails":[{"modality":"AUDIO","tokenCount":25},{"modality":"TEXT","tokenCount":15}]}`,
			usage(map[meter.Kind]int64{meter.Input: 55, meter.InputAudio: 5, meter.CachedInputAudio: 25, meter.CachedInput: 15})},
		{"modalities over the sum", `{"promptTokenCount":10,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":30},{"modality":"IMAGE","tokenCount":30}]}`,
			usage(map[meter.Kind]int64{meter.InputAudio: 10})},
		{"nonsense is no count", `{"promptTokenCount":-3,"candidatesTokenCount":"many"}`, nil},
	} {
		for _, body := range []string{
			`{"candidates":[{"finishReason":"STOP"}],"usageMetadata":` + c.metadata + `}`,
			`{"usageMetadata":` + c.metadata + `,"candidates":[{"finishReason":"STOP"}]}`,
		} {
			got := feed(t, &wire.Request{}, body, 0, true)
			if diff := cmp.Diff(c.want, got.Usage); diff != "" {
				t.Errorf("%s: %s", c.name, diff)
			}
			if (got.RawUsage == nil) != (c.want == nil) || !got.Terminal || got.Partial {
				t.Errorf("%s: %+v", c.name, got)
			}
		}
	}
	if got := feed(t, &wire.Request{}, `{"usageMetadata":{"trafficType":"ON_DEMAND"},"promptFeedback":{"blockReason":"MODEL_ARMOR"}}`, 0, true); got.Usage == nil || *got.Usage != (meter.Usage{}) {
		t.Errorf("a blocked prompt used %v, want zero", got.Usage)
	}
}

func TestStreams(t *testing.T) {
	t.Parallel()
	const (
		running = `{"candidates":[{"content":{"parts":[{"text":"héllo"}]}}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":90},"modelVersion":"gemini-2.5-flash"}`
		last    = `{"candidates":[{"content":{"parts":[{"functionCall":{}}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":4,"serviceTier":"standard"}}`
		second  = `{"candidates":[{"index":1}],"usageMetadata":{"promptTokenCount":8}}`
		failed  = `{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}`
	)
	sse := func(docs ...string) string { return "data: " + strings.Join(docs, "\r\n\r\ndata: ") + "\r\n\r\n" }
	list := func(docs ...string) string { return "[" + strings.Join(docs, "\n,\r\n") + "]" }
	in := func(n int64) *meter.Usage { return usage(map[meter.Kind]int64{meter.Input: n}) }
	inOut := func(i, o int64) *meter.Usage {
		return usage(map[meter.Kind]int64{meter.Input: i, meter.Output: o})
	}
	for _, c := range []struct {
		name, body string
		end        bool
		usage      *meter.Usage
		terminal   bool
		partial    bool
		failure    string
	}{
		{"sse", sse(running, last), true, inOut(8, 4), true, false, ""},
		{"sse without end", sse(running, last), false, inOut(8, 4), false, false, ""},
		{"sse cut", sse(running), true, inOut(9, 90), false, true, ""},
		{"sse with half an event behind", sse(running, last) + "data: {", true, inOut(8, 4), false, false, ""},
		{"sse with a broken event", sse("{", last), true, inOut(8, 4), false, false, ""},
		{"sse, a candidate is missing", sse(second, last), true, inOut(8, 4), false, true, ""},
		{"sse error", sse(running, failed), true, inOut(9, 90), false, true, "overloaded"},
		{"list", list(running, last), false, inOut(8, 4), true, false, ""},
		{"list cut behind an element", "[" + running, true, inOut(9, 90), false, true, ""},
		{"list cut in an element", "[" + running + "," + last[:60], true, inOut(9, 90), false, true, ""},
		{"list of an error", list(failed), true, nil, true, false, "overloaded"},
		{"empty list", "[]", true, nil, true, false, ""},
		{"object and more", last + "x", true, inOut(8, 4), false, false, ""},
		{"two objects", last + last, true, inOut(8, 4), false, false, ""},
		{"list of numbers", "[1]", true, nil, false, false, ""},
		{"error", failed, true, nil, true, false, "overloaded"},
		{"error as a text", `{"error":"no"}`, true, nil, true, false, "no"},
		{"text", "Not Found", true, nil, false, false, ""},
		{"prompt only", list(second), true, in(8), true, false, ""},
		{"nothing", "", true, nil, false, false, ""},
	} {
		for seed := range uint64(20) {
			got := feed(t, &wire.Request{}, c.body, seed, c.end)
			if diff := cmp.Diff(c.usage, got.Usage); diff != "" || got.Terminal != c.terminal || got.Partial != c.partial || got.Failure != c.failure {
				t.Errorf("%s, seed %d: %s %+v", c.name, seed, diff, got)
				break
			}
		}
	}
	tricky := `{"candidates":[{"content":{"parts":[{"text":"}]\\\"}{["}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":8}}`
	if got := feed(t, &wire.Request{}, list(tricky, tricky), 3, true); !got.Terminal || got.OutputBytes != 14 {
		t.Errorf("brackets in a text: %+v", got)
	}
	got := feed(t, &wire.Request{}, list(running, last), 0, true)
	if got.OutputBytes != int64(len("héllo")+len("{}")) || got.Model != "gemini-2.5-flash" || got.ServiceTier != "standard" || string(got.RawUsage) != `{"promptTokenCount":8,"candidatesTokenCount":4,"serviceTier":"standard"}` {
		t.Errorf("%+v %s", got, got.RawUsage)
	}
}

func TestSearches(t *testing.T) {
	t.Parallel()
	const body = `[{"candidates":[{"groundingMetadata":{"webSearchQueries":["a"]}}],"usageMetadata":{"promptTokenCount":1},"modelVersion":"MODEL"},
		{"candidates":[{"finishReason":"STOP","groundingMetadata":{"webSearchQueries":["a","b"]}}],"usageMetadata":{"promptTokenCount":1}}]`
	for model, want := range map[string]int64{"gemini-2.5-flash": 1, "gemini-3-pro-preview": 2} {
		if got := feed(t, &wire.Request{}, strings.Replace(body, "MODEL", model, 1), 0, true); got.Usage[meter.WebSearch] != want {
			t.Errorf("%s: %d searches, want %d", model, got.Usage[meter.WebSearch], want)
		}
	}
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{
		400: `INVALID_ARGUMENT`, 403: `PERMISSION_DENIED`, 429: `RESOURCE_EXHAUSTED`, 503: `UNAVAILABLE`, 500: `INTERNAL`,
	} {
		contentType, body := Codec{}.Refuse(wire.Refusal{Status: status, Code: "budget_exceeded", Message: `say "no"`, DecisionID: "d1", Details: map[string]string{"budget": "b"}})
		if contentType != "application/json; charset=UTF-8" || !strings.Contains(string(body), `"status":"`+want+`"`) {
			t.Errorf("%d: %s %s", status, contentType, body)
		}
	}
	_, body := Codec{}.Refuse(wire.Refusal{Status: 429, Code: "budget_exceeded", Message: `say "no"`, DecisionID: "d1", Details: map[string]string{"budget": "b"}})
	const want = `{"error":{"code":429,"message":"say \"no\"","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"BUDGET_EXCEEDED","domain":"keel","metadata":{"budget":"b","decision_id":"d1"}}]}}`
	if string(body) != want {
		t.Errorf("%s, want %s", body, want)
	}
}

func FuzzReadRequest(f *testing.F) {
	f.Add(path, `{"contents":[{"role":"user","parts":[{"text":"hi"}]}],"generationConfig":{"maxOutputTokens":10}}`, int64(5))
	f.Add("/models/m:streamGenerateContent?alt=sse", `{"contents":"x","generation_config":null,"tools":{"googleSearch":{}},"model":"m"}`, int64(1))
	f.Add("/x/tunedModels/a%20b:generateContent", `{"generation_config":{"max_output_tokens":"9"}}`, int64(3))
	f.Fuzz(func(t *testing.T, path, body string, limit int64) {
		codec, ok := Match(http.MethodPost, path)
		if !ok {
			codec = Codec{}
		}
		r, err := codec.ReadRequest(path, []byte(body))
		if err != nil {
			return
		}
		if p, b := codec.Rewrite(r, path, []byte(body), wire.Edit{}); p != path || string(b) != body {
			t.Fatalf("an empty edit made %s %s", p, b)
		}
		edit := wire.Edit{Model: "gemini-x", MaxOutputTokens: max(limit, 1)}
		newPath, newBody := codec.Rewrite(r, path, []byte(body), edit)
		again, err := codec.ReadRequest(newPath, newBody)
		if err != nil || again.Model != edit.Model || again.MaxOutputTokens > edit.MaxOutputTokens || again.MaxOutputTokens < 1 || again.Prompt != r.Prompt {
			t.Fatalf("rewritten to %s %s: %+v, %v", newPath, newBody, again, err)
		}
	})
}

func FuzzReader(f *testing.F) {
	f.Add(`{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1}}`, uint64(3))
	f.Add("data: {\"candidates\":[{\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":1}}\r\n\r\n", uint64(3))
	f.Add(`[{"usageMetadata":{}},{"candidates":[{"index":1}]}]`, uint64(9))
	f.Add(`[{"error":{"message":"no"}}`, uint64(2))
	f.Fuzz(func(t *testing.T, body string, seed uint64) {
		whole := feed(t, &wire.Request{}, body, 0, true)
		if diff := cmp.Diff(whole, feed(t, &wire.Request{}, body, seed|1, true)); diff != "" {
			t.Fatal(diff)
		}
		if u := whole.Usage; u != nil {
			for k, n := range u {
				if n < 0 {
					t.Fatalf("%v is %d", meter.Kind(k), n)
				}
			}
		}
	})
}
