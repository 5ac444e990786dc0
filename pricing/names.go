package pricing

import (
	"strings"
	"time"
)

// providers that are another's price list under a second name.
var providerAliases = map[string]string{"vertex": "google", "x-ai": "xai", "aws": "bedrock", "voyageai": "voyage"}

func canonicalProvider(provider string) string {
	if name, ok := providerAliases[provider]; ok {
		return name
	}
	return provider
}

// canonicalModel is the name that prices are matched with: lower case, and
// without the resource path that Google's and Bedrock's APIs put before it.
func canonicalModel(provider, model string) string {
	model = strings.ToLower(model)
	switch provider {
	case "google":
		if i := strings.LastIndex(model, "models/"); i >= 0 {
			model = model[i+len("models/"):]
		}
	case "bedrock":
		if strings.HasPrefix(model, "arn:") {
			model = model[strings.LastIndexByte(model, '/')+1:]
		}
	}
	return model
}

// discounted tiers cost less than the standard one at every provider that has them
// (OpenAI, Google, Groq: flex; all: batch), so standard rates bound them.
var discounted = map[string]bool{"batch": true, "flex": true}

// canonicalTier maps the names of the standard tier to "". A fast mode is the tier
// "fast"; with another tier it is a tier that nobody lists.
func canonicalTier(provider, tier, speed string) string {
	if speed = strings.ToLower(speed); speed == "fast" {
		if tier = canonicalTier(provider, tier, ""); tier == "" || tier == speed {
			return speed
		}
		return tier + "+" + speed
	}
	tier = strings.ToLower(tier)
	switch tier {
	case "", "default", "standard", "auto", "standard_only", "on_demand", "on-demand", "not_available", "provisioned", "provisioned_throughput":
		return ""
	case "scale":
		return "" // OpenAI: prepaid units; list rates stand for what the tokens are worth
	case "priority":
		if provider == "anthropic" {
			return "" // Anthropic: a commitment spent at standard rates, not a dearer list price
		}
	}
	return tier
}

// trimDate returns name without the snapshot date that providers append:
// gpt-5-2025-08-07, claude-sonnet-4-5-20250929, claude-opus-4@20250514. A name
// without one is returned as it is.
func trimDate(name string) string {
	for _, layout := range []string{"2006-01-02", "20060102"} {
		i := len(name) - len(layout) - 1
		if i <= 0 || (name[i] != '-' && name[i] != '@') {
			continue
		}
		if _, err := time.Parse(layout, name[i+1:]); err == nil {
			return name[:i]
		}
	}
	return name
}

// matchGlob reports whether all of name matches pattern, in which * stands for any
// run of bytes and ? for any one byte. Both are in lower case. It takes time
// proportional to len(pattern) × len(name) at worst.
func matchGlob(pattern, name string) bool {
	p, n := 0, 0
	star, resume := -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, resume = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p++
			n++
		case star >= 0:
			resume++
			p, n = star+1, resume
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
