package sample

import (
	"fmt"
	"strings"
)

// chat is POST /v1/chat/completions.
// Shape: https://platform.openai.com/docs/api-reference/chat/object and …/chat-streaming.
func (d draft) chat() reply {
	id, model, finish := d.ident("chatcmpl-"), quote(d.model), "stop"
	if d.cutShort {
		finish = "length"
	}
	u := d.usage
	usage := fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":%d,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}`,
		u.InputTokens, u.OutputTokens, u.InputTokens+u.OutputTokens, u.CachedTokens)
	if !d.stream {
		var choices []string
		for i := range d.choices {
			choices = append(choices, fmt.Sprintf(`{"index":%d,"message":{"role":"assistant","content":%s,"refusal":null,"annotations":[]},"logprobs":null,"finish_reason":%q}`, i, quote(d.text()), finish))
		}
		usageMember := `,"usage":` + usage
		if d.omitUsage {
			usageMember = ""
		}
		return whole(fmt.Sprintf(`{"id":%q,"object":"chat.completion","created":%d,"model":%s,"choices":[%s]%s,"service_tier":"default","system_fingerprint":"fp_sample"}`,
			id, d.created, model, strings.Join(choices, ","), usageMember))
	}
	var e events
	// With include_usage every chunk but the last but one says "usage":null.
	wantsUsage, usageMember := d.includeUsage && !d.omitUsage, ""
	if wantsUsage {
		usageMember = `,"usage":null`
	}
	chunk := func(choices, usage string) {
		e.data(`{"id":%q,"object":"chat.completion.chunk","created":%d,"model":%s,"service_tier":"default","system_fingerprint":"fp_sample","choices":[%s]%s}`,
			id, d.created, model, choices, usage)
	}
	choice := func(index int64, delta, finish string) {
		chunk(fmt.Sprintf(`{"index":%d,"delta":%s,"logprobs":null,"finish_reason":%s}`, index, delta, finish), usageMember)
	}
	for i := range d.choices {
		choice(i, `{"role":"assistant","content":"","refusal":null}`, "null")
	}
	for _, word := range d.words {
		for i := range d.choices {
			choice(i, `{"content":`+quote(word)+`}`, "null")
		}
	}
	for i := range d.choices {
		choice(i, "{}", quote(finish))
	}
	if wantsUsage {
		chunk("", `,"usage":`+usage)
	}
	e.data("[DONE]")
	return e.reply()
}

// responses is POST /v1/responses.
// Shape: https://platform.openai.com/docs/api-reference/responses/object and …/responses-streaming.
func (d draft) responses() reply {
	id, item, u := d.ident("resp_"), d.ident("msg_"), d.usage
	part := func(text string) string {
		return fmt.Sprintf(`{"type":"output_text","annotations":[],"logprobs":[],"text":%s}`, quote(text))
	}
	message := func(status, content string) string {
		return fmt.Sprintf(`{"id":%q,"type":"message","status":%q,"content":[%s],"role":"assistant"}`, item, status, content)
	}
	response := func(status, incomplete, output, usage, tier string) string {
		return fmt.Sprintf(`{"id":%q,"object":"response","created_at":%d,"status":%q,"background":false,"error":null,"incomplete_details":%s,"instructions":null,"max_output_tokens":%s,"model":%s,"output":[%s],"parallel_tool_calls":true,"previous_response_id":null,"reasoning":{"effort":null,"summary":null},"service_tier":%q,"store":true,"temperature":1.0,"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_p":1.0,"truncation":"disabled","usage":%s,"user":null,"metadata":{}}`,
			id, d.created, status, incomplete, orNull(d.limit), quote(d.model), output, tier, usage)
	}
	status, incomplete := "completed", "null"
	if d.cutShort {
		status, incomplete = "incomplete", `{"reason":"max_output_tokens"}`
	}
	usage := fmt.Sprintf(`{"input_tokens":%d,"input_tokens_details":{"cached_tokens":%d},"output_tokens":%d,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":%d}`,
		u.InputTokens, u.CachedTokens, u.OutputTokens, u.InputTokens+u.OutputTokens)
	if d.omitUsage {
		usage = "null"
	}
	final := response(status, incomplete, message(status, part(d.text())), usage, "default")
	if !d.stream {
		return whole(final)
	}
	var e events
	seq := 0
	event := func(name, format string, args ...any) {
		e.named(name, `"sequence_number":%d,`+format, append([]any{seq}, args...)...)
		seq++
	}
	started := response("in_progress", "null", "", "null", "auto")
	event("response.created", `"response":%s`, started)
	event("response.in_progress", `"response":%s`, started)
	event("response.output_item.added", `"output_index":0,"item":%s`, message("in_progress", ""))
	event("response.content_part.added", `"item_id":%q,"output_index":0,"content_index":0,"part":%s`, item, part(""))
	for _, word := range d.words {
		event("response.output_text.delta", `"item_id":%q,"output_index":0,"content_index":0,"delta":%s,"logprobs":[]`, item, quote(word))
	}
	event("response.output_text.done", `"item_id":%q,"output_index":0,"content_index":0,"text":%s,"logprobs":[]`, item, quote(d.text()))
	event("response.content_part.done", `"item_id":%q,"output_index":0,"content_index":0,"part":%s`, item, part(d.text()))
	event("response.output_item.done", `"output_index":0,"item":%s`, message(status, part(d.text())))
	event("response."+status, `"response":%s`, final)
	return e.reply()
}

func orNull(n int64) string {
	if n == 0 {
		return "null"
	}
	return fmt.Sprint(n)
}
