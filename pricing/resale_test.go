package pricing

import (
	"testing"

	"keel/pricing/meter"
)

// TestResale: who sells a model of another asks the maker's price, or its own.
func TestResale(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		provider, model, day string
		input, output        string // dollars per million; "" for no price
	}{
		{"vercel-gateway", "anthropic/claude-sonnet-4", "2026-01-01", "3", "15"},
		{"vercel-gateway", "anthropic/claude-sonnet-4.5", "2026-01-01", "3", "15"},
		{"vercel-gateway", "xai/grok-4.1-fast", "2026-04-27", "0.2", "0.5"},
		{"vercel-gateway", "amazon/nova-lite", "2026-01-01", "0.06", "0.24"},
		{"vercel-gateway", "alibaba/qwen3-max", "2026-01-01", "", ""}, // hosts ask what they like
		{"portkey", "gpt-4o-mini-2024-07-18", "2026-01-01", "0.15", "0.6"},
		{"portkey", "@openai-prod/gpt-4o-mini", "2026-01-01", "0.15", "0.6"},
		{"portkey", "@mystery/gpt-4o-mini", "2026-01-01", "", ""},
		{"pydantic-gateway", "amazon.nova-micro-v1:0", "2026-01-01", "0.035", "0.14"},
		{"pydantic-gateway", "gemini-2.5-flash", "2026-01-01", "0.3", "2.5"},

		{"openrouter", "openai/gpt-5.6-sol", "2026-07-17", "5", "30"}, // OpenAI's price of that day, not OpenRouter's of today
		{"openrouter", "openai/gpt-5.6-sol", "2026-11-01", "4", "20"},
		{"openrouter", "anthropic/claude-4.5-haiku-20251001", "2026-01-01", "1", "5"},
		{"openrouter", "openai/gpt-4o-mini:online", "2026-01-01", "0.15", "0.6"},
		{"openrouter", "openai/gpt-4o-mini:floor", "2026-01-01", "0.15", "0.6"},
		{"openrouter", "x-ai/grok-4.1-fast", "2026-04-27", "0.2", "0.5"}, // not in its own list
		{"openrouter", "text-embedding-3-small", "2026-04-27", "0.02", ""},
		{"openrouter", "meta-llama/llama-3.3-70b-instruct:free", "2026-04-27", "0", "0"},
		{"openrouter", "nobody/nothing", "2026-04-27", "", ""},

		{"azure", "gpt-4o", "2026-01-01", "2.5", "10"},
		{"azure", "grok-4-fast-reasoning", "2026-01-01", "0.2", "0.5"},
		{"vertex", "claude-sonnet-4-5@20250929", "2026-01-01", "3", "15"},
		{"bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0", "2026-01-01", "3.3", "16.5"},
		{"bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "2026-01-01", "3.3", "16.5"},
		{"bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", "2026-01-01", "3", "15"},
		{"bedrock", "arn:aws:bedrock:us-east-1:123:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "2026-01-01", "3.3", "16.5"},
		{"bedrock", "apac.anthropic.claude-opus-4-8-v1:0", "2026-11-01", "5.5", "27.5"}, // a geography that upstream does not name
		{"bedrock", "anthropic.claude-v2", "2026-01-01", "8", "24"},

		{"huggingface", "openai/gpt-oss-20b:groq", "2026-01-01", "0.1", "0.5"},
		{"huggingface", "nobody/nothing", "2026-01-01", "", ""},
		{"ollama", "llama3", "2026-01-01", "", ""},
		{"self-hosted", "gpt-4o", "2026-01-01", "", ""},
	} {
		r, ok := Catalog().Rates(test.provider, test.model, Terms{At: at(test.day)})
		if !ok {
			if test.input != "" {
				t.Errorf("%s/%s has no price", test.provider, test.model)
			}
			continue
		}
		for kind, want := range map[meter.Kind]string{meter.Input: test.input, meter.Output: test.output} {
			got, known := r.Rate(kind, 0)
			if known != (want != "") || known && got.PerMillion() != want {
				t.Errorf("%s/%s on %s: %v at %v (known: %t) by %s, want %q", test.provider, test.model, test.day, kind, got, known, r.ID, want)
			}
		}
	}
}

// TestDearestHost: where nothing says which host of Hugging Face served a call, the dearest counts.
func TestDearestHost(t *testing.T) {
	t.Parallel()
	const model = "openai/gpt-oss-120b"
	any, ok := Catalog().Rates("huggingface", model, Terms{At: at("2026-11-01")})
	if !ok {
		t.Fatal("no price without a host")
	}
	hosts := 0
	for _, host := range []string{"groq", "novita", "fireworks-ai", "together", "cerebras", "nebius", "hyperbolic", "nscale", "ovhcloud", "sambanova"} {
		r, ok := Catalog().Rates("huggingface", model+":"+host, Terms{At: at("2026-11-01")})
		if !ok {
			continue
		}
		hosts++
		if dearer(r, any) && r.ID != any.ID && (r.steps[0].rates[meter.Input]+r.steps[0].rates[meter.Output]) > (any.steps[0].rates[meter.Input]+any.steps[0].rates[meter.Output]) {
			t.Errorf("%s is dearer than %s", r.ID, any.ID)
		}
	}
	if hosts < 3 {
		t.Errorf("only %d hosts are known", hosts)
	}
}
