package openai

import (
	"strings"
	"testing"

	"keel/filter/wire"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]wire.API{
		"openai POST /v1/chat/completions":                                wire.OpenAIChat,
		" POST /chat/completions":                                         wire.OpenAIChat,
		" POST /api/v1/chat/completions?x=1":                              wire.OpenAIChat,
		" POST /openai/v1/chat/completions":                               wire.OpenAIChat,
		"azure POST //openai/deployments/x/chat/completions?api-version=": wire.OpenAIChat,
		"portkey POST /v1/prompts/pp-1/completions":                       wire.OpenAIChat,
		"writer POST /v1/chat":                                            wire.OpenAIChat,
		"cohere POST /v1/chat":                                            "",
		" POST /v1/chat":                                                  "",
		"cohere POST /compatibility/v1/chat/completions":                  wire.OpenAIChat,
		"snowflake POST /api/v2/cortex/v1/chat/completions":               wire.OpenAIChat,
		"snowflake POST /api/v2/cortex/inference:complete":                wire.OpenAIChat,
		"databricks POST /serving-endpoints/dbrx/invocations":             wire.OpenAIChat,
		"databricks POST /serving-endpoints/chat/completions":             wire.OpenAIChat,
		" POST /v1/chat/completions/chatcmpl-1":                           "",
		" GET /v1/chat/completions":                                       "",
		" POST /v1/xchat/completions":                                     wire.OpenAICompletions,
		" POST /v1/models?x=/chat/completions":                            "",
		" POST /v1/completions":                                           wire.OpenAICompletions,
		"mistral POST /v1/fim/completions":                                wire.OpenAICompletions,
		"mistral POST /v1/agents/completions":                             "",
		" POST /v1/responses":                                             wire.OpenAIResponses,
		" POST /responses?api-version=1":                                  wire.OpenAIResponses,
		" POST /v1/responses/compact":                                     wire.OpenAIResponses,
		" POST /v1/responses/input_tokens":                                wire.OpenAIResponses,
		" POST /v1/responses/resp_1/cancel":                               wire.OpenAIResponses,
		" GET /v1/responses/resp_1":                                       wire.OpenAIResponses,
		" GET /v1/responses/resp_1/input_items":                           "",
		" GET /v1/responses/":                                             "",
		" DELETE /v1/responses/resp_1":                                    "",
		" POST /v1/xresponses":                                            "",
		" POST /v1/embeddings":                                            wire.OpenAIEmbeddings,
		"voyage POST /v1/multimodalembeddings":                            wire.OpenAIEmbeddings,
		"voyage POST /v1/rerank":                                          wire.OpenAIEmbeddings,
		"openrouter POST /api/v1/rerank":                                  wire.OpenAIEmbeddings,
		"cohere POST /v2/rerank":                                          "",
		"azure POST /providers/cohere/v2/rerank":                          "",
		" POST /v2/rerank":                                                "",
		" POST /v2/audio/transcriptions":                                  "",
		"cohere POST /compatibility/v1/embeddings":                        wire.OpenAIEmbeddings,
		" POST /v1/moderations":                                           wire.OpenAIModerations,
		"mistral POST /v1/chat/moderations":                               wire.OpenAIModerations,
		" POST /v1/images/generations":                                    wire.OpenAIImages,
		" POST /v1/images/edits":                                          wire.OpenAIImages,
		"openrouter POST /api/v1/images":                                  wire.OpenAIImages,
		" POST /v1/audio/transcriptions":                                  wire.OpenAIAudio,
		"cohere POST /v2/audio/transcriptions":                            "",
		" POST /v1/audio/translations":                                    wire.OpenAIAudio,
		" POST /v1/audio/speech":                                          wire.OpenAIAudio,
		"xai POST /v1/stt":                                                wire.OpenAIAudio,
		" POST /v1/stt":                                                   "",
		" POST /v1/threads/runs":                                          wire.OpenAIAssistants,
		" POST /v1/threads/t/runs":                                        wire.OpenAIAssistants,
		" GET /v1/threads/t/runs/r":                                       wire.OpenAIAssistants,
		" POST /v1/threads/t/runs/r/submit_tool_outputs":                  wire.OpenAIAssistants,
		" POST /v1/threads/t/runs/r/cancel":                               wire.OpenAIAssistants,
		" GET /v1/threads/t/runs/r/steps":                                 "",
		" GET /v1/threads/t/runs":                                         "",
		" POST /v1/threads":                                               "",
		" POST /":                                                         "",
	} {
		word := strings.SplitN(line, " ", 3)
		codec, ok := Match(word[0], word[1], word[2])
		if ok != (want != "") || ok && codec.API() != want {
			t.Errorf("%s: %v, want %q", line, codec, want)
		}
	}
}
