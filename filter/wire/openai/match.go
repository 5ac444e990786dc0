package openai

import (
	"slices"
	"strings"

	"keel/filter/wire"
)

// Match returns the codec for a request line. provider is the known name of the host
// ("openai", "azure", "writer", …) or "". Hosts put their own prefix in front of the path
// (/v1, /api/v1, /openai/v1, /openai/deployments/x, none at all), so only its
// end counts. What has more behind it, such as /responses/{id}/input_items,
// is another API and costs nothing.
func Match(provider, method, path string) (wire.Codec, bool) {
	path, _, _ = strings.Cut(path, "?")
	end := strings.Split(strings.Trim(path, "/"), "/")
	switch method {
	case "POST":
		if codec := matchPost(provider, end); codec != nil {
			return codec, true
		}
	case "GET":
		switch {
		case batched(end, ""), ends(end, "batch", "jobs", ""), batched(end, "", "results"): // the latter two Mistral and xAI
			return pollBatch, true
		case ends(end, "videos", ""):
			return pollVideo, true
		case ends(end, "responses", ""):
			return retrieve, true
		case ends(end, "threads", "", "runs", ""):
			return pollRun, true
		}
	}
	return nil, false
}

func matchPost(provider string, path []string) wire.Codec {
	switch {
	case slices.Contains(path, "ml") && (provider == "watsonx" || provider == ""):
		return matchWatsonx(path)
	case isRawPredict(path):
		return Chat{unasked: true} // of Vertex AI: Mistral, which tells usage unasked, AI21 and others
	case ends(path, "chat", "completions"),
		ends(path, "prompts", "", "completions"),           // Portkey: a prompt that is kept there
		ends(path, "cortex", "inference:complete"),         // Snowflake
		ends(path, "serving-endpoints", "", "invocations"): // Databricks
		return Chat{unmarked: provider == "writer", unasked: tellsUnasked[provider]}
	case ends(path, "chat") && provider == "writer":
		return Chat{unmarked: true}
	case provider == "mistral" && (ends(path, "conversations") || ends(path, "conversations", "") || ends(path, "conversations", "", "restart")):
		return conversations
	case ends(path, "agents", "completions"): // Mistral
		return Chat{unasked: true, agent: true}
	case ends(path, "text", "chatcompletion_v2"): // MiniMax
		return Chat{}
	case batched(path), ends(path, "batch", "jobs"):
		return createBatch
	case batched(path, "", "cancel"), ends(path, "batch", "jobs", "", "cancel"):
		return pollBatch
	case ends(path, "videos"), ends(path, "videos", "generations"), ends(path, "videos", "edits"), ends(path, "videos", "extensions"),
		ends(path, "videos", "", "remix"): // the first and the last OpenAI, the others xAI
		return createVideo
	case ends(path, "completions"):
		return Completions{shortByDefault: provider == "openai" || provider == "azure"}
	case ends(path, "responses"):
		return Responses{marked: provider == "openrouter"}
	case ends(path, "responses", "compact"):
		return Responses{operation: compact}
	case ends(path, "responses", "input_tokens"):
		return Responses{operation: countInput}
	case ends(path, "responses", "", "cancel"):
		return retrieve
	case ends(path, "embeddings"), ends(path, "multimodalembeddings"), ends(path, "contextualizedembeddings"): // the latter two Voyage
		return embeddings
	case provider == "cohere" || provider == "" && slices.Contains(path, "v2"): // its own formats have some of the names below
		return nil
	case ends(path, "rerank") && !slices.Contains(path, "cohere"): // Azure serves Cohere's own format under that name
		return rerank
	case ends(path, "moderations"):
		return moderations
	case ends(path, "images"), ends(path, "images", "generations"), ends(path, "images", "edits"), ends(path, "images", "variations"): // the first OpenRouter
		return images
	case ends(path, "audio", "transcriptions"), ends(path, "audio", "translations"):
		return transcriptions
	case ends(path, "stt") && provider == "xai":
		return transcriptions
	case ends(path, "audio", "speech"):
		return speech
	case ends(path, "threads", "runs"), ends(path, "threads", "", "runs"),
		ends(path, "threads", "", "runs", "", "submit_tool_outputs"):
		return runs
	case ends(path, "threads", "", "runs", "", "cancel"):
		return pollRun
	}
	return nil
}

// matchWatsonx returns the codec for what is of OpenAI's form at watsonx.ai, below /ml/.
func matchWatsonx(path []string) wire.Codec {
	switch {
	case ends(path, "text", "chat"), ends(path, "text", "chat_stream"):
		return Chat{watsonx: true, unmarked: true, unasked: true}
	case ends(path, "text", "embeddings"):
		return embeddingsWatsonx
	case ends(path, "text", "rerank"):
		return rerankWatsonx
	}
	return nil
}

// batched reports whether path is batches, below a version or /openai, with more behind it.
func batched(path []string, more ...string) bool {
	return ends(path, append([]string{"v1", "batches"}, more...)...) || ends(path, append([]string{"openai", "batches"}, more...)...)
}

func isRawPredict(path []string) bool {
	start, _ := rawPredict("/" + strings.Join(path, "/"))
	return start > 0
}

// tellsUnasked are the hosts whose chat streams tell their usage without being
// asked (measured on recorded traffic).
var tellsUnasked = map[string]bool{"mistral": true, "deepseek": true, "perplexity": true}

// ends reports whether path has these segments last. "" stands for any segment
// that is not empty.
func ends(path []string, last ...string) bool {
	if len(path) < len(last) {
		return false
	}
	for i, segment := range path[len(path)-len(last):] {
		if segment == "" || last[i] != "" && segment != last[i] {
			return false
		}
	}
	return true
}
