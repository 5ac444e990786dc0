package metering

import (
	"encoding/json"

	"keel/filter/wire/recording"
	"keel/pricing/meter"
)

// totals are the five named counts of a usage: input with everything that came in,
// of which cached and written; output with everything that went out, of which reasoning.
type totals struct{ input, cached, written, output, reasoning int64 }

func totalsOf(u *meter.Usage) totals {
	return totals{u.InputTokens(), u.CachedInputTokens(), u.CacheWriteTokens(), u.OutputTokens(), u.ReasoningTokens()}
}

// expected normalises what the recorder kept of a provider's usage, by the rules
// that were found in recorded traffic. It is written apart from the wire
// readers and shares nothing with them, so that one mistake does not hide
// another. ok is false where the recorder kept nothing that says both sides.
func expected(x *recording.Exchange) (t totals, ok bool) {
	if x.Status >= 400 {
		return t, false
	}
	var u object
	if json.Unmarshal(x.UsageExpected, &u) != nil || u == nil {
		return t, false
	}
	switch {
	case u.has("promptTokenCount") || u.has("candidatesTokenCount"): // Gemini: thoughts beside candidates, tools beside the prompt
		t = totals{input: u.n("promptTokenCount") + u.n("toolUsePromptTokenCount"), cached: u.n("cachedContentTokenCount"),
			output: u.n("candidatesTokenCount") + u.n("thoughtsTokenCount"), reasoning: u.n("thoughtsTokenCount")}
	case u.has("inputTokens"): // Bedrock: caches beside the input, each under two names
		t = totals{cached: max(u.n("cacheReadInputTokens"), u.n("cacheReadInputTokenCount")), written: max(u.n("cacheWriteInputTokens"), u.n("cacheWriteInputTokenCount")), output: u.n("outputTokens")}
		t.input = u.n("inputTokens") + t.cached + t.written
	case u.has("inputTokenCount"):
		t = totals{input: u.n("inputTokenCount"), output: u.n("outputTokenCount")}
	case u.has("tokens"): // Cohere: what came in, not what is billed of it
		tokens := u.object("tokens")
		t = totals{input: tokens.n("input_tokens") + tokens.n("image_tokens"), cached: u.n("cached_tokens"), output: tokens.n("output_tokens"), reasoning: tokens.n("reasoning_tokens")}
	case u.has("billed_units"):
		billed := u.object("billed_units")
		t = totals{input: billed.n("input_tokens") + billed.n("image_tokens"), output: billed.n("output_tokens")}
	case u.has("input_tokens") && (u.has("cache_read_input_tokens") || x.API == "anthropic.messages" || x.API == "bedrock.invoke" || x.Provider == "anthropic"):
		t = totals{cached: u.n("cache_read_input_tokens"), written: u.n("cache_creation_input_tokens"), output: u.n("output_tokens"),
			reasoning: u.object("output_tokens_details").n("thinking_tokens")}
		t.input = u.n("input_tokens") + t.cached + t.written
	case u.has("prompt_tokens") || u.has("input_tokens"):
		t = openAI(u, x.Provider)
	case u.has("prompt_eval_count") && u.has("eval_count"): // Ollama
		t = totals{input: u.n("prompt_eval_count"), output: u.n("eval_count")}
	case u.has("input_token_count") && u.has("generated_token_count"): // watsonx
		t = totals{input: u.n("input_token_count"), output: u.n("generated_token_count")}
	case u.has("inputTextTokenCount"):
		t = totals{input: u.n("inputTextTokenCount")}
		for _, result := range u.objects("results") {
			t.output += result.n("tokenCount")
		}
	case u.n("prompt_token_count") > 0: // Llama
		t = totals{input: u.n("prompt_token_count"), output: u.n("generation_token_count")}
	case u.has("x-amzn-bedrock-input-token-count"):
		t = totals{input: u.n("x-amzn-bedrock-input-token-count"), output: u.n("x-amzn-bedrock-output-token-count")}
	default:
		return t, false
	}
	t.cached, t.reasoning = min(t.cached, t.input), min(t.reasoning, t.output)
	return t, true
}

// openAI: cached is inside the prompt; reasoning is inside completion unless total
// says otherwise (xAI chat, Google's compatible endpoint), or the gateway is
// Vercel, whose own cost counts it beside.
func openAI(u object, provider string) totals {
	details, outDetails := u.object("prompt_tokens_details"), u.object("completion_tokens_details")
	t := totals{input: u.n("prompt_tokens"), output: u.n("completion_tokens")}
	if !u.has("prompt_tokens") {
		details, outDetails = u.object("input_tokens_details"), u.object("output_tokens_details")
		t = totals{input: u.n("input_tokens"), output: u.n("output_tokens")}
	}
	t.cached, t.written, t.reasoning = details.n("cached_tokens"), details.n("cache_write_tokens"), outDetails.n("reasoning_tokens")
	for _, name := range []string{"prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens"} {
		if !details.has("cached_tokens") && u.has(name) {
			t.cached = u.n(name)
		}
	}
	if !outDetails.has("reasoning_tokens") {
		t.reasoning = u.n("reasoning_tokens")
	}
	t.cached = min(t.cached, t.input)
	t.written = min(t.written, t.input-t.cached)
	switch total := u.n("total_tokens"); {
	case provider == "mistral" && u.has("prompt_audio_seconds"): // audio beside the prompt
		t.input = total - t.output
	case provider == "vercel-gateway":
		t.output += t.reasoning
	case u.has("completion_tokens") && total > t.input+t.output:
		t.output = total - t.input
	case !u.has("completion_tokens") && !u.has("output_tokens") && total > t.input:
		t.output = total - t.input
	}
	return t
}

// object is a JSON object whose members are asked for by name; what is not there is zero.
type object map[string]json.RawMessage

func (o object) has(name string) bool { return len(o[name]) > 0 && string(o[name]) != "null" }

func (o object) n(name string) int64 {
	var f float64
	text := o[name]
	if len(text) > 1 && text[0] == '"' {
		text = text[1 : len(text)-1]
	}
	if json.Unmarshal(text, &f) != nil {
		return 0
	}
	return int64(f)
}

func (o object) object(name string) (inner object) {
	_ = json.Unmarshal(o[name], &inner) // what is no object has no members
	return inner
}

func (o object) objects(name string) (inner []object) {
	_ = json.Unmarshal(o[name], &inner)
	return inner
}
