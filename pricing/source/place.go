package source

import (
	"regexp"
	"strings"
)

// liteLLMProviders are the names of providers and platforms that Keel calls otherwise.
var liteLLMProviders = map[string]string{
	"text-completion-openai": "openai", "text-completion-codestral": "mistral", "codestral": "mistral", "gemini": "google", "vertex_ai": "google",
	"azure_ai": "azure", "azure_text": "azure", "bedrock_converse": "bedrock", "bedrock_mantle": "bedrock", "cohere_chat": "cohere",
	"together_ai": "together", "fireworks_ai": "fireworks", "moonshot": "moonshotai", "vercel_ai_gateway": "vercel-gateway", "github_copilot": "github-copilot",
}

var awsRegion = regexp.MustCompile(`^[a-z]{2}(-gov)?-[a-z]+-[0-9]$`)

// place tells provider, model and region from the name of an entry:
// "gemini/gemini-2.5-pro", "azure/eu/gpt-4o", "bedrock/us-east-1/anthropic.claude-v2:1". The model is "" where
// the name has parts that mean something else.
func place(key, listed string) (provider, model, region string) {
	platform := listed
	if strings.HasPrefix(listed, "vertex_ai") {
		platform = "vertex_ai"
	}
	provider = platform
	if name, ok := liteLLMProviders[platform]; ok {
		provider = name
	} else if name, ok := providerNames[platform]; ok {
		provider = name
	}
	model = key
	for _, prefix := range []string{listed, platform, provider, "bedrock", "azure", "vertex_ai"} {
		if rest, found := strings.CutPrefix(model, prefix+"/"); found && prefix != "" {
			model = rest
			break
		}
	}
	first, rest, found := strings.Cut(model, "/")
	switch {
	case provider == "":
		return "unknown", "", ""
	case !found:
	case provider == "azure" && (first == "us" || first == "eu"):
		model, region = rest, first
	case provider == "azure" && (first == "global" || first == "global-standard"):
		model = rest
	case provider == "bedrock" && awsRegion.MatchString(first):
		model, region = rest, first
	case (provider == "openai" || provider == "azure" || provider == "bedrock" || provider == "xai") && !strings.HasPrefix(model, "openai/"):
		return provider, "", ""
	}
	if strings.Contains(model, "-commitment/") || strings.ContainsAny(model, "*?") {
		return provider, "", ""
	}
	return provider, model, region
}
