package budget

import (
	"strings"
	"testing"

	"keel/pricing/tokens"
)

// A target that is known to lack what a call needs is left out, and the record says why. One of which nothing is known is not.
func TestTargetsThatCantServe(t *testing.T) {
	t.Parallel()
	const config = `
{kind: Price, name: old, provider: openai, model: gpt-4, per_million: {input: 0.01, output: 0.01 USD}}
---
{kind: Price, name: agent, provider: openai, model: o3-deep-research, per_million: {input: 0.02, output: 0.02 USD}}
---
{kind: Price, name: own, provider: openai, model: home-made, per_million: {input: 3, output: 3 USD}}
---
{kind: Price, name: said, provider: openai, model: said-to-lack, per_million: {input: 0.001, output: 0.001 USD}}
---
{kind: Route, name: r, models: [any], mode: prefer-cheap, targets: [{provider: openai, model: gpt-4}, {provider: openai, model: o3-deep-research}, {provider: openai, model: home-made},
  {provider: openai, model: said-to-lack, lacks: [tools, images, schema]}]}
`
	cfg := compiled(t, config)
	for _, tt := range []struct {
		name   string
		prompt tokens.Prompt
		want   string
		why    []string
	}{
		{"needs nothing", tokens.Prompt{}, "said-to-lack", nil},
		{"images", tokens.Prompt{Images: []tokens.Image{{Width: 10, Height: 10}}}, "o3-deep-research", []string{"openai/gpt-4 (it takes no images)", "openai/said-to-lack (it takes no images)"}},
		{"an image that stands elsewhere", tokens.Prompt{FarImages: true}, "o3-deep-research", []string{"openai/gpt-4 (it takes no images)"}},
		{"tools", tokens.Prompt{Tools: 1}, "gpt-4", []string{"openai/o3-deep-research (it takes no tools)", "openai/said-to-lack (it takes no tools)"}},
		{"a schema", tokens.Prompt{Segments: []tokens.Segment{{Class: tokens.Schema, JSON: []byte("{}")}}}, "home-made", []string{"openai/gpt-4 (it keeps to no schema)", "openai/o3-deep-research (it keeps to no schema)"}},
		{"more than a context holds", tokens.Prompt{TokenIDs: 20_000}, "said-to-lack", []string{"openai/gpt-4 (its context of 8192 tokens is too small)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			call := testCall()
			call.Model, call.Prompt = "any", &tt.prompt
			d := (&Decider{Ledger: newMemoryLedger(), Estimator: tokens.New()}).Decide(t.Context(), cfg, call)
			if d.RoutedModel != tt.want {
				t.Errorf("went to %s, want %s: %s", d.RoutedModel, tt.want, d.Reason)
			}
			saw := ""
			for _, r := range d.Rules {
				if r.Kind == KindRoute {
					saw = r.Saw
				}
			}
			for _, why := range tt.why {
				if !strings.Contains(saw, why) {
					t.Errorf("the record does not say %q: %s", why, saw)
				}
			}
		})
	}
}
