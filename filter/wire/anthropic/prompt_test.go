package anthropic

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"keel/filter/wire/wiretest"
	"keel/pricing/tokens"
)

func TestPrompt(t *testing.T) {
	t.Parallel()
	segment := func(class tokens.Class, values ...string) (out []tokens.Segment) {
		for _, v := range values {
			out = append(out, tokens.Segment{Class: class, JSON: []byte(v)})
		}
		return out
	}
	join := func(lists ...[]tokens.Segment) (out []tokens.Segment) {
		for _, list := range lists {
			out = append(out, list...)
		}
		return out
	}
	text := func(values ...string) []tokens.Segment { return segment(tokens.Text, values...) }
	for _, c := range []struct {
		name, members string
		want          tokens.Prompt
	}{
		{"texts", `"system":"be","messages":[{"role":"user","content":"h\u00e9"},{"role":"assistant","content":[{"type":"text","text":"you"}]}]`,
			tokens.Prompt{Segments: text(`"be"`, `"h\u00e9"`, `"you"`), Messages: 3, System: true}},
		{"system blocks", `"system":[{"type":"text","text":"be","cache_control":{"type":"ephemeral","ttl":"1h"}}]`, tokens.Prompt{Segments: text(`"be"`), Messages: 1, System: true}},
		{"no system", `"system":"","messages":[]`, tokens.Prompt{}},
		{"system in between", `"messages":[{"content":"x","role":"system"}]`, tokens.Prompt{Segments: text(`"x"`), Messages: 1, System: true}},
		{"tool results", `"messages":[{"content":[{"type":"tool_result","tool_use_id":"t","content":"ab"},{"tool_use_id":"t","content":[{"text":"cd","type":"text"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}],"type":"tool_result"},{"type":"text","text":"e"}]}]`,
			tokens.Prompt{Segments: join(segment(tokens.ToolResult, `"ab"`, `"cd"`), text(`"e"`)), Messages: 1, Images: []tokens.Image{{Bytes: 4}}}},
		{"tool use", `"messages":[{"content":[{"type":"tool_use","id":"t","name":"ab","input":{"x":1}}]}]`, tokens.Prompt{Segments: segment(tokens.ToolCall, `"ab"`, `{"x":1}`), Messages: 1}},
		{"hosted tool use", `"messages":[{"content":[{"type":"server_tool_use","id":"t","name":"ab","input":{}},{"type":"web_search_tool_result","tool_use_id":"t","content":[{"type":"web_search_result","title":"T","encrypted_content":"xyz"}]}]}]`,
			tokens.Prompt{Segments: join(segment(tokens.ToolCall, `"ab"`, `{}`), segment(tokens.ToolResult, `"T"`), segment(tokens.Hidden, `"xyz"`)), Messages: 1}},
		{"source before type", `"messages":[{"content":[{"source":{"data":"AAAA","type":"base64"},"type":"image"}]}]`, tokens.Prompt{Messages: 1, Images: []tokens.Image{{Bytes: 4}}}},
		{"image by url", `"messages":[{"content":[{"type":"image","source":{"type":"url","url":"https://x"}}]}]`, tokens.Prompt{Messages: 1, FarImages: true, Hosted: "image by url"}},
		{"image by file", `"messages":[{"content":[{"type":"image","source":{"type":"file","file_id":"f"}}]}]`, tokens.Prompt{Messages: 1, FarImages: true, Hosted: "image by file"}},
		{"documents", `"messages":[{"content":[{"type":"document","title":"T","source":{"type":"base64","media_type":"application/pdf","data":"AAAA"}},{"type":"document","source":{"type":"text","data":"abc"}},{"type":"document","source":{"type":"content","content":[{"type":"text","text":"de"}]}}]}]`,
			tokens.Prompt{Segments: text(`"T"`, `"abc"`, `"de"`), Messages: 1, Media: []tokens.Media{{Kind: tokens.Document, Bytes: 4}}}},
		{"citations", `"messages":[{"content":[{"type":"document","citations":{"enabled":true},"source":{"type":"text","data":"abc"}},{"type":"document","citations":{"enabled":false}}]}]`, tokens.Prompt{Segments: text(`"abc"`), Messages: 1, Citations: 1}},
		{"cited before", `"messages":[{"content":[{"type":"text","text":"abc","citations":[{"cited_text":"x"}]}]}]`, tokens.Prompt{Segments: text(`"abc"`), Messages: 1}},
		{"thinking before", `"messages":[{"content":[{"type":"thinking","thinking":"abc","signature":"abcdef"},{"type":"redacted_thinking","data":"xyz"}]}]`,
			tokens.Prompt{Segments: join(text(`"abc"`), segment(tokens.Hidden, `"abcdef"`, `"xyz"`)), Messages: 1}},
		{"search result", `"messages":[{"content":[{"type":"search_result","source":"ab","title":"c","content":[{"type":"text","text":"de"}]}]}]`, tokens.Prompt{Segments: text(`"ab"`, `"c"`, `"de"`), Messages: 1}},
		{"upload", `"messages":[{"content":[{"type":"container_upload","file_id":"f"}]}]`, tokens.Prompt{Messages: 1, Hosted: "container_upload"}},
		{"function tools", `"tools":[{"name":"a"},{"type":"custom","name":"b"},{"type":null}]`, tokens.Prompt{Segments: segment(tokens.ToolSchema, `{"name":"a"}`, `{"type":"custom","name":"b"}`, `{"type":null}`), Tools: 3}},
		{"hosted tool", `"tools":[{"name":"a"},{"type":"web_search_20250305","name":"web_search"}]`, tokens.Prompt{Segments: segment(tokens.ToolSchema, `{"name":"a"}`), Tools: 1, Hosted: "tool web_search_20250305"}},
		{"a tool has to be called", `"tool_choice":{"name":"x","type":"tool"}`, tokens.Prompt{ToolChoice: true}},
		{"any tool has to be called", `"tool_choice":{"type":"any"}`, tokens.Prompt{ToolChoice: true}},
		{"a tool can be called", `"tool_choice":{"type":"auto"}`, tokens.Prompt{}},
		{"thinking", `"thinking":{"type":"enabled","budget_tokens":1024}`, tokens.Prompt{Thinking: true}},
		{"adaptive thinking", `"thinking":{"type":"adaptive"}`, tokens.Prompt{}},
		{"no thinking", `"thinking":{"type":"disabled"}`, tokens.Prompt{}},
		{"mcp", `"mcp_servers":[{"url":"https://x"}]`, tokens.Prompt{Hosted: "mcp_servers"}},
		{"no mcp", `"mcp_servers":[],"container":null`, tokens.Prompt{}},
		{"container", `"container":"c1"`, tokens.Prompt{Hosted: "container"}},
		{"compaction", `"context_management":{"edits":[{"type":"compact_20260112"}]}`, tokens.Prompt{Hosted: "context_management"}},
		{"clearing", `"context_management":{"edits":[{"type":"clear_tool_uses_20250919","trigger":{"type":"input_tokens","value":5}}]}`, tokens.Prompt{}},
		{"schema", `"output_config":{"effort":"low","format":{"type":"json_schema","schema":{"a":1}}}`, tokens.Prompt{Segments: segment(tokens.Schema, `{"a":1}`)}},
		{"schema, older", `"output_format":{"type":"json_schema","schema":{"a":1}}`, tokens.Prompt{Segments: segment(tokens.Schema, `{"a":1}`)}},
	} {
		r, err := messages.ReadRequest(path, []byte(`{"model":"m",`+c.members+`}`))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(c.want, r.Prompt, wiretest.PromptOptions); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}
