package pricing

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"keel/filter/wire/recording"
	"keel/filter/wire/recording/corpus"
	"keel/pricing/meter"
)

// object is decoded JSON, read by a path such as "usage.prompt_tokens".
type object map[string]any

func (o object) at(path string) any {
	var v any = map[string]any(o)
	for name := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

func (o object) int(paths ...string) int64 {
	for _, path := range paths {
		if n, ok := o.at(path).(json.Number); ok {
			i, _ := n.Int64()
			return i
		}
	}
	return 0
}

func (o object) str(path string) string { s, _ := o.at(path).(string); return s }

// money returns a number as a plain decimal, "" if it is none.
func (o object) money(path string) string {
	n, ok := o.at(path).(json.Number)
	if !ok {
		return ""
	}
	r, _ := new(big.Rat).SetString(n.String())
	return r.FloatString(20)
}

func decode(text []byte) object {
	var o object
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	if d.Decode(&o) != nil {
		return object{}
	}
	return o
}

// reported is a recorded call of which a provider says what it cost, read by a few
// lines of its own and by none of what reads traffic in production.
type reported struct {
	*recording.Exchange
	usage, body object
	metered     Metered
	terms       Terms
	cost        string
}

func readReported(x *recording.Exchange) (r reported, ok bool) {
	r = reported{Exchange: x, usage: decode(x.UsageExpected)}
	text, _ := x.Response()
	r.body = decode(text)
	if len(r.body) == 0 { // a stream: its last event that is not [DONE]
		for line := range strings.Lines(string(text)) {
			if event, found := strings.CutPrefix(line, "data: {"); found {
				r.body = decode([]byte("{" + event))
			}
		}
	}
	u := r.usage
	if ticks, found := u.at("cost_in_usd_ticks").(json.Number); found {
		n, _ := new(big.Int).SetString(ticks.String(), 10)
		r.cost = new(big.Rat).SetFrac(n, big.NewInt(10_000_000_000)).FloatString(20)
	} else {
		r.cost = cmp.Or(u.money("cost.total_cost"), u.money("cost"), u.money("pydantic_ai_gateway.cost_estimate"))
	}
	if u.at("is_byok") == true { // the fee to the gateway and the bill to one's own account
		r.cost = add(r.cost, cmp.Or(u.money("cost_details.upstream_inference_cost"), "0"))
	}
	request, _ := x.Request()
	r.metered.Models = []string{x.ModelReported, x.ModelRequested, decode(request).str("model"), formValue(string(request), "model")}
	r.metered.Usage = r.normalised()
	if written := u.int("prompt_tokens_details.cache_write_tokens"); u.int("prompt_tokens_details.cached_tokens")+written > u.int("prompt_tokens") {
		bill := r.metered.Usage // Gemini through OpenRouter: what is written is billed besides being read
		bill[meter.CacheWrite5m] = written
		bill[meter.Input] = u.int("prompt_tokens") - bill[meter.CachedInput]
		r.metered.Parts = []meter.Part{{Usage: bill}}
	}
	r.terms = Terms{At: r.date(), ServiceTier: u.str("service_tier"), SearchContext: u.str("search_context_size")}
	return r, r.cost != ""
}

func add(a, b string) string {
	x, _ := new(big.Rat).SetString(a)
	y, _ := new(big.Rat).SetString(b)
	return x.Add(x, y).FloatString(20)
}

// formValue returns a short value of a multipart form.
func formValue(body, name string) string {
	_, after, _ := strings.Cut(body, `name="`+name+`"`)
	after = strings.TrimLeft(after, "\r\n")
	value, _, _ := strings.Cut(after, "\r\n")
	return value
}

func (r *reported) date() time.Time {
	if at, err := http.ParseTime(r.ResponseHeaders["date"]); err == nil {
		return at
	}
	if s := r.body.int("created", "created_at", "response.created_at"); s > 0 {
		return time.Unix(s, 0)
	}
	return at("2026-11-20")
}

func (r *reported) normalised() (m meter.Usage) {
	u := r.usage
	switch r.API {
	case "anthropic.messages":
		m[meter.Input], m[meter.CachedInput], m[meter.CacheWrite5m] = u.int("input_tokens"), u.int("cache_read_input_tokens"), u.int("cache_creation_input_tokens")
		m[meter.Output] = u.int("output_tokens")
		return m
	case "gemini.generateContent":
		m[meter.Input], m[meter.Output], m[meter.Reasoning] = u.int("promptTokenCount"), u.int("candidatesTokenCount"), u.int("thoughtsTokenCount")
		return m
	case "bedrock.converse":
		m[meter.Input], m[meter.Output] = u.int("inputTokens"), u.int("outputTokens")
		return m
	}
	in, out := u.int("prompt_tokens", "input_tokens"), u.int("completion_tokens", "output_tokens")
	if in == 0 && out == 0 {
		in = u.int("total_tokens")
	}
	detail := func(side, name string) int64 {
		if side == "in" {
			return u.int("prompt_tokens_details."+name, "input_tokens_details."+name)
		}
		return u.int("completion_tokens_details."+name, "output_tokens_details."+name)
	}
	m[meter.CachedInput] = min(detail("in", "cached_tokens"), in)
	m[meter.CacheWrite5m] = min(detail("in", "cache_write_tokens"), in-m[meter.CachedInput])
	m[meter.Input] = in - m[meter.CachedInput] - m[meter.CacheWrite5m]
	m[meter.Reasoning] = detail("out", "reasoning_tokens")
	outside := r.Provider == "vercel-gateway" || r.Provider == "xai" && r.API == "openai.chat"
	if !outside {
		m[meter.Reasoning] = min(m[meter.Reasoning], out)
		out -= m[meter.Reasoning]
	}
	m[meter.OutputImage] = min(detail("out", "image_tokens"), out)
	m[meter.Output] = out - m[meter.OutputImage]
	m[meter.WebSearch] = u.int("server_side_tool_usage_details.web_search_calls", "server_tool_use.web_search_requests", "server_tool_use_details.web_search_requests")
	if r.API == "openai.images" && in+out == 0 {
		data, _ := r.body["data"].([]any)
		m[meter.Images] = int64(len(data))
	}
	return m
}

// reason says by general rules why our cost can't be the provider's; "" if nothing is known.
func (r *reported) reason() string {
	request, _ := r.Request()
	upstream := r.usage.money("cost_details.upstream_inference_cost")
	byParts := new(big.Rat)
	for _, side := range []string{"prompt", "completions", "input", "output"} {
		if part := r.usage.money("cost_details.upstream_inference_" + side + "_cost"); part != "" {
			n, _ := new(big.Rat).SetString(part)
			byParts.Add(byParts, n)
		}
	}
	cost, _ := new(big.Rat).SetString(r.cost)
	zero := new(big.Rat).FloatString(20)
	switch {
	case r.usage.int("server_tool_use_details.tool_calls_executed", "server_tool_use.tool_calls_executed") > 0:
		return "tool: another model's work, of which the usage tells no tokens"
	case r.Provider == "perplexity" && r.usage.money("cost.output_tokens_cost") == zero && r.usage.int("completion_tokens") > 0:
		return "rounding: the provider rounds the cost of tokens to nothing"
	case strings.Contains(string(request), `"file-parser"`) || strings.Contains(string(request), `"type":"file"`) || strings.Contains(string(request), `"type": "file"`):
		return "parser: the gateway bills parsing a file, of which the usage tells nothing"
	case r.Provider == "openrouter" && r.body.str("provider") != "" && (upstream == r.cost || byParts.Cmp(cost) == 0):
		return "host: " + r.body.str("provider") + " was chosen and asks its own price"
	}
	return ""
}

// TestReportedCosts holds our costs against those that providers and gateways
// state themselves.
func TestReportedCosts(t *testing.T) {
	t.Parallel()
	type tally struct{ calls, equal, close, explained int }
	tallies := map[string]*tally{}
	var exceptions []string
	corpus.Each(t, func(x *recording.Exchange) {
		r, ok := readReported(x)
		if !ok || x.Status >= 400 {
			return
		}
		group := tallies[x.Provider]
		if group == nil {
			group = &tally{}
			tallies[x.Provider] = group
		}
		group.calls++
		cost, err := Catalog().Charge(x.Provider, r.metered, r.terms)
		d, ok := Compare(cost, r.cost)
		if !ok {
			t.Errorf("%s: reported cost %q can't be read", x.ID, r.cost)
			return
		}
		if err != nil {
			d.Agreement = Unpriced
		}
		switch d.Agreement {
		case Equal:
			group.equal++
			return
		case Close:
			group.close++
			return
		}
		reason := r.reason()
		if reason != "" {
			group.explained++
		}
		exceptions = append(exceptions, fmt.Sprintf("%-15s %s %-36s ours %-12v theirs %-12v %s %v", x.Provider, x.ID, cmp.Or(r.metered.Models...), d.Ours, d.Reported, cmp.Or(reason, "UNEXPLAINED"), errOf(err)))
	})
	for provider, n := range tallies {
		t.Logf("%-17s %3d calls: %3d equal, %3d within one percent, %d explained", provider, n.calls, n.equal, n.close, n.explained)
		if provider == "xai" && n.equal != n.calls {
			t.Errorf("xai: %d of %d are equal", n.equal, n.calls)
		}
		if n.equal+n.close+n.explained != n.calls {
			t.Errorf("%s: %d differences without a reason", provider, n.calls-n.equal-n.close-n.explained)
		}
	}
	slices.Sort(exceptions)
	t.Logf("exceptions:\n%s", strings.Join(exceptions, "\n"))
	all, good := 0, 0
	for _, n := range tallies {
		all, good = all+n.calls, good+n.equal+n.close
	}
	if all < 200 || good*100 < all*95 {
		t.Errorf("%d of %d costs agree", good, all)
	}
}

func errOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
