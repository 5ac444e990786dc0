package bedrock

import (
	"encoding/json"
	"testing"

	"keel/filter/wire"
	"keel/filter/wire/recording"
	"keel/filter/wire/recording/corpus"
	"keel/filter/wire/wiretest"
)

// recorded is a usage as the recorder kept it, of any family.
type recorded struct {
	Input      *int64 `json:"inputTokens"`
	Output     int64  `json:"outputTokens"`
	Read       int64  `json:"cacheReadInputTokens"`
	ReadCount  int64  `json:"cacheReadInputTokenCount"`
	Write      int64  `json:"cacheWriteInputTokens"`
	WriteCount int64  `json:"cacheWriteInputTokenCount"`

	Metrics    *int64 `json:"inputTokenCount"`
	MetricsOut int64  `json:"outputTokenCount"`

	Claude      *int64 `json:"input_tokens"`
	ClaudeOut   int64  `json:"output_tokens"`
	ClaudeRead  int64  `json:"cache_read_input_tokens"`
	ClaudeWrite int64  `json:"cache_creation_input_tokens"`
	Titan       *int64 `json:"inputTextTokenCount"`
	Results     []struct{ TokenCount int64 }
	TitanOut    json.Number `json:"totalOutputTextTokenCount"` // with a fraction of 0

	Llama        int64  `json:"prompt_token_count"`
	LlamaOut     int64  `json:"generation_token_count"`
	OpenAI       *int64 `json:"prompt_tokens"`
	OpenAIOut    int64  `json:"completion_tokens"`
	HeaderInput  *int64 `json:"x-amzn-bedrock-input-token-count,string"`
	HeaderOutput int64  `json:"x-amzn-bedrock-output-token-count,string"`
}

// totals are input with caches, cached, written, output.
func (r *recorded) totals() (totals [4]int64) {
	switch {
	case r.Input != nil:
		read, written := max(r.Read, r.ReadCount), max(r.Write, r.WriteCount)
		return [4]int64{*r.Input + read + written, read, written, r.Output}
	case r.Metrics != nil:
		return [4]int64{*r.Metrics + r.ReadCount + r.WriteCount, r.ReadCount, r.WriteCount, r.MetricsOut}
	case r.Claude != nil:
		return [4]int64{*r.Claude + r.ClaudeRead + r.ClaudeWrite, r.ClaudeRead, r.ClaudeWrite, r.ClaudeOut}
	case r.Titan != nil || r.TitanOut != "":
		whole, _ := r.TitanOut.Float64()
		out, in := int64(whole), int64(0)
		if r.Titan != nil {
			in = *r.Titan
		}
		for _, result := range r.Results {
			out += result.TokenCount
		}
		return [4]int64{in, 0, 0, out}
	case r.LlamaOut > 0:
		return [4]int64{r.Llama, 0, 0, r.LlamaOut}
	case r.OpenAI != nil:
		return [4]int64{*r.OpenAI, 0, 0, r.OpenAIOut}
	case r.HeaderInput != nil:
		return [4]int64{*r.HeaderInput, 0, 0, r.HeaderOutput}
	}
	return totals
}

func TestRecordedTraffic(t *testing.T) {
	t.Parallel()
	n, right := 0, 0
	corpus.Each(t, func(x *recording.Exchange) {
		if _, ok := Match(x.Provider, x.Method, x.Path); !ok {
			return
		}
		_, got, ok := wiretest.Exchange(t, Match, x)
		if !ok || x.Status >= 400 {
			return
		}
		n++
		if string(x.UsageExpected) == "null" || len(x.UsageExpected) == 0 {
			if got.Usage != nil {
				t.Errorf("%s: usage %v out of nothing", x.ID, got.Usage)
				return
			}
			right++
			return
		}
		var want recorded
		if err := json.Unmarshal(x.UsageExpected, &want); err != nil {
			t.Fatalf("%s: %v", x.ID, err)
		}
		switch u := got.Usage; {
		case u == nil || got.Partial:
			t.Errorf("%s %s: no final usage was read, want %s", x.ID, x.Path, x.UsageExpected)
		case want.totals()[0] == 0 && u.InputTokens() > 0 && u.OutputTokens() == want.totals()[3]:
			right++ // the recorder kept one event; another tells the prompt
		case [4]int64{u.InputTokens(), u.CachedInputTokens(), u.CacheWriteTokens(), u.OutputTokens()} != want.totals():
			t.Errorf("%s %s: usage %v, want %s", x.ID, x.Path, *u, x.UsageExpected)
		default:
			right++
		}
	})
	t.Logf("right: %d of %d", right, n)
	if n < 250 {
		t.Errorf("only %d exchanges were found", n)
	}
}

// TestOutputIsSeen: whoever writes much is seen to write, so that a response that was cut can be estimated.
func TestOutputIsSeen(t *testing.T) {
	t.Parallel()
	corpus.Each(t, func(x *recording.Exchange) {
		codec, ok := Match(x.Provider, x.Method, x.Path)
		if !ok || x.Status >= 400 {
			return
		}
		request, _ := x.Request()
		body, _ := x.Response()
		r, err := codec.ReadRequest(x.Path, request)
		if err != nil {
			return
		}
		got := wiretest.Read(t, codec, r, wiretest.Response{Status: x.Status, Header: recording.Header(x.ResponseHeaders), Body: body}, 0)
		if got.Usage != nil && got.Usage.OutputTokens() > 50 && got.OutputBytes < got.Usage.OutputTokens()/20 {
			t.Errorf("%s %s: %d output tokens and %d bytes of text", x.ID, x.Path, got.Usage.OutputTokens(), got.OutputBytes)
		}
		if codec.API() != wire.BedrockCount && len(r.Prompt.Segments) == 0 && len(r.Prompt.Images) == 0 {
			t.Errorf("%s %s: no prompt in %.200s", x.ID, x.Path, request)
		}
	})
}
