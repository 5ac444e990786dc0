package sample

import "fmt"

// anthropic is POST /v1/messages. Input tokens exclude what the cache gave.
// Shape: https://platform.claude.com/docs/en/api/messages and …/build-with-claude/streaming.
func (d draft) anthropic() reply {
	id, stop, u := d.ident("msg_"), "end_turn", d.usage
	if d.cutShort {
		stop = "max_tokens"
	}
	usage := func(output int64) string {
		if d.omitUsage {
			return ""
		}
		return fmt.Sprintf(`,"usage":{"input_tokens":%d,"cache_creation_input_tokens":0,"cache_read_input_tokens":%d,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":%d,"service_tier":"standard"}`,
			u.InputTokens-u.CachedTokens, u.CachedTokens, output)
	}
	message := func(content, stop, usage string) string {
		return fmt.Sprintf(`{"id":%q,"type":"message","role":"assistant","model":%s,"content":[%s],"stop_reason":%s,"stop_sequence":null%s}`,
			id, quote(d.model), content, stop, usage)
	}
	if !d.stream {
		return whole(message(`{"type":"text","text":`+quote(d.text())+`}`, quote(stop), usage(u.OutputTokens)))
	}
	var e events
	// The real one starts with a placeholder of a token or so, too.
	e.named("message_start", `"message":%s`, message("", "null", usage(min(1, u.OutputTokens))))
	e.named("content_block_start", `"index":0,"content_block":{"type":"text","text":""}`)
	e.chunks = append(e.chunks, []byte("event: ping\ndata: {\"type\": \"ping\"}\n\n"))
	for _, word := range d.words {
		e.named("content_block_delta", `"index":0,"delta":{"type":"text_delta","text":%s}`, quote(word))
	}
	e.named("content_block_stop", `"index":0`)
	final := fmt.Sprintf(`,"usage":{"input_tokens":%d,"cache_creation_input_tokens":0,"cache_read_input_tokens":%d,"output_tokens":%d}`,
		u.InputTokens-u.CachedTokens, u.CachedTokens, u.OutputTokens)
	if d.omitUsage {
		final = ""
	}
	e.named("message_delta", `"delta":{"stop_reason":%q,"stop_sequence":null}%s`, stop, final)
	e.chunks = append(e.chunks, []byte("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"))
	return e.reply()
}
