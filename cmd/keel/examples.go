package main

import (
	"fmt"
	"path/filepath"
	"strings"
)

// example is a request to paste once everything runs.
type example struct {
	name, what string
	path       string
	headers    []string
	body       string
}

var exampleRequests = []example{
	{
		name: "passes", what: "A call that passes",
		path: "/v1/chat/completions", headers: []string{"x-keel-team: research"},
		body: `{"model": "gpt-4o-mini", "max_tokens": 50, "messages": [{"role": "user", "content": "What is a budget?"}]}`,
	},
	{
		name: "rewritten", what: "One that route chat-large sends to a cheaper model",
		path: "/v1/chat/completions", headers: []string{"x-keel-team: research"},
		body: `{"model": "gpt-5", "max_completion_tokens": 50, "messages": [{"role": "user", "content": "What is a budget?"}]}`,
	},
	{
		name: "denied", what: "One that budget interns-day denies before the provider sees it",
		path: "/v1/chat/completions", headers: []string{"x-keel-team: interns"},
		body: `{"model": "gpt-4o", "max_tokens": 4000, "messages": [{"role": "user", "content": "Write a novel."}]}`,
	},
	{
		name: "streams", what: "One that streams",
		path: "/v1/messages", headers: []string{"x-keel-team: research", "anthropic-version: 2023-06-01"},
		body: `{"model": "claude-sonnet-4-5", "max_tokens": 60, "stream": true, "messages": [{"role": "user", "content": "Count to ten."}]}`,
	},
}

// curl is the request as one line for a shell; its response headers go to a
// file, from which explain reads the decision id.
func (e *example) curl(url, dir string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "curl -sS -N -D %s %s%s -H 'content-type: application/json'", e.headerFile(dir), url, e.path)
	for _, h := range e.headers {
		fmt.Fprintf(&b, " -H '%s'", h)
	}
	fmt.Fprintf(&b, " -d '%s'", e.body)
	return b.String()
}

func (e *example) explain(keel, dir string) string {
	return fmt.Sprintf("%s explain --dir %s - < %s", keel, dir, e.headerFile(dir))
}

func (e *example) headerFile(dir string) string { return filepath.Join(dir, e.name+".headers") }

// examples is what dev prints when it is ready.
func examples(url, dir, keel string) string {
	var b strings.Builder
	b.WriteString("Requests to paste into another terminal:\n")
	for i := range exampleRequests {
		e := &exampleRequests[i]
		fmt.Fprintf(&b, "\n# %s\n%s\n%s\n", e.what, e.curl(url, dir), e.explain(keel, dir))
	}
	b.WriteString("\nCtrl-C stops everything.\n")
	return b.String()
}
