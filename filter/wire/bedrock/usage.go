package bedrock

import (
	"strconv"

	"keel/filter/wire"
	"keel/filter/wire/walk"
	"keel/pricing/meter"
)

// maxCount is above any real quantity and far from overflowing a sum.
const maxCount = 1 << 40

// counts are what a response told so far, in the words of Converse; -1 is absent.
// Later figures replace earlier ones: streams tell running numbers.
type counts struct {
	input, output         int64 // input is without what was read from and written to a cache
	total                 int64
	cacheRead, cacheWrite int64
	cacheWrite1h          int64 // part of cacheWrite
	reasoning             int64 // part of output
	inside                bool  // cacheRead is inside input: usage objects of OpenAI's form
	metrics               bool  // the invocation metrics were among them: Bedrock's last word
}

func noCounts() counts {
	return counts{input: -1, output: -1, total: -1, cacheRead: -1, cacheWrite: -1, cacheWrite1h: -1, reasoning: -1}
}

// told reports whether there is a usage.
func (n *counts) told() bool { return n.input >= 0 || n.output >= 0 }

// readHeader takes what the response headers tell (Bedrock user guide,
// InvokeModel response headers): for some families it is all there is.
func (n *counts) readHeader(header wire.Header) {
	*n = noCounts()
	read := func(name string, into *int64) {
		v, err := strconv.ParseInt(header.Get("X-Amzn-Bedrock-"+name), 10, 64)
		if err == nil && v >= 0 && v <= maxCount {
			*into = v
		}
	}
	read("Input-Token-Count", &n.input)
	read("Output-Token-Count", &n.output)
	read("Cache-Read-Input-Token-Count", &n.cacheRead)
	read("Cache-Write-Input-Token-Count", &n.cacheWrite)
}

// member reads a member of a usage object, or of a body that has counts among its own members.
func (n *counts) member(c *walk.Cursor, key []byte) error {
	switch string(key) {
	// Converse and Nova; the names with Count are aliases of the same number,
	// and those of the invocation metrics.
	case "inputTokens", "inputTokenCount", "inputTextTokenCount", "prompt_token_count", "input_tokens", "prompt_tokens":
		n.inside = n.inside || string(key) == "prompt_tokens"
		return count(c, &n.input)
	case "outputTokens", "outputTokenCount", "totalOutputTextTokenCount", "generation_token_count", "output_tokens", "completion_tokens":
		return count(c, &n.output)
	case "totalTokens":
		return count(c, &n.total)
	case "cacheReadInputTokens", "cacheReadInputTokenCount", "cache_read_input_tokens":
		return count(c, &n.cacheRead)
	case "cacheWriteInputTokens", "cacheWriteInputTokenCount", "cache_creation_input_tokens":
		return count(c, &n.cacheWrite)
	case "cacheDetails":
		return n.cacheDetails(c)
	case "cache_creation":
		return c.Object(func(key []byte) error {
			if string(key) == "ephemeral_1h_input_tokens" {
				return count(c, &n.cacheWrite1h)
			}
			return nil
		})
	case "prompt_tokens_details":
		return c.Object(func(key []byte) error {
			if string(key) == "cached_tokens" {
				return count(c, &n.cacheRead)
			}
			return nil
		})
	case "completion_tokens_details":
		return c.Object(func(key []byte) error {
			if string(key) == "reasoning_tokens" {
				return count(c, &n.reasoning)
			}
			return nil
		})
	}
	return nil
}

// cacheDetails reads how long what was written is kept: [{"ttl": "1h", "inputTokens": 10}].
func (n *counts) cacheDetails(c *walk.Cursor) error {
	var hour int64
	err := c.Array(func() error {
		var ttl string
		tokens := int64(-1)
		err := c.Object(func(key []byte) error {
			switch string(key) {
			case "ttl":
				text, err := c.Text()
				ttl = string(text)
				return err
			case "inputTokens":
				return count(c, &tokens)
			}
			return nil
		})
		if ttl == "1h" && tokens > 0 {
			hour += tokens
		}
		return err
	})
	if hour > 0 {
		n.cacheWrite1h = hour
	}
	return err
}

// count reads a quantity into n; what is none leaves n alone.
func count(c *walk.Cursor, n *int64) error {
	v, ok, err := c.Int()
	if ok && v >= 0 && v <= maxCount {
		*n = v
	}
	return err
}

// usage returns disjoint quantities. free: tokens were only counted.
func (n *counts) usage(free bool) *meter.Usage {
	var u meter.Usage
	u[meter.Input] = max(n.input, 0)
	u[meter.CachedInput] = max(n.cacheRead, 0)
	if n.inside {
		u[meter.CachedInput] = min(u[meter.CachedInput], u[meter.Input])
		u[meter.Input] -= u[meter.CachedInput]
	}
	written := max(n.cacheWrite, 0)
	u[meter.CacheWrite1h] = min(max(n.cacheWrite1h, 0), written)
	u[meter.CacheWrite5m] = written - u[meter.CacheWrite1h]
	output := max(n.output, 0)
	u[meter.Reasoning] = min(max(n.reasoning, 0), output)
	u[meter.Output] = output - u[meter.Reasoning]
	if free {
		return &meter.Usage{meter.UnbilledInput: u[meter.Input]}
	}
	return &u
}
