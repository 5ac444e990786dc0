package openai

import (
	"keel/filter/wire/walk"
	"keel/pricing/meter"
)

// counts are the numbers of a usage object, in the words of Chat Completions; -1 is
// absent.
type counts struct {
	prompt, completion, total        int64
	cached, cachedAudio, cacheWrite  int64
	promptAudio, promptImage         int64
	reasoning                        int64
	completionAudio, completionImage int64
	searches                         int64

	// apart: the object is of a gateway that states reasoning beside completion
	// and leaves it out of total (Vercel, known by market_cost; its own cost
	// includes it).
	apart bool
}

// maxCount is above any real quantity and far from overflowing a sum.
const maxCount = 1 << 40

// readUsage reads a usage object of either API. ok is false where it holds
// none of the three main counts, which is as good as no usage.
func readUsage(c *walk.Cursor) (u counts, ok bool, err error) {
	u = counts{
		prompt: -1, completion: -1, total: -1, cached: -1, cachedAudio: -1, cacheWrite: -1,
		promptAudio: -1, promptImage: -1, reasoning: -1, completionAudio: -1, completionImage: -1, searches: -1,
	}
	var cachedElse, writeElse, reasoningElse int64 = -1, -1, -1
	err = c.Object(func(key []byte) error {
		switch string(key) {
		case "prompt_tokens", "input_tokens":
			return count(c, &u.prompt)
		case "completion_tokens", "output_tokens":
			return count(c, &u.completion)
		case "total_tokens":
			return count(c, &u.total)
		case "prompt_tokens_details", "input_tokens_details":
			return u.promptDetails(c)
		case "completion_tokens_details", "output_tokens_details":
			return u.completionDetails(c)
		// The same facts at the top: DeepSeek, Together and Moonshot, LiteLLM and
		// Vercel. The details win where both stand.
		case "prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens":
			return count(c, &cachedElse)
		case "cache_creation_input_tokens":
			return count(c, &writeElse)
		case "reasoning_tokens":
			return count(c, &reasoningElse)
		// Searches: xAI, OpenRouter, Perplexity.
		case "server_side_tool_usage_details", "server_tool_use_details", "server_tool_use":
			return u.searchDetails(c)
		case "num_search_queries":
			return count(c, &u.searches)
		case "market_cost":
			u.apart = true
		}
		return nil
	})
	orElse(&u.cached, cachedElse)
	orElse(&u.cacheWrite, writeElse)
	orElse(&u.reasoning, reasoningElse)
	return u, u.prompt >= 0 || u.completion >= 0 || u.total >= 0, err
}

func (u *counts) promptDetails(c *walk.Cursor) error {
	return c.Object(func(key []byte) error {
		switch string(key) {
		case "cached_tokens":
			return count(c, &u.cached)
		case "cache_write_tokens":
			return count(c, &u.cacheWrite)
		case "audio_tokens":
			return count(c, &u.promptAudio)
		case "image_tokens":
			return count(c, &u.promptImage)
		case "cached_tokens_details":
			return c.Object(func(key []byte) error {
				if string(key) == "audio_tokens" {
					return count(c, &u.cachedAudio)
				}
				return nil
			})
		}
		return nil
	})
}

func (u *counts) completionDetails(c *walk.Cursor) error {
	return c.Object(func(key []byte) error {
		switch string(key) {
		case "reasoning_tokens":
			return count(c, &u.reasoning)
		case "audio_tokens":
			return count(c, &u.completionAudio)
		case "image_tokens":
			return count(c, &u.completionImage)
		}
		return nil
	})
}

func (u *counts) searchDetails(c *walk.Cursor) error {
	return c.Object(func(key []byte) error {
		switch string(key) {
		case "web_search_calls", "x_search_calls", "web_search_requests":
			var n int64 = -1
			err := count(c, &n)
			if n >= 0 {
				u.searches = max(u.searches, 0) + n
			}
			return err
		}
		return nil
	})
}

// count reads a quantity into n; what is none leaves n alone.
func count(c *walk.Cursor, n *int64) error {
	v, ok, err := c.Int()
	if ok && v >= 0 && v <= maxCount {
		*n = v
	}
	return err
}

func orElse(n *int64, other int64) {
	if *n < 0 {
		*n = other
	}
}

// normalise turns counts into disjoint quantities. partial: one side was not
// stated and does not follow from the total.
//
// Cached, audio and image tokens are inside prompt, and clamped to it (Azure
// reports cached above prompt for some models). Reasoning is inside completion
// unless total is more than prompt and completion together: then all that is
// beyond the prompt is output, which covers xAI chat (total = prompt +
// completion + reasoning) and Google's compatible endpoint (total counts
// thoughts that nothing else shows). Where a part of it is reported as
// reasoning beyond completion without such proof, it is clamped.
func (u *counts) normalise() (usage meter.Usage, partial bool) {
	prompt, completion := u.prompt, u.completion
	switch {
	case prompt < 0 && completion < 0: // total alone: all that is known went one way or the other
		prompt, completion, partial = u.total, 0, true
	case completion < 0:
		completion, partial = max(u.total-prompt, 0), u.total < prompt
	case prompt < 0:
		prompt, partial = max(u.total-completion, 0), u.total < completion
	}
	reasoning := max(u.reasoning, 0)
	output := completion
	switch {
	case u.total > prompt+completion:
		output = u.total - prompt
	case u.apart:
		output = completion + reasoning
	}

	left := prompt
	take := func(kind meter.Kind, from *int64, n int64) {
		n = min(max(n, 0), *from)
		usage[kind] += n
		*from -= n
	}
	cached := min(max(u.cached, 0), prompt)
	take(meter.CachedInputAudio, &cached, u.cachedAudio)
	take(meter.CachedInput, &cached, cached)
	left -= usage[meter.CachedInputAudio] + usage[meter.CachedInput]
	take(meter.CacheWrite5m, &left, u.cacheWrite)
	take(meter.InputAudio, &left, u.promptAudio-usage[meter.CachedInputAudio])
	take(meter.InputImage, &left, u.promptImage)
	usage[meter.Input] = left

	take(meter.Reasoning, &output, reasoning)
	take(meter.OutputAudio, &output, u.completionAudio)
	take(meter.OutputImage, &output, u.completionImage)
	usage[meter.Output] = output

	usage[meter.WebSearch] = max(u.searches, 0)
	return usage, partial
}
