package openai

import (
	"strings"

	"keel/filter/wire/walk"
)

// readThinking reads the members by which hosts are asked for reasoning: an
// effort (OpenAI, xAI, Groq, Mistral), an object with an effort, a budget or a
// switch (Responses, OpenRouter), a typed object (DeepSeek, Z.ai) or a plain
// switch (Qwen). read is false for any other member.
func (r *request) readThinking(c *walk.Cursor, key []byte) (read bool, err error) {
	switch string(key) {
	case "reasoning_effort":
		return true, r.readEffort(c)
	case "enable_thinking", "include_reasoning":
		if kind := c.Kind(); kind == 't' || kind == 'f' {
			on, err := c.Bool()
			r.thinks(on)
			return true, err
		}
		return true, nil
	case "reasoning", "thinking":
		if c.Kind() != '{' {
			return true, nil
		}
		return true, c.Object(func(key []byte) error {
			switch string(key) {
			case "effort":
				return r.readEffort(c)
			case "max_tokens", "budget_tokens":
				r.Prompt.Thinking = r.Prompt.Thinking || c.Kind() == '0'
			case "enabled":
				if kind := c.Kind(); kind == 't' || kind == 'f' {
					r.thinks(kind == 't')
				}
			case "type":
				kind, err := c.Value()
				switch string(kind) {
				case `"enabled"`:
					r.thinks(true)
				case `"disabled"`:
					r.thinks(false)
				}
				return err
			case "mode":
				mode, err := c.Value()
				if string(mode) == `"pro"` { // works in several passes, each billed for the input again
					hosted(&r.Prompt, "reasoning mode pro")
				}
				return err
			}
			return nil
		})
	}
	return false, nil
}

// thinks notes a switch. A word for the effort says more than a switch does, wherever it stands.
func (r *request) thinks(on bool) {
	r.Prompt.Thinking = r.Prompt.Thinking || on
	if !on && r.Effort == "" {
		r.Effort = noEffort
	}
}

// noEffort asks for no reasoning.
const noEffort = "none"

// readEffort reads an effort, which is a word.
func (r *request) readEffort(c *walk.Cursor) error {
	if c.Kind() != '"' {
		return nil
	}
	effort, err := c.Text()
	if len(effort) > 0 {
		r.Effort = strings.ToLower(string(effort))
	}
	r.Prompt.Thinking = r.Prompt.Thinking || r.Effort != noEffort
	return err
}

// readSearch reads web_search_options and its like: the provider searches and
// puts what it finds into the prompt.
func (r *request) readSearch(c *walk.Cursor, what string) error {
	if c.Kind() == 'n' {
		return nil
	}
	hosted(&r.Prompt, what)
	if c.Kind() != '{' {
		return nil
	}
	return c.Object(func(key []byte) error {
		if string(key) != "search_context_size" || c.Kind() != '"' {
			return nil
		}
		size, err := c.Text()
		r.SearchContext = string(size)
		return err
	})
}
