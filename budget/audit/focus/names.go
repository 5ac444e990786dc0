package focus

import (
	"strings"

	"keel/pricing"
	"keel/pricing/meter"
)

// seller is who sells a provider's models, and the name of what it sells.
type seller struct{ name, service string }

var sellers = map[string]seller{
	"openai": {"OpenAI", "OpenAI API"}, "anthropic": {"Anthropic", "Claude API"}, "google": {"Google", "Gemini API"},
	"bedrock": {"Amazon Web Services", "Amazon Bedrock"}, "azure": {"Microsoft", "Azure OpenAI Service"}, "openrouter": {"OpenRouter", "OpenRouter"},
	"mistral": {"Mistral AI", "Mistral API"}, "cohere": {"Cohere", "Cohere API"}, "xai": {"xAI", "xAI API"}, "deepseek": {"DeepSeek", "DeepSeek API"},
	"perplexity": {"Perplexity", "Perplexity API"}, "watsonx": {"IBM", "watsonx.ai"}, "huggingface": {"Hugging Face", "Inference Providers"},
}

func sellerOf(provider string) seller {
	if s, ok := sellers[provider]; ok {
		return s
	}
	if provider == "" {
		provider = "unknown"
	}
	return seller{provider, provider}
}

// publishers are who makes models that others sell, by what their names begin with.
var publishers = []struct{ prefix, name string }{
	{"anthropic", "Anthropic"}, {"claude", "Anthropic"}, {"openai", "OpenAI"}, {"gpt-", "OpenAI"}, {"amazon", "Amazon Web Services"}, {"meta", "Meta"},
	{"mistral", "Mistral AI"}, {"cohere", "Cohere"}, {"google", "Google"}, {"gemini", "Google"}, {"deepseek", "DeepSeek"}, {"x-ai", "xAI"},
}

// publisherOf is who makes the model, else who sells it.
func publisherOf(provider, model string) string {
	for _, geo := range []string{"us.", "eu.", "apac.", "global.", "~", "@"} {
		model = strings.TrimPrefix(model, geo)
	}
	switch provider {
	case "bedrock", "azure", "openrouter", "huggingface", "google":
		for _, p := range publishers {
			if strings.HasPrefix(model, p.prefix) {
				return p.name
			}
		}
	}
	return sellerOf(provider).name
}

// unitOf is what a meter counts, in the plural and capitals that the Unit Format asks for.
func unitOf(kind meter.Kind) string {
	switch kind {
	case meter.WebSearch, meter.FileSearch:
		return "Searches"
	case meter.CodeInterpreter:
		return "Sessions"
	case meter.HostedTools:
		return "Tool Calls"
	case meter.Calls:
		return "Calls"
	case meter.SearchUnits:
		return "Search Units"
	case meter.Pages:
		return "Pages"
	case meter.InputSeconds, meter.OutputSeconds:
		return "Seconds"
	case meter.Characters:
		return "Characters"
	case meter.Images:
		return "Images"
	case meter.CacheStorage:
		return "Token-Hours"
	}
	return "Tokens"
}

// pricingUnitOf is what a unit price is of.
func pricingUnitOf(kind meter.Kind) string {
	if pricing.ByMillion(kind) {
		return "1000000 " + unitOf(kind)
	}
	return unitOf(kind)
}
