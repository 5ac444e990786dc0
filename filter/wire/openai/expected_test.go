package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"testing"

	"keel/filter/wire"
)

// totals are what a usage comes to.
type totals struct{ in, out, cached, written, reasoning int64 }

func totalsOf(reading wire.Reading) *totals {
	u := reading.Usage
	if u == nil {
		return nil
	}
	return &totals{u.InputTokens(), u.OutputTokens(), u.CachedInputTokens(), u.CacheWriteTokens(), u.ReasoningTokens()}
}

func show(t *totals) string {
	if t == nil {
		return "none"
	}
	return fmt.Sprintf("%+v", *t)
}

// object is a usage object as encoding/json reads it.
type object map[string]any

// number is the first of the paths that holds a number, else 0.
func (o object) number(paths ...[]string) int64 {
	for _, path := range paths {
		if n, ok := o.at(path...).(json.Number); ok {
			v, _ := n.Int64()
			return v
		}
	}
	return 0
}

func (o object) at(path ...string) any {
	var v any = map[string]any(o)
	for _, name := range path {
		inner, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = inner[name]
	}
	return v
}

// expected is the plain reading of a recorded usage object, written down apart
// from normalise and knowing who answered, which normalise does not, with what it says of the cost.
func expected(t *testing.T, x *call) (*totals, string) {
	t.Helper()
	if len(x.UsageExpected) == 0 || string(x.UsageExpected) == "null" || x.Status >= 400 {
		return nil, ""
	}
	u := object{}
	d := json.NewDecoder(bytes.NewReader(x.UsageExpected))
	d.UseNumber()
	if err := d.Decode(&u); err != nil {
		t.Fatalf("%s: %v", x.ID, err)
	}
	under := func(name string, parents ...string) (paths [][]string) {
		for _, p := range parents {
			paths = append(paths, []string{p, name})
		}
		return paths
	}
	in := []string{"prompt_tokens_details", "input_tokens_details", "prompt_token_details", "input_token_details"}
	out := []string{"completion_tokens_details", "output_tokens_details", "completion_token_details"}
	var e totals
	e.in = u.number([]string{"prompt_tokens"}, []string{"input_tokens"})
	e.out = u.number([]string{"completion_tokens"}, []string{"output_tokens"})
	e.cached = u.number(append(under("cached_tokens", in...), []string{"prompt_cache_hit_tokens"}, []string{"num_cached_tokens"}, []string{"cached_tokens"})...)
	e.written = u.number(under("cache_write_tokens", in...)...)
	e.reasoning = u.number(under("reasoning_tokens", out...)...)
	total := u.number([]string{"total_tokens"})
	switch {
	case x.Provider == "xai" && x.API == "openai.chat", x.Provider == "vercel-gateway":
		e.out += e.reasoning
	case x.Provider == "google":
		e.out = total - e.in
	case x.Provider == "voyage", x.Op == "rerank":
		e.in = total
	case x.Provider == "mistral":
		e.in += u.number(under("audio_tokens", in...)...)
	}
	e.cached = min(e.cached, e.in)
	e.written = min(e.written, e.in-e.cached)
	e.reasoning = min(e.reasoning, e.out)
	return &e, expectedCost(u)
}

func expectedCost(u object) string {
	rat := func(path ...string) *big.Rat {
		n, ok := u.at(path...).(json.Number)
		if !ok {
			return nil
		}
		r, _ := new(big.Rat).SetString(n.String())
		return r
	}
	cost := rat("cost")
	switch ticks, total := rat("cost_in_usd_ticks"), rat("cost", "total_cost"); {
	case ticks != nil:
		cost = ticks.Quo(ticks, big.NewRat(1e10, 1))
	case total != nil:
		cost = total
	case u["is_byok"] == true:
		cost.Add(cost, rat("cost_details", "upstream_inference_cost"))
	}
	if cost == nil {
		return ""
	}
	return cost.RatString()
}

// plain renders a cost as expectedCost does.
func plain(cost string) string {
	if cost == "" {
		return ""
	}
	r, ok := new(big.Rat).SetString(cost)
	if !ok {
		return "not a number: " + cost
	}
	return r.RatString()
}

// lastUsage is the largest count of input tokens that a whole usage object in a
// stream told, found by its text.
func lastUsage(body []byte) (most int64) {
	all := bytes.Split(body, []byte("\n\n"))
	for _, event := range all[:len(all)-1] { // the last has no blank line behind it
		for _, line := range bytes.Split(event, []byte("\n")) {
			data, ok := bytes.CutPrefix(line, []byte("data: "))
			if !ok {
				continue
			}
			var e struct {
				Usage    struct{ PromptTokens, InputTokens int64 }
				Response struct{ Usage struct{ InputTokens int64 } }
			}
			data = bytes.ReplaceAll(bytes.ReplaceAll(data, []byte(`"prompt_tokens"`), []byte(`"PromptTokens"`)), []byte(`"input_tokens"`), []byte(`"InputTokens"`))
			if json.Unmarshal(data, &e) == nil {
				most = max(most, e.Usage.PromptTokens, e.Usage.InputTokens, e.Response.Usage.InputTokens)
			}
		}
	}
	return most
}
