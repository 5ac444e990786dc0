package e2e

import (
	"encoding/json"
	"fmt"
	"testing"
)

// api is one wire format as a client uses it.
type api struct {
	name     string // as spend_records has it
	provider string
	model    string // has a price
	cheap    string // what the route of sharedConfig substitutes for expensive
	dear     string
	path     func(model string, stream bool) string
	body     func(model string, stream bool, maxTokens int) string
	refusal  func(t *testing.T, body []byte) refusal
}

// refusal is what a client library makes its error of.
type refusal struct {
	kind, message, decision string
}

const prompt = "Name three budgets that a platform team should set."

var apis = []api{
	{
		name: "openai.chat", provider: "openai", model: "gpt-4o-mini", dear: "gpt-5", cheap: "gpt-5-mini",
		path: func(string, bool) string { return "/v1/chat/completions" },
		body: func(model string, stream bool, maxTokens int) string {
			return fmt.Sprintf(`{"model": %q, "stream": %t, "max_completion_tokens": %d, "messages": [{"role": "user", "content": %q}]}`, model, stream, maxTokens, prompt)
		},
		refusal: openAIRefusal,
	},
	{
		name: "openai.responses", provider: "openai", model: "gpt-4o-mini", dear: "gpt-5", cheap: "gpt-5-mini",
		path: func(string, bool) string { return "/v1/responses" },
		body: func(model string, stream bool, maxTokens int) string {
			return fmt.Sprintf(`{"model": %q, "stream": %t, "max_output_tokens": %d, "input": %q}`, model, stream, maxTokens, prompt)
		},
		refusal: openAIRefusal,
	},
	{
		name: "anthropic.messages", provider: "anthropic", model: "claude-sonnet-4-5", dear: "claude-opus-4-1", cheap: "claude-haiku-4-5",
		path: func(string, bool) string { return "/v1/messages" },
		body: func(model string, stream bool, maxTokens int) string {
			return fmt.Sprintf(`{"model": %q, "stream": %t, "max_tokens": %d, "messages": [{"role": "user", "content": %q}]}`, model, stream, maxTokens, prompt)
		},
		refusal: func(t *testing.T, body []byte) refusal {
			var e struct {
				Type  string
				Error struct{ Type, Message string }
				ID    string `json:"request_id"`
			}
			unmarshal(t, body, &e)
			if e.Type != "error" {
				t.Errorf("type = %q, want error: %s", e.Type, body)
			}
			return refusal{e.Error.Type, e.Error.Message, e.ID}
		},
	},
	{
		name: "gemini", provider: "google", model: "gemini-2.5-flash", dear: "gemini-2.5-pro", cheap: "gemini-2.5-flash",
		path: func(model string, stream bool) string {
			if stream {
				return "/v1beta/models/" + model + ":streamGenerateContent?alt=sse"
			}
			return "/v1beta/models/" + model + ":generateContent"
		},
		body: func(_ string, _ bool, maxTokens int) string {
			return fmt.Sprintf(`{"contents": [{"role": "user", "parts": [{"text": %q}]}], "generationConfig": {"maxOutputTokens": %d}}`, prompt, maxTokens)
		},
		refusal: func(t *testing.T, body []byte) refusal {
			var e struct {
				Error struct {
					Code            int
					Message, Status string
				}
			}
			unmarshal(t, body, &e)
			return refusal{kind: e.Error.Status, message: e.Error.Message}
		},
	},
}

func openAIRefusal(t *testing.T, body []byte) refusal {
	var e struct {
		Error struct {
			Message, Type, Code string
			Keel                struct {
				ID string `json:"decision_id"`
			}
		}
	}
	unmarshal(t, body, &e)
	if e.Error.Type == "" {
		t.Errorf("error.type is empty: %s", body)
	}
	return refusal{e.Error.Code, e.Error.Message, e.Error.Keel.ID}
}

func unmarshal(t *testing.T, text []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, text)
	}
}

// recordName is the api column: Gemini has a format each for unary and stream.
func (a *api) recordName(stream bool) string {
	if a.name != "gemini" {
		return a.name
	}
	if stream {
		return "gemini.streamGenerateContent"
	}
	return "gemini.generateContent"
}

// eachAPI runs test for every format, unary and streamed.
func eachAPI(t *testing.T, test func(t *testing.T, a *api, stream bool)) {
	for i := range apis {
		for _, stream := range []bool{false, true} {
			name := apis[i].name + "/unary"
			if stream {
				name = apis[i].name + "/stream"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, &apis[i], stream)
			})
		}
	}
}

// sharedConfig is what the shared stack has beside the sample documents. Every
// test that needs a budget has a team of its own.
const sharedConfig = `
kind: Budget
name: tight
selector: {team: tight}
limit: 0.000001 USD
window: month
mode: enforce
---
kind: Budget
name: monthly-gpt # room for one answer of 60 tokens
selector: {team: "monthly-gpt-*"}
per: [team]
limit: 0.0002 USD
window: month
mode: enforce
---
kind: Budget
name: monthly-claude
selector: {team: "monthly-claude-*"}
per: [team]
limit: 0.0005 USD
window: month
mode: enforce
---
kind: Budget
name: watched
selector: {team: watched}
limit: 0.000001 USD
window: month
mode: observe
---
kind: Budget
name: roomy
selector: {team: roomy}
limit: 1000 USD
window: month
mode: enforce
---
kind: Policy
name: no-models-for-guests
when: 'subject.team == "guests"'
do: {deny: "guests only look"}
---
kind: Policy
name: plain-calls
when: 'subject.team == "plain"'
do: {constrain: {choices: 1, tools: none}}
---
kind: Policy
name: own-tools
when: 'subject.team == "own-tools"'
do: {constrain: {tools: own}}
---
kind: Policy
name: frugal
when: 'subject.team == "frugal" && request.effort in ["high", "xhigh"]'
do: {constrain: {reasoning_effort: low}}
---
kind: Policy
name: tagged
when: 'subject.team == "tagged"'
do: {tag: {team: plain-tag}}
---
kind: Policy
name: warned
when: 'subject.team == "warned" && request.priced && request.bound_cost < usd("100")'
do: {warn: ask finance before more}
---
kind: Policy
name: short-answers
when: 'subject.team == "terse"'
do: {constrain: {max_output_tokens: 7}}
---
kind: Route
name: claude-large
models: ["claude-opus-4-1*"]
mode: prefer-cheap
targets:
  - {provider: anthropic, model: claude-opus-4-1, quality: 1.0}
  - {provider: anthropic, model: claude-haiku-4-5, quality: 0.8}
min_quality: 0.7
---
kind: Route
name: gemini-large
models: ["gemini-2.5-pro"]
mode: prefer-cheap
targets:
  - {provider: google, model: gemini-2.5-pro, quality: 1.0}
  - {provider: google, model: gemini-2.5-flash, quality: 0.8}
min_quality: 0.7
` + midstreamConfig
