// Package wire is what Keel knows of provider wire formats in common: what a
// request asks, how it is changed, what a response used. Each format lives in
// a package of its own below this one and implements Codec.
//
// It refuses to know prices and policies, and it never re-encodes a body: a
// change is a splice of bytes at offsets that the one strict walk found.
package wire

import (
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

// An API is a wire format, not a company: many providers speak openai.chat.
type API string

// The formats that can be read. What a call asks for within a format is its tokens.Task.
const (
	OpenAIChat           API = "openai.chat"
	OpenAIResponses      API = "openai.responses" // create, compact, input_tokens, retrieve
	OpenAICompletions    API = "openai.completions"
	OpenAIEmbeddings     API = "openai.embeddings"
	OpenAIImages         API = "openai.images"
	OpenAIAudio          API = "openai.audio"
	OpenAIModerations    API = "openai.moderations"
	OpenAIAssistants     API = "openai.assistants" // runs and their polls
	OpenAIBatches        API = "openai.batches"
	OpenAIVideos         API = "openai.videos"
	Anthropic            API = "anthropic.messages"
	AnthropicCount       API = "anthropic.count_tokens"
	AnthropicBatches     API = "anthropic.batches"
	AnthropicComplete    API = "anthropic.complete"
	GeminiGenerate       API = "gemini.generateContent"
	GeminiStream         API = "gemini.streamGenerateContent"
	GeminiCount          API = "gemini.countTokens"
	GeminiEmbed          API = "gemini.embedContent"
	GeminiCache          API = "gemini.cachedContents"
	GeminiInteractions   API = "gemini.interactions"
	GeminiBatch          API = "gemini.batchGenerateContent"
	VertexPredict        API = "vertex.predict"
	BedrockConverse      API = "bedrock.converse"
	BedrockStream        API = "bedrock.converse-stream"
	BedrockInvoke        API = "bedrock.invoke"
	BedrockInvokeStream  API = "bedrock.invoke-stream"
	BedrockCount         API = "bedrock.count-tokens"
	CohereChat           API = "cohere.chat"
	CohereGenerate       API = "cohere.generate"
	CohereEmbed          API = "cohere.embed"
	CohereRerank         API = "cohere.rerank"
	CohereAudio          API = "cohere.audio"
	MistralOCR           API = "mistral.ocr"
	MistralConversations API = "mistral.conversations"
	OllamaChat           API = "ollama.chat"
	OllamaGenerate       API = "ollama.generate"
	OllamaEmbed          API = "ollama.embed"
	WatsonxGenerate      API = "watsonx.generate"
	HuggingFace          API = "huggingface.generate"
)

// A Codec reads and changes the calls of one API. Codecs hold no state and are
// safe for concurrent use.
type Codec interface {
	API() API

	// ReadRequest reads a request in one strict walk. It refuses broken JSON,
	// invalid UTF-8, duplicate keys at any depth and anything after the value, because a
	// body that says two things could say one to Keel and another to the
	// provider. The error is a *SyntaxError or *RequestError.
	ReadRequest(path string, body []byte) (*Request, error)

	// Rewrite returns the path and body with edit applied by splicing. What is not
	// changed is the same bytes; with an empty edit it returns its arguments.
	Rewrite(r *Request, path string, body []byte, edit Edit) (newPath string, newBody []byte)

	// NewReader returns a reader for the response to r. What it needs of the
	// header it reads before it returns.
	NewReader(r *Request, status int, header Header) ResponseReader

	// Refuse renders a refusal in the error shape of the API, so that its
	// client libraries raise the error that their users already handle.
	Refuse(Refusal) (contentType string, body []byte)
}

// Header is what the headers of a response say, as an http.Header does.
type Header interface {
	// Get returns the first value of a header, whose name is in any case; "" without one.
	Get(name string) string
}

// Span is a half-open range of byte offsets in a request body; that of a string
// includes its quotes. The zero Span means that the value is not in the body.
type Span struct{ Start, End int }

// Len returns the number of bytes in s.
func (s Span) Len() int { return s.End - s.Start }

// Request is what one call asks for.
type Request struct {
	API    API
	Model  string // as asked for; empty only where the format lets a request name none (Retrieve, runs of an assistant)
	Stream bool   // the response is to be streamed

	// MaxOutputTokens is the stated limit on the output of one choice; 0 where
	// the request states none (a stated 0 or negative is a *RequestError).
	MaxOutputTokens int64
	Choices         int64  // alternatives asked for, at least 1: each may use MaxOutputTokens
	ServiceTier     string // as asked for, "" when not
	Effort          string // of reasoning, as asked for, in lower case: "none" where it is turned off; "" where none is stated, also where a number of tokens is
	Speed           string // "fast" where a faster mode was asked for, "" when not
	Region          string // where the work is to be done, as the request says it (Anthropic inference_geo), "" when not
	SearchContext   string // search_context_size of hosted search: low, medium, high; "" when not stated
	Prompt          tokens.Prompt

	// WantsUsage: an OpenAI-style stream asked for its usage chunk itself.
	// Where it is false and UsageForced is true, the reader hides it.
	WantsUsage bool

	// UsageForced is set by the caller once it sent what Rewrite made with
	// Edit.ForceUsage: NewReader looks at it to know that the usage chunk was
	// not the client's wish.
	UsageForced bool

	// Background: the answer to this call tells no usage, because the work is
	// done later and fetched with another call.
	Background bool

	// Marks are the offsets that Rewrite needs. They belong to the codec that
	// made them and to the body that they were read from.
	Marks any
}

// Edit is what a decision changes in a request.
type Edit struct {
	Model           string // "" leaves the model
	MaxOutputTokens int64  // 0 leaves the limit; else it is set or lowered to this
	ForceUsage      bool   // ask an OpenAI-style stream for its usage chunk
}

// A ResponseReader reads one response as it arrives, cut anywhere. It is used
// by one goroutine.
type ResponseReader interface {
	// Feed takes the next bytes, content-decoded; end marks the last ones (and
	// may come with none). It returns what the client should get in their
	// place: chunk itself unless an event is hidden or held back until it is
	// known whether to hide it.
	Feed(chunk []byte, end bool) (forward []byte)

	// Reading is what was read so far. It may be asked at any time.
	Reading() Reading
}

// Reading is what a response said.
type Reading struct {
	Usage    *meter.Usage // nil: nothing reported, which is not zero
	RawUsage []byte       // the provider's own object, final form; nil with Usage
	// Parts is what is billed, by model, where that is not simply Usage at Model: iterations
	// of one response by several models, or more than the total says. Nil otherwise.
	Parts []meter.Part
	// ReportedCost is what the provider itself says that the call cost: US dollars as
	// an exact plain decimal ("0.000123"), "" if it does not say.
	ReportedCost string
	// ID is the provider's name for the response or job, under which its usage may be told again.
	ID string
	// Created is the body's own creation time in Unix seconds, 0 if it tells none.
	Created       int64
	Speed         string // as reported, "" if not
	Region        string // as reported, "" if not
	SearchContext string // as reported, "" if not
	Model         string // as reported, "" if not
	ServiceTier   string // as reported, "" if not
	// Terminal: the body said by itself that it is whole (a complete JSON value, [DONE], message_stop, response.completed, …).
	Terminal bool
	// Partial: Usage is a running or placeholder figure that a later event would have replaced.
	Partial bool
	// OutputBytes is the UTF-8 length of generated text, arguments and reasoning seen, for estimating a response that was cut before it told its usage.
	OutputBytes int64
	// Failure is the provider's error message in an error body or error event, "" if none.
	Failure string
}

// Refusal is an answer that Keel gives in place of the provider.
type Refusal struct {
	Status     int    // HTTP status: 400, 403, 429, 503
	Code       string // machine-readable: budget_exceeded, policy_denied, invalid_body, unpriced_model, …
	Message    string // for people: what, why, what to do
	DecisionID string
	Details    map[string]string // budget or policy name, amounts; may be nil
}
