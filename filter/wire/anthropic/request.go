package anthropic

import (
	"strings"

	"keel/filter/wire"
	"keel/filter/wire/fields"
	"keel/filter/wire/framing"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// ReadRequest implements wire.Codec. At Vertex AI the model is in the path.
func (c *codec) ReadRequest(path string, body []byte) (*wire.Request, error) {
	r := &wire.Request{API: c.api, Choices: 1, Prompt: tokens.Prompt{Task: c.task}}
	t := parsePath("", path)
	if c.member == nil {
		r.Marks = &marks{batch: t.batch}
		return r, nil
	}
	r.Region = t.location
	if err := c.read(r, t.model, body); err != nil {
		return nil, err
	}
	r.Stream = r.Stream || t.streamed
	return r, nil
}

// ReadBody reads the body of a messages request, or of complete's, that
// stands in the envelope of another API (InvokeModel of Bedrock), which names the model. It
// fills r, whose API, Model and Prompt.Task are set already, and with Rewrite's marks.
func ReadBody(r *wire.Request, body []byte) error {
	return messages.read(r, r.Model, body)
}

// read fills r. model is what stands outside of the body, "" where nothing does.
func (c *codec) read(r *wire.Request, model string, body []byte) error {
	in := request{Request: r, prompt: prompt{&r.Prompt}, at: &marks{limit: c.limit, outside: model != ""}}
	root, err := walk.Request(body, c.member(&in))
	if err != nil {
		return err
	}
	in.at.root = root
	r.Marks = in.at
	return in.finish(model)
}

// marks is what Rewrite and NewReader need to know again.
type marks struct {
	root    wire.Span
	limit   string // name of the limit
	outside bool   // something outside of the body names the model
	asks    []ask  // what is asked for, more than once in a batch
	batch   string // the id of the batch that the path names
}

// ask is a request for one message.
type ask struct {
	object                   wire.Span // zero for the body itself
	model, maxTokens, budget wire.Span
	name                     string // of the model
	limit                    int64  // max_tokens, 0 if none
	budgetTokens             int64  // thinking.budget_tokens, 0 if none
}

// completeLimit is what the limit on output was called before messages.
const completeLimit = "max_tokens_to_sample"

// request is a request under way.
type request struct {
	*wire.Request
	prompt prompt
	at     *marks
}

// finish sums up what is asked for. A batch may use the largest of its limits
// as often as it asks for a message.
func (r *request) finish(model string) error {
	limited, tools := true, r.Prompt.Tools
	for _, a := range r.at.asks {
		switch {
		case a.name != "" && model != "" && a.name != model:
			return &wire.RequestError{Field: "model", Reason: "must be " + model + " as outside of the body, or absent"}
		case a.name == "" && model == "":
			return &wire.RequestError{Field: "model", Reason: "is required: name the model to call"}
		case a.name != r.at.asks[0].name:
			fields.Hosted(&r.Prompt, "several models")
		case len(r.at.asks) > 1 && tools > 0:
			fields.Hosted(&r.Prompt, "tools in several requests") // each brings its own hidden prompt
		}
		limited = limited && a.limit > 0
		r.MaxOutputTokens = max(r.MaxOutputTokens, a.limit)
	}
	if !limited {
		r.MaxOutputTokens = 0
	}
	if len(r.at.asks) == 0 {
		return &wire.RequestError{Field: "requests", Reason: "must have at least one request with params"}
	}
	r.Choices = int64(len(r.at.asks))
	if r.Model = model; model == "" {
		r.Model = r.at.asks[0].name
	}
	return nil
}

// ask begins one more request and returns its place in marks.
func (r *request) ask() int {
	r.at.asks = append(r.at.asks, ask{})
	return len(r.at.asks) - 1
}

// message begins a request for a message and returns what reads its members.
func (r *request) message() func(c *walk.Cursor, key []byte) error {
	which := r.ask()
	return func(c *walk.Cursor, key []byte) error {
		switch string(key) {
		case "model":
			return r.model(c, which)
		case "max_tokens", completeLimit:
			return r.maxTokens(c, which, string(key))
		case "stream":
			stream, err := c.Bool()
			r.Stream = stream
			return err
		case "thinking":
			return r.thinking(c, which)
		case "tool_choice":
			return r.prompt.toolChoice(c)
		case "service_tier":
			return framing.Name(c, &r.ServiceTier)
		case "speed":
			return framing.Name(c, &r.Speed)
		case "inference_geo":
			return framing.Name(c, &r.Region)
		case "system":
			return r.prompt.system(c)
		case "messages":
			return c.Array(func() error { return r.prompt.message(c) })
		case "prompt": // of complete
			r.at.limit = completeLimit
			r.Prompt.Messages++
			return c.Segment(&r.Prompt, tokens.Text)
		case "tools":
			return c.Array(func() error { return r.prompt.tool(c) })
		case "output_config", "output_format":
			return r.outputConfig(c)
		case "mcp_servers", "container": // remote tools, and what an earlier call left
			return r.prompt.opaque(c, string(key))
		case "context_management":
			return r.prompt.contextManagement(c)
		}
		return nil
	}
}

func (r *request) model(c *walk.Cursor, which int) error {
	name, err := c.Text()
	if err != nil {
		return err
	}
	if name != nil && len(name) == 0 {
		return c.Fail("must not be empty")
	}
	a := &r.at.asks[which]
	a.name, a.model = string(name), c.Span()
	return nil
}

func (r *request) maxTokens(c *walk.Cursor, which int, name string) error {
	n, ok, err := c.Int()
	if err != nil {
		return err
	}
	if ok && n <= 0 {
		return c.Fail("must be at least 1, not %d", n)
	}
	a := &r.at.asks[which]
	a.limit, a.maxTokens = n, c.Span()
	r.at.limit = name
	return nil
}

func (r *request) thinking(c *walk.Cursor, which int) error {
	kind := ""
	err := c.Object(func(key []byte) (err error) {
		switch string(key) {
		case "type":
			return framing.Name(c, &kind)
		case "budget_tokens":
			a := &r.at.asks[which]
			a.budgetTokens, _, err = c.Int()
			a.budget = c.Span()
		}
		return err
	})
	r.Prompt.Thinking = r.Prompt.Thinking || kind == "enabled"
	if kind == "disabled" && r.Effort == "" {
		r.Effort = "none"
	}
	return err
}

// outputConfig reads output_config or output_format: the effort, and what the answer is to look like.
func (r *request) outputConfig(c *walk.Cursor) error {
	return c.Object(func(key []byte) error {
		if string(key) == "effort" && c.Kind() == '"' {
			effort, err := c.Text()
			r.Effort = strings.ToLower(string(effort))
			return err
		}
		return r.prompt.outputFormat(c, key)
	})
}
