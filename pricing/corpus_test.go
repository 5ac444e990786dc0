package pricing

import (
	"bytes"
	"strings"
	"testing"

	"keel/filter/wire/recording"
	"keel/filter/wire/recording/corpus"
)

// unpriced are providers, and models of others, that were metered in recorded traffic and
// have no price, and why. A model is matched by a glob.
var unpriced = []struct{ provider, model, reason string }{
	{"ollama", "*", "runs on one's own machine"},
	{"self-hosted", "*", "runs on one's own machine"},
	{"snowflake", "*", "bills credits, whose price is in the contract"},
	{"crusoe", "zai/glm-5.2", "its price is not known"},
	{"watsonx", "google/flan-ul2*", "withdrawn"},
	{"bedrock", "*amazon.titan-tg1-large", "a preview, never listed"},
	{"bedrock", "arn:*application-inference-profile*", "the model stands in an account of AWS"},
	{"bedrock", "arn:*sagemaker*", "an endpoint of one's own"},
	{"bedrock", "/opt/ml/model", "an endpoint of one's own"},
	{"cohere", "rerank-english-v2.0", "retired, its price is not known"},
	{"cohere", "command-a-reasoning-08-2025", "sold by contract"},
	{"cohere", "command-a-plus-05-2026", "sold by contract"},
	{"groq", "compound-beta*", "a system of several models: its response tells the usage of each"},
	{"groq", "groq/compound*", "a system of several models: its response tells the usage of each"},
}

// TestCorpusModels: what a provider reported as the model of a metered answer,
// else what it was asked for, has a price, or there is a reason why not.
func TestCorpusModels(t *testing.T) {
	t.Parallel()
	models := map[[2]string]bool{} // provider and model, priced
	corpus.Each(t, func(x *recording.Exchange) {
		usage := bytes.TrimSpace(x.UsageExpected)
		if x.Status >= 400 || len(usage) == 0 || bytes.Equal(usage, []byte("null")) || x.ModelReported == "" && x.ModelRequested == "" {
			return
		}
		_, err := Catalog().ratesOf(x.Provider, []string{x.ModelReported, x.ModelRequested}, Terms{At: at("2026-11-01")})
		models[[2]string{x.Provider, strings.ToLower(x.ModelReported + x.ModelRequested)}] = err == nil
		reason := ""
		for _, u := range unpriced {
			for _, name := range []string{x.ModelReported, x.ModelRequested} {
				if u.provider == x.Provider && name != "" && matchGlob(u.model, strings.ToLower(name)) {
					reason = u.reason
				}
			}
		}
		switch {
		case err != nil && reason == "":
			t.Errorf("%s %q, asked for as %q, has no price", x.Provider, x.ModelReported, x.ModelRequested)
		case err == nil && reason != "":
			t.Errorf("%s %q has a price, and stands in the list of those without: %s", x.Provider, x.ModelReported, reason)
		}
	})
	priced := 0
	for _, has := range models {
		if has {
			priced++
		}
	}
	t.Logf("%d of %d models have a price", priced, len(models))
	if len(models) < 250 {
		t.Errorf("only %d models were seen", len(models))
	}
}
