package openai

import (
	"keel/filter/wire/walk"
)

// counts are the numbers of a usage object, in the words of Chat Completions; -1 is
// absent.
type counts struct {
	prompt, completion, total         int64
	cached, cachedAudio, cachedImage  int64
	cacheWrite                        int64
	promptAudio, promptImage          int64
	promptVideo                       int64
	reasoning                         int64
	completionAudio, completionImage  int64
	completionText                    int64
	citations                         int64 // Perplexity's deep research: what it read, beside the prompt
	connectors                        int64 // Mistral: what hosted tools brought in, beside the prompt and inside the total
	searches, fileSearches, codeCalls int64
	toolCalls                         int64 // of hosted tools, searches among them
	hosted                            int64 // of hosted tools, without searches
	seconds                           int64 // of sound that came in

	// apart: the object is one that states reasoning beside completion and leaves
	// it out of total: of Vercel's gateway, known by market_cost, whose own cost includes
	// it, and of Perplexity's deep research, known by citation_tokens.
	apart bool

	cost          string // what the call cost, US dollars; "" where not told
	searchContext string // Perplexity: search_context_size
	tier          string // Mistral: service_tier
}

// maxCount is above any real quantity and far from overflowing a sum.
const maxCount = 1 << 40

func noCounts() counts {
	return counts{
		prompt: -1, completion: -1, total: -1, cached: -1, cachedAudio: -1, cachedImage: -1, cacheWrite: -1,
		promptAudio: -1, promptImage: -1, promptVideo: -1, reasoning: -1, completionAudio: -1, completionImage: -1,
		completionText: -1, citations: -1, connectors: -1, searches: -1, fileSearches: -1, codeCalls: -1, toolCalls: -1, hosted: -1, seconds: -1,
	}
}

// told reports whether the object holds a quantity or a cost. One without is as
// good as no usage.
func (u *counts) told() bool {
	return u.prompt >= 0 || u.completion >= 0 || u.total >= 0 || u.seconds >= 0 || u.cost != ""
}

// plus adds v, which tells of another part of the same work.
func (u *counts) plus(v *counts) {
	for _, n := range []struct {
		sum  *int64
		more int64
	}{
		{&u.prompt, v.prompt}, {&u.completion, v.completion}, {&u.total, v.total}, {&u.cached, v.cached},
		{&u.cachedAudio, v.cachedAudio}, {&u.cachedImage, v.cachedImage}, {&u.cacheWrite, v.cacheWrite},
		{&u.promptAudio, v.promptAudio}, {&u.promptImage, v.promptImage}, {&u.promptVideo, v.promptVideo}, {&u.reasoning, v.reasoning},
		{&u.completionAudio, v.completionAudio}, {&u.completionImage, v.completionImage}, {&u.completionText, v.completionText},
		{&u.citations, v.citations}, {&u.searches, v.searches}, {&u.fileSearches, v.fileSearches}, {&u.codeCalls, v.codeCalls},
		{&u.toolCalls, v.toolCalls}, {&u.hosted, v.hosted}, {&u.seconds, v.seconds},
	} {
		if n.more >= 0 {
			*n.sum = min(max(*n.sum, 0)+n.more, maxCount)
		}
	}
}

// readCounts reads a usage object of any of the APIs.
func readCounts(c *walk.Cursor) (counts, error) {
	u := noCounts()
	elsewhere := noCounts() // the same facts at the top, where details win if both stand
	var money costs
	err := c.Object(func(key []byte) (err error) {
		switch string(key) {
		case "prompt_tokens", "input_tokens":
			return count(c, &u.prompt)
		case "completion_tokens", "output_tokens":
			return count(c, &u.completion)
		case "total_tokens":
			return count(c, &u.total)
		// Assistants, Mistral, Writer and transcriptions drop the plural.
		case "prompt_tokens_details", "input_tokens_details", "prompt_token_details", "input_token_details":
			return u.promptDetails(c)
		case "completion_tokens_details", "output_tokens_details", "completion_token_details", "output_token_details":
			return u.completionDetails(c)
		// DeepSeek, Together and Moonshot, LiteLLM and Vercel, Mistral.
		case "prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens", "num_cached_tokens":
			return count(c, &elsewhere.cached)
		case "cache_creation_input_tokens":
			return count(c, &elsewhere.cacheWrite)
		case "reasoning_tokens":
			return count(c, &elsewhere.reasoning)
		case "citation_tokens":
			err = count(c, &u.citations)
			u.apart = u.apart || u.citations >= 0
			return err
		case "seconds", "prompt_audio_seconds": // transcriptions; Mistral
			return seconds(c, &u.seconds)
		// Hosted tools: xAI, OpenRouter, Perplexity.
		case "server_side_tool_usage_details", "server_tool_use_details", "server_tool_use":
			return u.toolDetails(c)
		case "connector_tokens":
			return count(c, &u.connectors)
		case "connectors": // calls by the name of the tool
			return c.Object(func(key []byte) error {
				switch string(key) {
				case "web_search", "web_search_premium":
					return add(c, &u.searches)
				}
				return add(c, &u.hosted)
			})
		case "num_search_queries":
			return count(c, &u.searches)
		case "search_context_size":
			return readName(c, &u.searchContext)
		case "service_tier":
			return readName(c, &u.tier)
		case "market_cost":
			u.apart = true
		}
		return money.member(c, key)
	})
	if u.connectors > 0 {
		u.prompt = min(max(u.prompt, 0)+u.connectors, maxCount)
	}
	orElse(&u.cached, elsewhere.cached)
	orElse(&u.cacheWrite, elsewhere.cacheWrite)
	orElse(&u.reasoning, elsewhere.reasoning)
	if money.ticks.digits == "" && (u.prompt > 0 || u.completion > 0) {
		money.ticks.told = false // Azure serves xAI's models and leaves the field at 0
	}
	u.cost = money.String()
	return u, err
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
		case "video_tokens":
			return count(c, &u.promptVideo)
		case "cached_tokens_details":
			return c.Object(func(key []byte) error {
				switch string(key) {
				case "audio_tokens":
					return count(c, &u.cachedAudio)
				case "image_tokens":
					return count(c, &u.cachedImage)
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
		case "text_tokens":
			return count(c, &u.completionText)
		}
		return nil
	})
}

// toolDetails reads how often hosted tools ran. What xAI bills a call: searches
// of the web and of X alike, of collections and attached files, and runs of code.
// At OpenRouter a tool may be another model (openrouter:advisor), whose cost is in no count.
func (u *counts) toolDetails(c *walk.Cursor) error {
	return c.Object(func(key []byte) error {
		switch string(key) {
		case "web_search_calls", "x_search_calls", "web_search_requests":
			return add(c, &u.searches)
		case "file_search_calls", "document_search_calls":
			return add(c, &u.fileSearches)
		case "code_interpreter_calls":
			return add(c, &u.codeCalls)
		case "tool_calls_executed": // OpenRouter
			return add(c, &u.toolCalls)
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

// add reads a quantity and adds it to n.
func add(c *walk.Cursor, n *int64) error {
	var v int64 = -1
	err := count(c, &v)
	if v >= 0 {
		*n = min(max(*n, 0)+v, maxCount)
	}
	return err
}

// seconds reads a duration, of which started seconds count.
func seconds(c *walk.Cursor, n *int64) error {
	raw, err := c.Value()
	if err != nil {
		return err
	}
	if d, ok := readDecimal(raw); ok {
		if v, ok := d.ceil(maxCount); ok {
			*n = v
		}
	}
	return nil
}

func orElse(n *int64, other int64) {
	if *n < 0 {
		*n = other
	}
}
