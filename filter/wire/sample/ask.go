package sample

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"keel/filter/wire"
)

// InputTokens is the documented function of a request's text.
func InputTokens(textBytes, messages int64) int64 { return (textBytes+3)/4 + 4*messages }

// OutputTokens is the documented function of the input; limit 0 is none.
func OutputTokens(input, limit int64) int64 {
	n := 8 + input%25
	if limit > 0 {
		n = min(n, limit)
	}
	return n
}

// ask is what a request asks for.
type ask struct {
	api          wire.API
	model        string
	stream       bool
	sse          bool // Gemini: alt=sse, else a JSON array
	includeUsage bool // OpenAI chat: stream_options.include_usage
	limit        int64
	choices      int64
	textBytes    int64
	messages     int64
}

// readAsk reads a request as loosely as real providers do.
func readAsk(api wire.API, path, alt string, body []byte) (ask, error) {
	a := ask{api: api, choices: 1, sse: alt == "sse"}
	var in struct {
		Model         string
		Stream        bool
		StreamOptions struct {
			IncludeUsage bool `json:"include_usage"`
		} `json:"stream_options"`
		MaxTokens           *int64 `json:"max_tokens"`
		MaxCompletionTokens *int64 `json:"max_completion_tokens"`
		MaxOutputTokens     *int64 `json:"max_output_tokens"`
		N                   *int64
		Messages            json.RawMessage
		System              json.RawMessage
		Input               json.RawMessage
		Instructions        json.RawMessage
		Contents            json.RawMessage
		SystemInstruction   json.RawMessage `json:"systemInstruction"`
		SystemInstruction2  json.RawMessage `json:"system_instruction"`
		Tools               json.RawMessage
		Generation          generation `json:"generationConfig"`
		Generation2         generation `json:"generation_config"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return a, fmt.Errorf("the request body is not valid: %w", err)
	}
	a.model, a.stream, a.includeUsage = in.Model, in.Stream, in.StreamOptions.IncludeUsage
	turns := in.Messages
	limits := []*int64{in.MaxTokens, in.MaxCompletionTokens}
	switch api {
	case wire.Anthropic:
		if in.MaxTokens == nil {
			return a, errors.New("max_tokens: Field required")
		}
	case wire.OpenAIResponses:
		turns, limits = in.Input, []*int64{in.MaxOutputTokens}
	case wire.GeminiGenerate, wire.GeminiStream:
		turns = in.Contents
		a.stream = api == wire.GeminiStream
		a.model = path[strings.LastIndex(path, "/models/")+len("/models/") : strings.LastIndex(path, ":")]
		limits = []*int64{in.Generation.Max, in.Generation.Max2, in.Generation2.Max, in.Generation2.Max2}
		for _, n := range []*int64{in.Generation.Count, in.Generation2.Count2} {
			if n != nil {
				in.N = n
			}
		}
	}
	if a.model == "" {
		return a, errors.New("you must provide a model parameter")
	}
	if len(turns) == 0 {
		return a, errors.New("the request has no messages, input or contents")
	}
	for _, n := range limits {
		if n != nil && *n <= 0 {
			return a, fmt.Errorf("the output limit has to be at least 1, not %d", *n)
		}
		if n != nil && (a.limit == 0 || *n < a.limit) {
			a.limit = *n
		}
	}
	if in.N != nil {
		if *in.N < 1 || *in.N > 8 {
			return a, fmt.Errorf("the number of choices has to be 1 to 8, not %d", *in.N)
		}
		a.choices = *in.N
	}
	a.messages = 1
	var list []json.RawMessage
	if json.Unmarshal(turns, &list) == nil {
		a.messages = int64(len(list))
	}
	for _, raw := range []json.RawMessage{turns, in.System, in.Instructions, in.SystemInstruction, in.SystemInstruction2, in.Tools} {
		var v any
		if len(raw) > 0 && json.Unmarshal(raw, &v) == nil {
			a.textBytes += stringBytes(v)
		}
	}
	return a, nil
}

// generation is Gemini's nested configuration, which comes in two casings.
type generation struct {
	Max    *int64 `json:"maxOutputTokens"`
	Max2   *int64 `json:"max_output_tokens"`
	Count  *int64 `json:"candidateCount"`
	Count2 *int64 `json:"candidate_count"`
}

// stringBytes adds up the string values in v.
func stringBytes(v any) (n int64) {
	switch v := v.(type) {
	case string:
		return int64(len(v))
	case []any:
		for _, e := range v {
			n += stringBytes(e)
		}
	case map[string]any:
		for _, e := range v {
			n += stringBytes(e)
		}
	}
	return n
}

// draft is an answer before it has a shape.
type draft struct {
	ask
	id        uint64
	created   int64    // Unix seconds
	words     []string // of every choice
	cutShort  bool     // by the output limit
	usage     Usage
	omitUsage bool
}

var vocabulary = strings.Fields("the sample provider has no model and says the same words again so that every test can know them")

// draft decides the answer to a.
func (a ask) draft(f faults) draft {
	d := draft{ask: a, omitUsage: f.omitUsage}
	d.usage.InputTokens = InputTokens(a.textBytes, a.messages)
	d.usage.CachedTokens = min(f.cachedTokens, d.usage.InputTokens)
	wanted := OutputTokens(d.usage.InputTokens, 0)
	if f.outputTokens >= 0 {
		wanted = f.outputTokens
	}
	n := wanted
	if a.limit > 0 {
		n = min(n, a.limit)
	}
	d.cutShort = n < wanted
	d.usage.OutputTokens = n * a.choices
	for i := range n {
		word := vocabulary[i%int64(len(vocabulary))]
		if i > 0 {
			word = " " + word
		}
		d.words = append(d.words, word)
	}
	return d
}

func (d draft) text() string { return strings.Join(d.words, "") }

// ident makes an id in the manner of the providers.
func (d draft) ident(prefix string) string {
	return prefix + fmt.Sprintf("%024x", d.id)
}

// quote renders a JSON string.
func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return strconv.Quote(s) // cannot happen: a string always has a JSON form
	}
	return string(b)
}
