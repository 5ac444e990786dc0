// Package meter names what providers bill for and holds the quantities of one
// call: the vocabulary that wire readers fill and that prices are written in.
//
// It knows no provider, no price and no policy.
package meter

import (
	"encoding/json"
	"fmt"
)

// A Kind is one billable unit kind. Kinds are disjoint: a token is counted in
// exactly one of them, so that a cost is a plain sum over kinds. In particular
// Input excludes what was read from or written to a cache, and Output excludes
// Reasoning.
type Kind uint8

const (
	Input               Kind = iota // input tokens, neither cached nor written to a cache, text or unspecified
	CachedInput                     // input tokens read from a cache
	CacheWrite5m                    // input tokens written to a cache for the provider's short (default) time
	CacheWrite1h                    // input tokens written to a cache for an hour
	InputAudio                      // uncached audio input tokens
	CachedInputAudio                // cached audio input tokens
	InputImage                      // uncached image input tokens
	CachedInputImage                // cached image input tokens
	InputVideo                      // video input tokens
	UnbilledInput                   // input tokens that the provider counts and does not bill (Cohere: tokens beyond billed_units)
	UnbilledCachedInput             // the same, read from a cache
	Output                          // output tokens, without reasoning, text or unspecified
	Reasoning                       // output tokens spent on reasoning, shown or hidden
	OutputAudio                     // audio output tokens
	OutputImage                     // image output tokens
	OutputVideo                     // video output tokens
	UnbilledOutput                  // output tokens that the provider counts and does not bill
	WebSearch                       // searches of the web by the provider
	FileSearch                      // searches of stored files by the provider
	CodeInterpreter                 // sessions of a hosted code interpreter
	HostedTools                     // calls of other tools that the provider runs and bills one by one
	Calls                           // calls that the provider bills one by one
	SearchUnits                     // searches of a rerank, as the provider counts them
	Pages                           // pages of documents
	InputSeconds                    // seconds of audio or video that came in, started ones count
	OutputSeconds                   // seconds of audio or video that went out, started ones count
	Characters                      // characters of text to speak or translate
	Images                          // images made, where they are billed one by one
	CacheStorage                    // tokens times started hours that an explicit cache is kept

	NumKinds = int(CacheStorage) + 1
)

var names = [NumKinds]string{
	Input: "input", CachedInput: "cached_input", CacheWrite5m: "cache_write_5m", CacheWrite1h: "cache_write_1h",
	InputAudio: "input_audio", CachedInputAudio: "cached_input_audio", InputImage: "input_image", CachedInputImage: "cached_input_image",
	InputVideo: "input_video", UnbilledInput: "unbilled_input", UnbilledCachedInput: "unbilled_cached_input",
	Output: "output", Reasoning: "reasoning", OutputAudio: "output_audio", OutputImage: "output_image", OutputVideo: "output_video",
	UnbilledOutput: "unbilled_output",
	WebSearch:      "web_search", FileSearch: "file_search", CodeInterpreter: "code_interpreter", HostedTools: "hosted_tools", Calls: "calls",
	SearchUnits: "search_units", Pages: "pages", InputSeconds: "input_seconds", OutputSeconds: "output_seconds",
	Characters: "characters", Images: "images", CacheStorage: "cache_storage",
}

// String returns the name that price documents and records use.
func (k Kind) String() string {
	if int(k) < NumKinds {
		return names[k]
	}
	return fmt.Sprintf("meter(%d)", uint8(k))
}

var kinds = func() map[string]Kind {
	byName := make(map[string]Kind, NumKinds)
	for k, name := range names {
		byName[name] = Kind(k)
	}
	return byName
}()

// ParseKind is the inverse of String.
func ParseKind(name string) (Kind, error) {
	if k, there := kinds[name]; there {
		return k, nil
	}
	return 0, fmt.Errorf("meter: unknown meter %q", name)
}

// MarshalText is String: documents and records name meters.
func (k Kind) MarshalText() ([]byte, error) {
	if int(k) >= NumKinds {
		return nil, fmt.Errorf("meter: no meter has number %d", uint8(k))
	}
	return []byte(names[k]), nil
}

// UnmarshalText is ParseKind.
func (k *Kind) UnmarshalText(name []byte) error {
	parsed, err := ParseKind(string(name))
	if err == nil {
		*k = parsed
	}
	return err
}

// Usage is what was metered for one call, one quantity a Kind, in that kind's
// own unit (tokens, searches, calls). Quantities are never negative.
//
// A nil *Usage means that nothing was reported; a zero Usage means that zero
// was reported. The two are never exchanged for each other.
type Usage [NumKinds]int64

// InputTokens is everything that came in: cached, cache-written and every modality.
func (u *Usage) InputTokens() int64 {
	return u[Input] + u[CachedInput] + u[CacheWrite5m] + u[CacheWrite1h] + u[InputAudio] + u[CachedInputAudio] +
		u[InputImage] + u[CachedInputImage] + u[InputVideo] + u[UnbilledInput] + u[UnbilledCachedInput]
}

// CachedInputTokens is the part of InputTokens read from a cache.
func (u *Usage) CachedInputTokens() int64 {
	return u[CachedInput] + u[CachedInputAudio] + u[CachedInputImage] + u[UnbilledCachedInput]
}

// CacheWriteTokens is the part of InputTokens written to a cache.
func (u *Usage) CacheWriteTokens() int64 { return u[CacheWrite5m] + u[CacheWrite1h] }

// OutputTokens is everything that went out, reasoning and every modality included.
func (u *Usage) OutputTokens() int64 {
	return u[Output] + u[Reasoning] + u[OutputAudio] + u[OutputImage] + u[OutputVideo] + u[UnbilledOutput]
}

// ReasoningTokens is the part of OutputTokens spent on reasoning.
func (u *Usage) ReasoningTokens() int64 { return u[Reasoning] }

// MarshalJSON writes the quantities that are not zero by the names of their
// meters, so that a record outlives a change in the list of meters.
func (u Usage) MarshalJSON() ([]byte, error) {
	quantities := make(map[Kind]int64)
	for k, quantity := range u {
		if quantity != 0 {
			quantities[Kind(k)] = quantity
		}
	}
	return json.Marshal(quantities)
}

// UnmarshalJSON is the inverse of MarshalJSON. An unknown meter or a negative quantity is an error.
func (u *Usage) UnmarshalJSON(text []byte) error {
	var quantities map[Kind]int64
	if err := json.Unmarshal(text, &quantities); err != nil {
		return err
	}
	var read Usage
	for k, quantity := range quantities {
		if quantity < 0 {
			return fmt.Errorf("meter: negative quantity %d of %v", quantity, k)
		}
		read[k] = quantity
	}
	*u = read
	return nil
}

// Part is the usage of one model in a call that used several.
type Part struct {
	Model string `json:"model,omitempty"` // "" for the model of the call
	Usage Usage  `json:"usage"`
}
