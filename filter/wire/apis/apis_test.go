package apis

import (
	"testing"

	"keel/filter/wire"
	"keel/filter/wire/recording"
	"keel/filter/wire/recording/corpus"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		provider, method, path string
		want                   wire.API // "" for unknown traffic
	}{
		{"", "POST", "/v1/chat/completions", wire.OpenAIChat},
		{"azure", "POST", "/openai/deployments/x/chat/completions?api-version=1", wire.OpenAIChat},
		{"", "POST", "/v1/responses", wire.OpenAIResponses},
		{"", "GET", "/v1/responses/resp_1", wire.OpenAIResponses},
		{"openai", "POST", "/v1/embeddings", wire.OpenAIEmbeddings},
		{"", "POST", "/v1/messages", wire.Anthropic},
		{"", "POST", "/v1/messages/count_tokens", wire.AnthropicCount},
		{"anthropic", "POST", "/v1/messages/batches", wire.AnthropicBatches},
		{"", "POST", "/v1beta/models/gemini-2.5-flash:generateContent", wire.GeminiGenerate},
		{"", "POST", "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", wire.GeminiStream},
		{"vertex", "POST", "/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-pro:generateContent", wire.GeminiGenerate},
		{"vertex", "POST", "/v1/projects/p/locations/l/publishers/anthropic/models/claude-sonnet-4@20250514:rawPredict", wire.Anthropic},
		{"bedrock", "POST", "/model/us.anthropic.claude-sonnet-4-20250514-v1%3A0/converse", wire.BedrockConverse},
		{"bedrock", "POST", "/model/amazon.nova-lite-v1:0/converse-stream", wire.BedrockStream},
		{"bedrock", "POST", "/model/amazon.titan-embed-text-v2:0/invoke", wire.BedrockInvoke},
		{"bedrock", "POST", "/openai/v1/chat/completions", wire.OpenAIChat},
		{"cohere", "POST", "/v2/chat", wire.CohereChat},
		{"writer", "POST", "/v1/chat", wire.OpenAIChat},
		{"cohere", "POST", "/v1/chat", wire.CohereChat},
		{"cohere", "POST", "/v2/rerank", wire.CohereRerank},
		{"ollama", "POST", "/api/chat", wire.OllamaChat},
		{"mistral", "POST", "/v1/ocr", wire.MistralOCR},
		{"watsonx", "POST", "/ml/v1/text/generation?version=1", wire.WatsonxGenerate},
		{"watsonx", "POST", "/ml/v1/text/chat?version=1", wire.OpenAIChat},
		{"vertex", "POST", "/v1/projects/p/locations/l/publishers/mistralai/models/codestral-2501:streamRawPredict", wire.OpenAIChat},
		{"google", "GET", "/v1beta/cachedContents/x", wire.GeminiCache},
		{"google", "PATCH", "/v1beta/cachedContents/x?updateMask=ttl", wire.GeminiCache},
		{"google", "DELETE", "/v1beta/cachedContents/x", ""},
		{"google", "GET", "/v1beta/batches/x", wire.GeminiBatch},
		{"openai", "GET", "/v1/batches/batch_1", wire.OpenAIBatches},
		{"anthropic", "POST", "/v1/messages/batches", wire.AnthropicBatches},
		{"", "GET", "/v1/models", ""},
		{"", "POST", "/", ""},
		{"", "POST", "/v1/files", ""},
		{"", "DELETE", "/v1/responses/resp_1", ""},
	} {
		codec, ok := Match(test.provider, test.method, test.path)
		switch {
		case test.want == "" && ok:
			t.Errorf("%s %s is unknown, matched %s", test.method, test.path, codec.API())
		case test.want != "" && (!ok || codec.API() != test.want):
			t.Errorf("%s %s %s: matched %v, want %s", test.provider, test.method, test.path, codec, test.want)
		}
	}
}

func TestProviderOf(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"api.openai.com": "openai", "API.OpenAI.com:443": "openai", "eu.api.openai.com": "openai", "evilapi.openai.com.example.org": "",
		"x.openai.azure.com": "azure", "x.services.ai.azure.com": "azure", "openai.azure.com": "", "bedrock-runtime.us-east-1.amazonaws.com": "bedrock",
		"bedrock-mantle.us-east-1.api.aws": "bedrock", "s3.amazonaws.com": "", "us-east5-aiplatform.googleapis.com": "vertex",
		"aiplatform.us.rep.googleapis.com": "vertex", "vpce-1-x.bedrock-runtime.us-east-1.vpce.amazonaws.com": "bedrock", "models.inference.ai.azure.com": "github",
		"x.inference.ai.azure.com": "azure", "dashscope-intl.aliyuncs.com": "alibaba",
		"aiplatform.googleapis.com": "vertex", "storage.googleapis.com": "", "localhost:8000": "", "": "",
	} {
		if got := ProviderOf(host); got != want {
			t.Errorf("%q is of %q, want %q", host, got, want)
		}
	}
}

// TestCorpus: what a provider metered is of an API that is known, and its host is known, too.
func TestCorpus(t *testing.T) {
	t.Parallel()
	var matched int
	corpus.Each(t, func(x *recording.Exchange) {
		usage := len(x.UsageExpected) > 0 && string(x.UsageExpected) != "null"
		if _, ok := Match(x.Provider, x.Method, x.Path); ok {
			matched++
		} else if usage && x.Status < 400 {
			t.Errorf("%s: %s %s %s has usage and no API", x.ID, x.Provider, x.Method, x.Path)
		}
		if provider := ProviderOf(x.Host); provider != "" && provider != x.Provider {
			t.Errorf("%s: %s is of %s, and Keel says %s", x.ID, x.Host, x.Provider, provider)
		}
	})
	t.Logf("%d matched", matched)
}

// Every format that has a word for the reasoning effort tells it by the same one.
func TestEffort(t *testing.T) {
	t.Parallel()
	const gemini = "/v1beta/models/m:generateContent"
	for _, tt := range []struct{ path, body, want string }{
		{"/v1/chat/completions", `{"model":"m","messages":[]}`, ""},
		{"/v1/chat/completions", `{"model":"m","messages":[],"reasoning_effort":"High"}`, "high"},
		{"/v1/chat/completions", `{"model":"m","messages":[],"reasoning_effort":"h\u0069gh"}`, "high"},
		{"/v1/chat/completions", `{"model":"m","messages":[],"reasoning_effort":null}`, ""},
		{"/v1/chat/completions", `{"model":"m","messages":[],"reasoning_effort":3}`, ""},
		{"/v1/chat/completions", `{"model":"m","messages":[],"reasoning":{"enabled":false}}`, "none"},
		{"/v1/chat/completions", `{"model":"m","messages":[],"thinking":{"type":"disabled"},"reasoning_effort":"low"}`, "low"},
		{"/v1/chat/completions", `{"model":"m","messages":[],"reasoning_effort":"low","thinking":{"type":"disabled"}}`, "low"},
		{"/v1/chat/completions", `{"model":"m","messages":[],"thinking":{"type":"enabled","budget_tokens":9}}`, ""},
		{"/v1/chat/completions", `{"model":"m","messages":[],"enable_thinking":false}`, "none"},
		{"/v1/responses", `{"model":"m","input":"x","reasoning":{"effort":"minimal","summary":"auto"}}`, "minimal"},
		{"/v1/responses", `{"model":"m","input":"x","reasoning":{"summary":"auto"}}`, ""},
		{"/v1/messages", `{"model":"m","max_tokens":9,"messages":[],"output_config":{"effort":"medium","format":{"schema":{}}}}`, "medium"},
		{"/v1/messages", `{"model":"m","max_tokens":9,"messages":[],"thinking":{"type":"disabled"}}`, "none"},
		{"/v1/messages", `{"model":"m","max_tokens":9,"messages":[],"thinking":{"type":"enabled","budget_tokens":1024}}`, ""},
		{gemini, `{"contents":[],"generationConfig":{"thinkingConfig":{"thinkingLevel":"HIGH"}}}`, "high"},
		{gemini, `{"contents":[],"generationConfig":{"thinkingConfig":{"thinkingLevel":"THINKING_LEVEL_UNSPECIFIED"}}}`, ""},
		{gemini, `{"contents":[],"generationConfig":{"thinkingConfig":{"thinkingLevel":2}}}`, ""},
		{gemini, `{"contents":[],"generationConfig":{"thinkingConfig":{"thinkingBudget":0,"thinkingLevel":"LOW"}}}`, "none"},
		{gemini, `{"contents":[],"generationConfig":{"thinkingConfig":{"thinkingBudget":512}}}`, ""},
	} {
		codec, ok := Match("", "POST", tt.path)
		if !ok {
			t.Fatalf("no format at %s", tt.path)
		}
		r, err := codec.ReadRequest(tt.path, []byte(tt.body))
		if err != nil || r.Effort != tt.want {
			t.Errorf("%s %s: %v, %q; want %q", tt.path, tt.body, err, r.Effort, tt.want)
		}
	}
}
