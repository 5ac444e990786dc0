package gemini

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"keel/filter/wire"
	"keel/filter/wire/wiretest"
	"keel/pricing/tokens"
)

// segment is a segment of class as it stands in a body.
func segment(class tokens.Class, json string) tokens.Segment {
	return tokens.Segment{Class: class, JSON: []byte(json)}
}

func texts(json ...string) (out []tokens.Segment) {
	for _, j := range json {
		out = append(out, segment(tokens.Text, j))
	}
	return out
}

func TestPrompt(t *testing.T) {
	t.Parallel()
	image := tokens.Image{Bytes: 4}
	for _, c := range []struct {
		name, method, body string
		want               tokens.Prompt
	}{
		{"text", "generateContent", `{"contents":[{"role":"user","parts":[{"text":"h\u00e9llo"}]},{"parts":[{"text":"you"},{"text":""}]}]}`,
			tokens.Prompt{Segments: texts(`"h\u00e9llo"`, `"you"`), Messages: 2}},
		{"single values", "generateContent", `{"contents":{"parts":{"text":"hello"}}}`, tokens.Prompt{Segments: texts(`"hello"`), Messages: 1}},
		{"bare texts", "generateContent", `{"contents":"hello","system_instruction":"be"}`, tokens.Prompt{Segments: texts(`"hello"`, `"be"`), Messages: 2, System: true}},
		{"list of texts", "generateContent", `{"contents":["hello",{"text":"you"}]}`, tokens.Prompt{Segments: texts(`"hello"`, `"you"`), Messages: 2}},
		{"system", "generateContent", `{"systemInstruction":{"role":"system","parts":[{"text":"hello"}]},"contents":null}`, tokens.Prompt{Segments: texts(`"hello"`), Messages: 1, System: true}},
		{"media, both casings", "generateContent", `{"contents":[{"parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"}},{"inline_data":{"data":"AAAAAAAA","mime_type":"audio/wav"}},{"inlineData":{"data":"AAAA","mimeType":"VIDEO/mp4"},"videoMetadata":{"fps":1}},{"inlineData":{"mimeType":"application/pdf","data":"AAAA"}}]}]}`,
			tokens.Prompt{Messages: 1, Images: []tokens.Image{image}, Media: []tokens.Media{{Kind: tokens.Audio, Bytes: 8}, {Kind: tokens.Video, Bytes: 4}, {Kind: tokens.Document, Bytes: 4}}}},
		{"resolution", "generateContent", `{"generationConfig":{"mediaResolution":"MEDIA_RESOLUTION_LOW"},"contents":[{"parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"}},{"mediaResolution":{"level":"MEDIA_RESOLUTION_HIGH"},"inlineData":{"mimeType":"image/png","data":"AAAA"}}]}]}`,
			tokens.Prompt{Messages: 1, Images: []tokens.Image{{Bytes: 4, Detail: "low"}, {Bytes: 4, Detail: "high"}}}},
		{"file", "generateContent", `{"contents":[{"parts":[{"file_data":{"fileUri":"gs://x"}}]}]}`, tokens.Prompt{Messages: 1, Hosted: "file URL"}},
		{"cache", "generateContent", `{"contents":[],"cachedContent":"cachedContents/1"}`, tokens.Prompt{Hosted: "cached content"}},
		{"no cache", "generateContent", `{"contents":[],"cachedContent":null}`, tokens.Prompt{}},
		{"functions", "generateContent", `{"tools":[{"functionDeclarations":[{"name":"a"},{"name":"b"}]}],"toolConfig":{"functionCallingConfig":{"mode":"ANY"}}}`,
			tokens.Prompt{Tools: 2, ToolChoice: true, Segments: []tokens.Segment{segment(tokens.ToolSchema, `{"name":"a"}`), segment(tokens.ToolSchema, `{"name":"b"}`)}}},
		{"functions as an object", "generateContent", `{"tools":{"function_declarations":{"name":"a"}},"tool_config":{"function_calling_config":{"mode":2}}}`,
			tokens.Prompt{Tools: 1, ToolChoice: true, Segments: []tokens.Segment{segment(tokens.ToolSchema, `{"name":"a"}`)}}},
		{"hosted tool", "generateContent", `{"tools":[{"functionDeclarations":[{"name":"a"}]},{"google_search":{}}],"toolConfig":{"functionCallingConfig":{"mode":"AUTO"}}}`,
			tokens.Prompt{Tools: 1, Segments: []tokens.Segment{segment(tokens.ToolSchema, `{"name":"a"}`)}, Hosted: "hosted tool googleSearch"}},
		{"no hosted tool", "generateContent", `{"tools":[{"googleSearch":null}]}`, tokens.Prompt{}},
		{"schemas", "generateContent", `{"generationConfig":{"responseSchema":{"type":"OBJECT"},"_responseJsonSchema":null,"response_json_schema":{"type":"object"}}}`,
			tokens.Prompt{Segments: []tokens.Segment{segment(tokens.Schema, `{"type":"OBJECT"}`), segment(tokens.Schema, `{"type":"object"}`)}}},
		{"thinking", "generateContent", `{"generationConfig":{"thinkingConfig":{"thinkingBudget":-1}}}`, tokens.Prompt{Thinking: true}},
		{"thinking, level", "generateContent", `{"generation_config":{"thinking_config":{"thinking_level":"low"}}}`, tokens.Prompt{Thinking: true}},
		{"no thinking", "generateContent", `{"generationConfig":{"thinkingConfig":{"includeThoughts":true,"thinkingBudget":0}}}`, tokens.Prompt{}},
		{"function call", "generateContent", `{"contents":[{"parts":[{"functionCall":{"name":"a","args":{}},"thoughtSignature":"AAAAAA"},{"functionResponse":{"name":"a","response":{}}},{"functionResponse":{"name":"a","response":{"x":1},"parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"}}]}}]}]}`,
			tokens.Prompt{Messages: 1, Images: []tokens.Image{image}, Segments: []tokens.Segment{segment(tokens.ToolCall, `{"name":"a","args":{}}`), segment(tokens.Hidden, `"AAAAAA"`),
				segment(tokens.ToolResult, `{"name":"a","response":{}}`), segment(tokens.ToolResult, `{"x":1}`)}}},
		{"code", "generateContent", `{"contents":[{"parts":[{"executableCode":{"code":"1+1"}},{"codeExecutionResult":{"output":"2"}}]}]}`,
			tokens.Prompt{Messages: 1, Segments: []tokens.Segment{segment(tokens.ToolCall, `{"code":"1+1"}`), segment(tokens.ToolResult, `{"output":"2"}`)}}},
		{"count", "countTokens", `{"generateContentRequest":{"model":"models/gemini-2.5-flash","contents":[{"parts":[{"text":"a"}]}],"systemInstruction":{"parts":[{"text":"b"}]}}}`,
			tokens.Prompt{Task: tokens.Count, Messages: 2, System: true, Segments: texts(`"a"`, `"b"`)}},
		{"embed", "embedContent", `{"content":{"parts":[{"text":"a"}]},"title":"b","taskType":"RETRIEVAL_DOCUMENT"}`, tokens.Prompt{Task: tokens.Embed, Messages: 1, Segments: texts(`"a"`, `"b"`)}},
		{"embed many", "batchEmbedContents", `{"requests":[{"content":{"parts":[{"text":"a"}]}},{"model":"models/gemini-2.5-flash","content":{"parts":[{"text":"b"}]}}]}`,
			tokens.Prompt{Task: tokens.Embed, Messages: 2, Segments: texts(`"a"`, `"b"`)}},
		{"predict", "predict", `{"instances":[{"content":"a","task_type":"RETRIEVAL_DOCUMENT"},{"prompt":"b","image":{"bytesBase64Encoded":"AAAA","mimeType":"image/png"}},{"video":{"gcsUri":"gs://x"}}]}`,
			tokens.Prompt{Messages: 3, Segments: texts(`"a"`, `"b"`), Images: []tokens.Image{image}, Hosted: "file URL"}},
		{"batch", "batchGenerateContent", `{"batch":{"displayName":"no","inputConfig":{"requests":{"requests":[{"request":{"contents":[{"parts":[{"text":"a"}]}]},"metadata":{"key":"no"}}]}}}}`,
			tokens.Prompt{Messages: 1, Segments: texts(`"a"`)}},
		{"batch of a file", "batchGenerateContent", `{"batch":{"input_config":{"file_name":"files/x"}}}`, tokens.Prompt{Hosted: "file id"}},
	} {
		r, err := methods[c.method].ReadRequest("/v1beta/models/gemini-2.5-flash:"+c.method, []byte(c.body))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(c.want, r.Prompt, wiretest.PromptOptions); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestPredictTask(t *testing.T) {
	t.Parallel()
	for model, want := range map[string]tokens.Task{
		"imagen-4.0-fast-generate-001": tokens.Draw, "veo-3.0-generate-001": tokens.Draw, "text-embedding-005": tokens.Embed,
		"gemini-embedding-001": tokens.Embed, "multimodalembedding@001": tokens.Embed, "textembedding-gecko@003": tokens.Embed, "text-bison": tokens.Generate,
	} {
		if got := predicts(model); got != want {
			t.Errorf("%s: %v, want %v", model, got, want)
		}
	}
}

func TestInteractionRequest(t *testing.T) {
	t.Parallel()
	const body = `{"model":"gemini-3-flash-preview","system_instruction":"be","input":[
		{"type":"user_input","content":[{"type":"text","text":"a"},{"type":"image","data":"AAAA","mime_type":"image/png","resolution":"low"},{"data":"AAAAAAAA","type":"audio"}]},
		{"type":"thought","signature":"AAA","summary":[{"type":"text","text":"b"}]},
		{"type":"function_call","id":"1","name":"f","arguments":{"x":1}},
		{"type":"function_result","call_id":"1","name":"f","result":"c"},
		{"role":"user","content":"d"}],
		"tools":[{"type":"function","name":"f","parameters":{}},{"type":"google_search"}],"response_format":{"type":"object"},
		"generation_config":{"max_output_tokens":9,"thinking_level":"low","tool_choice":"any"},"stream":true,"service_tier":"flex"}`
	r, err := interactions.ReadRequest("/v1beta/interactions", []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	want := tokens.Prompt{
		Messages: 6, System: true, Tools: 1, Thinking: true, ToolChoice: true, Hosted: "hosted tool google_search",
		Images: []tokens.Image{{Bytes: 4, Detail: "low"}}, Media: []tokens.Media{{Kind: tokens.Audio, Bytes: 8}},
		Segments: []tokens.Segment{segment(tokens.Text, `"be"`), segment(tokens.Text, `"a"`), segment(tokens.Hidden, `"AAA"`), segment(tokens.Text, `"b"`),
			segment(tokens.ToolCall, `"f"`), segment(tokens.ToolCall, `{"x":1}`), segment(tokens.ToolResult, `"f"`), segment(tokens.ToolResult, `"c"`), segment(tokens.Text, `"d"`),
			segment(tokens.ToolSchema, `{"type":"function","name":"f","parameters":{}}`), segment(tokens.Schema, `{"type":"object"}`)},
	}
	if diff := cmp.Diff(want, r.Prompt, wiretest.PromptOptions); diff != "" {
		t.Error(diff)
	}
	if r.Model != "gemini-3-flash-preview" || r.MaxOutputTokens != 9 || !r.Stream || r.ServiceTier != "flex" || r.Background {
		t.Errorf("%+v", r)
	}
	r, err = interactions.ReadRequest("/v1beta/interactions", []byte(`{"agent":"deep-research","input":"a","background":true,"previous_interaction_id":"v1_x"}`))
	if err != nil || r.Model != "deep-research" || !r.Background || r.Prompt.Hosted != "agent" || r.Prompt.Messages != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	for _, body := range []string{`{"input":"a"}`, `{"model":"","input":"a"}`, `{"model":"m","generation_config":{"max_output_tokens":0}}`} {
		if _, err := interactions.ReadRequest("/v1beta/interactions", []byte(body)); err == nil {
			t.Errorf("%s is taken", body)
		}
	}
}

func TestBatchRequest(t *testing.T) {
	t.Parallel()
	codec, path := methods["batchGenerateContent"], "/v1beta/models/m:batchGenerateContent"
	const body = `{"batch":{"inputConfig":{"requests":{"requests":[{"request":{"model":"models/m","contents":[],"generationConfig":{"maxOutputTokens":5}}},{"request":{"contents":[],"generationConfig":{"maxOutputTokens":90,"candidateCount":2}}},{"request":{ }}]}}}}`
	r, err := codec.ReadRequest(path, []byte(body))
	if err != nil || r.MaxOutputTokens != 0 || r.Choices != 4 || !r.Background {
		t.Fatalf("%+v, %v", r, err)
	}
	newPath, got := codec.Rewrite(r, path, []byte(body), wire.Edit{Model: "n", MaxOutputTokens: 7})
	const want = `{"batch":{"inputConfig":{"requests":{"requests":[{"request":{"model":"models/n","contents":[],"generationConfig":{"maxOutputTokens":5}}},{"request":{"contents":[],"generationConfig":{"maxOutputTokens":7,"candidateCount":2}}},{"request":{"generationConfig":{"maxOutputTokens":7} }}]}}}}`
	if newPath != "/v1beta/models/n:batchGenerateContent" || string(got) != want {
		t.Errorf("%s %s", newPath, got)
	}
	again, err := codec.ReadRequest(newPath, got)
	if err != nil || again.MaxOutputTokens != 7 || again.Model != "n" {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestRenamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ old, model, want string }{
		{`"m"`, "n", `"n"`},
		{`"models/m"`, "n", `"models/n"`},
		{`"models/m"`, "tunedModels/n", `"tunedModels/n"`},
		{`"projects/p/locations/l/publishers/google/models/m"`, "n", `"projects/p/locations/l/publishers/google/models/n"`},
	} {
		body := []byte(`{"model":` + c.old + `}`)
		r, err := caches.ReadRequest("/v1beta/cachedContents", body)
		if err != nil || r.Model != "m" {
			t.Fatalf("%+v, %v", r, err)
		}
		if path, got := caches.Rewrite(r, "/v1beta/cachedContents", body, wire.Edit{Model: c.model}); string(got) != `{"model":`+c.want+`}` || path != "/v1beta/cachedContents" {
			t.Errorf("%s to %s: %s %s", c.old, c.model, path, got)
		}
	}
}

// TestNoLimit: no limit is put where nothing is written, and Google would refuse it.
func TestNoLimit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ path, body string }{
		{"/v1beta/models/m:countTokens", `{"contents":[]}`},
		{"/v1beta/models/m:embedContent", `{"content":{"parts":[{"text":"a"}]}}`},
		{"/v1beta/models/imagen-4:predict", `{"instances":[{"prompt":"a"}],"parameters":{"sampleCount":2}}`},
		{"/v1beta/models/text-bison:predict", `{"instances":[{"prompt":"a"}],"parameters":{"sampleCount":2}}`},
		{"/v1beta/models/m:asyncBatchEmbedContent", `{"batch":{"inputConfig":{"requests":{"requests":[{"request":{"content":{"parts":[{"text":"a"}]}}}]}}}}`},
		{"/v1beta/cachedContents", `{"model":"models/m","contents":[]}`},
	} {
		codec, _ := Match("google", "POST", c.path)
		r, err := codec.ReadRequest(c.path, []byte(c.body))
		if err != nil {
			t.Fatal(err)
		}
		if path, got := codec.Rewrite(r, c.path, []byte(c.body), wire.Edit{MaxOutputTokens: 7}); path != c.path || string(got) != c.body {
			t.Errorf("%s became %s %s", c.path, path, got)
		}
	}
}
