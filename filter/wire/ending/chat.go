package ending

import (
	"slices"

	"keel/filter/wire/walk"
)

// chat is for chunks of Chat Completions and of the older completions.
// https://platform.openai.com/docs/api-reference/chat-streaming
type chat struct {
	object   string
	id       string
	model    string
	created  int64
	open     []int64 // choices that were seen and have not finished, in their order
	finished []int64
}

func (c *chat) see(doc []byte) {
	// What can't be read is as good as absent: the reader before this one says so.
	_ = walk.Response(doc, func(at *walk.Cursor, key []byte) (err error) {
		switch string(key) {
		case "id":
			return text(at, &c.id)
		case "model":
			return text(at, &c.model)
		case "created":
			c.created, _, err = at.Int()
			return err
		case "choices":
			return at.Array(func() error { return c.choice(at) })
		}
		return nil
	})
}

func (c *chat) choice(at *walk.Cursor) error {
	index, reason, err := position(at, "finish_reason")
	if reason != "" && !slices.Contains(c.finished, index) {
		c.finished = append(c.finished, index)
		c.open = slices.DeleteFunc(c.open, func(i int64) bool { return i == index })
	} else if !slices.Contains(c.finished, index) && !slices.Contains(c.open, index) {
		c.open = append(c.open, index)
	}
	return err
}

func (c *chat) finish(e *Ending) []document {
	if c.id == "" {
		return nil
	}
	type choice struct {
		Index        int64     `json:"index"`
		Delta        *struct{} `json:"delta,omitempty"`
		Text         *string   `json:"text,omitempty"`
		Logprobs     *struct{} `json:"logprobs"`
		FinishReason string    `json:"finish_reason"`
	}
	choices := make([]choice, 0, len(c.open))
	for _, index := range c.open {
		end := choice{Index: index, FinishReason: "length"}
		if c.object == "text_completion" {
			end.Text = new(string)
		} else {
			end.Delta = &struct{}{}
		}
		choices = append(choices, end)
	}
	return []document{{data: render(struct {
		ID      string   `json:"id"`
		Object  string   `json:"object"`
		Created int64    `json:"created"`
		Model   string   `json:"model"`
		Choices []choice `json:"choices"`
		Keel    keel     `json:"keel"`
	}{c.id, c.object, c.created, c.model, choices, e.keel()})}, done}
}

func (c *chat) fail(e *Ending) []document { return []document{{data: e.openAIError()}, done} }

// done is how streams of these APIs say that they are whole.
var done = document{data: []byte("[DONE]")}

func (e *Ending) openAIError() []byte {
	type object struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    string  `json:"code"`
		Keel    keel    `json:"keel"`
	}
	return e.errorBody(map[string]object{"error": {e.Message, "insufficient_quota", nil, e.Code, e.keel()}})
}
