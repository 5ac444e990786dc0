package pricing

import (
	"strings"

	"keel/pricing/meter"
)

// Who sells models of others, and how the maker is found.
//
// Gateways (Vercel, Portkey, Pydantic) charge what the maker charges and name
// models maker/model, or pass the maker's own names on. OpenRouter has a list of its own
// in the catalogue; where that says today what the maker's list says, OpenRouter passes the
// maker's price on, and the maker's list is the better record of what
// it was at another time. Hugging Face's router charges what the host charges that a
// name ends with (":groq"); without one the dearest host counts, because nothing says which was taken.

// gateways are the providers that sell at the maker's list price.
var gateways = map[string]bool{"vercel-gateway": true, "portkey": true, "pydantic-gateway": true, "github": true}

// makers are the providers by the names that model names begin with.
var makers = map[string]string{
	"openai": "openai", "anthropic": "anthropic", "google": "google", "x-ai": "xai", "xai": "xai", "mistral": "mistral", "mistralai": "mistral",
	"cohere": "cohere", "perplexity": "perplexity", "deepseek": "deepseek", "moonshotai": "moonshotai", "z-ai": "zai", "zai": "zai",
	"minimax": "minimax", "meta": "meta", "voyage": "voyage", "voyageai": "voyage", "groq": "groq", "bedrock": "bedrock", "vertex": "google",
	"google-vertex": "google", "azure": "azure", "cerebras": "cerebras", "fireworks": "fireworks", "together": "together", "amazon": "bedrock",
}

// families are the providers by what their own model names begin with.
var families = []struct{ prefix, provider string }{
	{"gpt-", "openai"}, {"chatgpt-", "openai"}, {"o1", "openai"}, {"o3", "openai"}, {"o4", "openai"}, {"text-embedding-3", "openai"}, {"text-embedding-ada", "openai"},
	{"omni-moderation", "openai"}, {"dall-e", "openai"}, {"whisper-1", "openai"}, {"tts-1", "openai"}, {"computer-use", "openai"},
	{"claude-", "anthropic"}, {"gemini-", "google"}, {"text-embedding-00", "google"}, {"grok-", "xai"}, {"sonar", "perplexity"}, {"pplx-", "perplexity"},
	{"mistral-", "mistral"}, {"ministral-", "mistral"}, {"codestral-", "mistral"}, {"magistral-", "mistral"}, {"devstral-", "mistral"}, {"pixtral-", "mistral"}, {"voxtral-", "mistral"},
	{"command-", "cohere"}, {"embed-", "cohere"}, {"rerank-v", "cohere"}, {"deepseek-", "deepseek"}, {"kimi-", "moonshotai"}, {"glm-", "zai"},
	{"voyage-", "voyage"}, {"rerank-2", "voyage"}, {"amazon.", "bedrock"}, {"anthropic.", "bedrock"}, {"us.", "bedrock"}, {"eu.", "bedrock"}, {"global.", "bedrock"},
}

// maker returns who makes a model and how it is called there; "" if the name does not tell.
func maker(name string) (provider, model string) {
	// Portkey: @integration/model, with an integration that people name after the provider.
	prefix, rest, found := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(name, "~"), "@"), "/")
	if found {
		if provider = makers[prefix]; provider == "" && name[0] == '@' {
			prefix, _, _ = strings.Cut(prefix, "-")
			provider = makers[prefix]
		}
		if prefix == "amazon" {
			rest = "amazon." + rest
		}
		return provider, rest
	}
	for _, f := range families {
		if strings.HasPrefix(name, f.prefix) {
			return f.provider, name
		}
	}
	return "", ""
}

// variants are what OpenRouter and its kin put behind a model's name to say how it is to be served; none
// of them changes a rate.
var variants = []string{":nitro", ":floor", ":online", ":exacto", ":thinking", ":extended", ":beta"}

// withoutVariant returns name without what it says of serving.
func withoutVariant(name string) string {
	for _, v := range variants {
		name = strings.TrimSuffix(name, v)
	}
	return name
}

// resold returns the rows of a model that provider sells for another, before
// the overlay's amendments for provider.
func (c *catalogue) resold(provider, name, tier string, on conditions) []planned {
	switch {
	case provider == "openrouter":
		name = withoutVariant(name)
		if strings.HasSuffix(name, ":free") {
			return free(provider, name)
		}
		own := c.listed(provider, name, tier)
		by, model := maker(name)
		if by == "" {
			return own
		}
		theirs := c.makersPlan(by, model, tier, on)
		if own == nil || passedOn(own, theirs) {
			return completed(theirs, own)
		}
		return own
	case provider == "huggingface":
		return c.hosted(name, tier)
	case gateways[provider]:
		if by, model := maker(withoutVariant(name)); by != "" {
			return c.makersPlan(by, model, tier, on)
		}
	case c.providers["huggingface_"+provider] != nil:
		return c.listed("huggingface_"+provider, name, tier)
	case c.providers[provider] != nil:
		for _, other := range c.providers[provider].fallback {
			if rows := c.makersPlan(other, name, tier, on); rows != nil {
				return rows
			}
		}
	}
	return nil
}

// resells reports whether resold knows all that provider sells, its own list included.
func resells(provider string) bool { return provider == "openrouter" || provider == "huggingface" }

// makersPlan returns the amended rows of a maker for a model that a reseller names.
func (c *catalogue) makersPlan(by, model, tier string, on conditions) []planned {
	if discounted[tier] {
		tier = "" // a discount of the maker is not one of the reseller
	}
	on.region = "" // nor is its choice of regions
	for _, name := range []string{model, strings.ReplaceAll(model, ".", "-")} {
		if rows := c.plan(by, canonicalModel(by, name), tier, on); rows != nil {
			return rows
		}
	}
	return nil
}

// passedOn reports whether the latest prices of both are the same for plain tokens.
func passedOn(own, theirs []planned) bool {
	if len(own) == 0 || len(theirs) == 0 || own[0].rates == nil || theirs[0].rates == nil {
		return false
	}
	a, b := &own[0].rates.steps[0].stated, &theirs[0].rates.steps[0].stated
	for _, kind := range []meter.Kind{meter.Input, meter.Output} {
		if a.has(kind) != b.has(kind) || a.rates[kind] != b.rates[kind] {
			return false
		}
	}
	return true
}

// completed returns rows with rates that only the latest of others states.
func completed(rows, others []planned) []planned {
	if len(others) == 0 {
		return rows
	}
	filled := make([]planned, len(rows))
	more := &others[0].rates.steps[0].stated
	for i, row := range rows {
		row.rates = row.rates.changed(func(t *table) {
			for kind := range meter.Kind(meter.NumKinds) {
				if more.has(kind) && !t.has(kind) {
					t.set(kind, more.rates[kind])
				}
			}
		})
		filled[i] = row
	}
	return filled
}

// free is the price of a model that is named as free: its tokens cost nothing.
func free(provider, name string) []planned {
	rates := map[meter.Kind]PicoUSD{}
	for kind := range meter.Kind(meter.NumKinds) {
		if isToken(kind) {
			rates[kind] = 0
		}
	}
	return []planned{{rates: newRates("list:"+provider+"/"+name, &Price{Provider: provider, Model: name, Tiers: []Step{{Rates: rates}}})}}
}

// hosted returns the rows of a model at the router of Hugging Face.
func (c *catalogue) hosted(name, tier string) []planned {
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		name, host := name[:i], name[i+1:]
		if rows := c.listed("huggingface_"+host, name, tier); rows != nil {
			return rows
		}
		return c.listed(host, name, tier)
	}
	var dearest []planned
	for id := range c.providers {
		if !strings.HasPrefix(id, "huggingface_") {
			continue
		}
		rows := c.listed(id, name, tier)
		if len(rows) > 0 && (dearest == nil || dearer(rows[0].rates, dearest[0].rates)) {
			dearest = rows
		}
	}
	return dearest
}

// dearer orders rates by what a token in and a token out cost, then by ID.
func dearer(a, b *Rates) bool {
	sum := func(r *Rates) PicoUSD { t := &r.steps[0].table; return t.rates[meter.Input] + t.rates[meter.Output] }
	if d := sum(a) - sum(b); d != 0 {
		return d > 0
	}
	return a.ID < b.ID
}
