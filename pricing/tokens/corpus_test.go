package tokens

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// record is what this test needs of one recorded exchange.
type record struct {
	ID        string          `json:"id"`
	Provider  string          `json:"provider"`
	API       string          `json:"api"`
	Op        string          `json:"op"`
	Model     string          `json:"model_requested"`
	Body      string          `json:"request_body"`
	Status    int             `json:"status"`
	Synthetic bool            `json:"suspect_synthetic"`
	Usage     json.RawMessage `json:"usage_expected"`
}

// TestCorpus holds the estimates against recorded usage: no bound that claims
// to be one may be exceeded.
func TestCorpus(t *testing.T) {
	t.Parallel()
	type sample struct{ expected, bound, actual int64 }
	samples := map[string][]sample{}
	var checked, outputs int
	each(t, func(r *record) {
		if r.Synthetic || r.Op != "generate" || r.Status != 200 {
			return
		}
		if r.Provider != "openai" && r.Provider != "anthropic" && r.Provider != "google" {
			return
		}
		actual, output, ok := counts(r)
		var body map[string]any
		if !ok || actual == 0 || json.Unmarshal([]byte(r.Body), &body) != nil {
			return
		}
		p := walkRequest(body, r.Body)
		in := EstimateInput(r.Provider, r.Model, p)
		if in.Expected > in.Bound {
			t.Errorf("%s %s: expected %d above bound %d", r.ID, r.Model, in.Expected, in.Bound)
		}
		if in.Kind != None {
			checked++
			if in.Bound < actual {
				t.Errorf("%s %s %s: bound %d (%s) below the recorded %d input tokens: %+v", r.ID, r.Provider, r.Model, in.Bound, in.Kind, actual, p)
			}
			class := r.Provider + " text"
			if p.Images > 0 {
				class = r.Provider + " images"
			} else if p.Tools > 0 {
				class = r.Provider + " tools"
			} else if p.SchemaBytes > 0 {
				class = r.Provider + " schema"
			}
			samples[class] = append(samples[class], sample{in.Expected, in.Bound, actual})
		}
		stated, choices := outputLimit(body)
		out := EstimateOutput(r.Provider, r.Model, stated, choices)
		outputs++
		if out.Kind != None && out.Bound < output {
			t.Errorf("%s %s %s: output bound %d (%s) below the recorded %d", r.ID, r.Provider, r.Model, out.Bound, out.Kind, output)
		}
	})
	if checked < 500 {
		t.Errorf("only %d input bounds were checked: the corpus has more", checked)
	}
	t.Logf("%d input bounds and %d output bounds checked", checked, outputs)
	classes := make([]string, 0, len(samples))
	for class := range samples {
		classes = append(classes, class)
	}
	slices.Sort(classes)
	for _, class := range classes {
		var errs, ratios []float64
		for _, s := range samples[class] {
			d := float64(s.expected-s.actual) / float64(s.actual) * 100
			errs = append(errs, max(d, -d))
			ratios = append(ratios, float64(s.bound)/float64(s.actual))
		}
		slices.Sort(errs)
		slices.Sort(ratios)
		t.Logf("%-18s n %4d  expected: median error %5.1f %%, p90 %6.1f %%  bound/actual: median %6.1f", class, len(errs), errs[len(errs)/2], errs[len(errs)*9/10], ratios[len(ratios)/2])
	}
}

// each calls f with every record of the corpus, or skips the test.
func each(t *testing.T, f func(*record)) {
	t.Helper()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			t.Fatal("no go.mod above the test")
		}
	}
	files, _ := filepath.Glob(filepath.Join(root, "../shared/corpus/*.jsonl.gz"))
	if len(files) == 0 {
		t.Skip("no recorded traffic at ../shared/corpus beside the repository")
	}
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		unzipped, err := gzip.NewReader(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(unzipped)
		lines.Buffer(nil, 4<<20)
		for lines.Scan() {
			var r record
			if err := json.Unmarshal(lines.Bytes(), &r); err == nil {
				f(&r)
			}
		}
		if err := lines.Err(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		file.Close()
	}
}

// counts returns the recorded input and output tokens.
func counts(r *record) (input, output int64, ok bool) {
	var u map[string]any
	if json.Unmarshal(r.Usage, &u) != nil {
		return 0, 0, false
	}
	n := func(key string) int64 { v, _ := u[key].(float64); return int64(v) }
	switch {
	case strings.HasPrefix(r.API, "openai."):
		return n("prompt_tokens") + n("input_tokens"), n("completion_tokens") + n("output_tokens"), true
	case r.API == "anthropic.messages":
		return n("input_tokens") + n("cache_read_input_tokens") + n("cache_creation_input_tokens"), n("output_tokens"), true
	case strings.HasPrefix(r.API, "gemini."):
		return n("promptTokenCount") + n("toolUsePromptTokenCount"), n("candidatesTokenCount") + n("thoughtsTokenCount"), true
	}
	return 0, 0, false
}

func outputLimit(body map[string]any) (stated, choices int64) {
	choices = 1
	for _, key := range []string{"max_tokens", "max_completion_tokens", "max_output_tokens"} {
		if v, ok := body[key].(float64); ok {
			stated = int64(v)
		}
	}
	if v, ok := body["n"].(float64); ok {
		choices = int64(v)
	}
	if prompts, ok := body["prompt"].([]any); ok {
		choices *= int64(len(prompts))
	}
	for _, key := range []string{"generationConfig", "generation_config"} {
		config, _ := body[key].(map[string]any)
		for _, key := range []string{"maxOutputTokens", "max_output_tokens"} {
			if v, ok := config[key].(float64); ok {
				stated = int64(v)
			}
		}
		if v, ok := config["candidateCount"].(float64); ok {
			choices = int64(v)
		}
	}
	return stated, choices
}

// walkRequest is a coarse reader of three request formats: every string that is
// not media is text, every tool that is not a plain function is opaque.
func walkRequest(body map[string]any, raw string) Prompt {
	var p Prompt
	size := func(v any) int64 {
		if v == nil {
			return 0
		}
		text, _ := json.Marshal(v)
		return int64(len(text))
	}
	for key, v := range body {
		switch key {
		case "messages", "input", "contents", "system", "systemInstruction", "system_instruction", "instructions", "prompt":
			p.text(v)
		case "tools", "functions":
			p.tools(v)
			p.ToolBytes += size(v)
		case "response_format", "text", "output_config", "output_format":
			p.SchemaBytes += size(v)
		case "generationConfig", "generation_config":
			config, _ := v.(map[string]any)
			for _, key := range []string{"responseSchema", "response_schema", "responseJsonSchema", "response_json_schema"} {
				p.SchemaBytes += size(config[key])
			}
		case "previous_response_id", "conversation", "cachedContent", "container", "mcp_servers", "context_management", "web_search_options", "background":
			if v != nil && v != false {
				p.Opaque = key
			}
		case "reasoning":
			if strings.Contains(raw, `"mode"`) {
				p.Opaque = key
			}
		}
	}
	for _, key := range []string{"messages", "input", "contents"} {
		if list, ok := body[key].([]any); ok {
			p.Messages += int64(len(list))
		} else if body[key] != nil {
			p.Messages++
		}
	}
	for _, key := range []string{"system", "systemInstruction", "system_instruction", "instructions"} {
		if body[key] != nil {
			p.Messages++
		}
	}
	return p
}

func (p *Prompt) tools(v any) {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	for _, item := range list {
		tool, _ := item.(map[string]any)
		kind, typed := tool["type"].(string)
		declared := tool["functionDeclarations"]
		if declared == nil {
			declared = tool["function_declarations"]
		}
		switch functions, isList := declared.([]any); {
		case isList:
			p.Tools += int64(len(functions))
			if len(tool) > 1 {
				p.Opaque = "tool"
			}
		case typed && kind != "function" && kind != "custom":
			p.Opaque = kind
		case !typed && tool["name"] == nil && tool["function"] == nil:
			p.Opaque = "tool"
		default:
			p.Tools++
		}
	}
}

func (p *Prompt) text(v any) {
	switch v := v.(type) {
	case string:
		p.TextBytes += int64(len(v))
	case []any:
		for _, item := range v {
			p.text(item)
		}
	case map[string]any:
		kind, _ := v["type"].(string)
		switch kind {
		case "document", "file", "input_file", "input_audio", "audio", "video", "container_upload", "item_reference",
			"server_tool_use", "web_search_tool_result", "compaction":
			p.Media++
			return
		case "image", "image_url", "input_image":
			p.image(v)
			return
		}
		for _, key := range []string{"inlineData", "inline_data"} {
			if data, ok := v[key].(map[string]any); ok {
				mime, _ := data["mimeType"].(string)
				if mime == "" {
					mime, _ = data["mime_type"].(string)
				}
				if strings.HasPrefix(mime, "image/") {
					p.image(data)
				} else {
					p.Media++
				}
				return
			}
		}
		if v["fileData"] != nil || v["file_data"] != nil {
			p.Opaque = "file"
			return
		}
		for key, item := range v {
			switch key {
			case "role", "type", "id", "call_id", "tool_call_id", "tool_use_id", "status", "cache_control", "detail", "index":
				// Structure: the allowances for messages cover what templates make of it.
			case "input", "args", "response", "arguments":
				if text, ok := item.(string); ok {
					p.TextBytes += int64(len(text))
				} else {
					text, _ := json.Marshal(item)
					p.TextBytes += int64(len(text))
				}
			default:
				p.text(item)
			}
		}
	}
}

func (p *Prompt) image(v any) {
	text, _ := json.Marshal(v)
	if strings.Contains(string(text), `"http`) || strings.Contains(string(text), "file_id") {
		p.Opaque = "url"
		return
	}
	p.Images++
	p.ImageBytes += int64(len(text))
}
