package openai

import (
	"keel/filter/wire"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// maxChoices is the largest n that OpenAI takes.
const maxChoices = 128

// marks are what Rewrite needs to know of a body and its path, and what a
// reader needs of the request that wire.Request has no place for.
type marks struct {
	root          wire.Span
	model         wire.Span // of the value in the body
	deployment    wire.Span // in the path
	caps          []limit   // output limits that stand in the body, null ones too
	streamOptions wire.Span // of the object or null
	optionsNull   bool
	includeUsage  wire.Span
	storedPrompt  string // id of a prompt kept at the provider, which can name the model
	boundary      string // of a multipart body, whose values have no quotes; "" for JSON
	characters    int64  // of text to speak
}

// limit is one output limit of a body.
type limit struct {
	at    wire.Span
	value int64 // 0 for null
}

// request is a Request being read.
type request struct {
	wire.Request
	marks    marks
	nameless bool // the format lets a request name no model
	modelKey string
}

func newRequest(api wire.API, task tokens.Task) *request {
	return &request{modelKey: "model", Request: wire.Request{API: api, Choices: 1, Prompt: tokens.Prompt{Task: task}}}
}

// read walks body, which is JSON; member reads what is particular to one API.
func (r *request) read(path string, body []byte, member func(c *walk.Cursor, key []byte) error) (*wire.Request, error) {
	root, err := walk.Request(body, func(c *walk.Cursor, key []byte) error {
		switch string(key) {
		case r.modelKey:
			return r.readModel(c)
		case "stream":
			return r.readStream(c)
		case "service_tier":
			tier, err := c.Text()
			r.ServiceTier = string(tier)
			return err
		}
		return member(c, key)
	})
	if err != nil {
		return nil, err
	}
	r.marks.root = root
	return r.finish(path)
}

// finish settles which model is asked for.
func (r *request) finish(path string) (*wire.Request, error) {
	if r.marks.deployment = deployment(path); r.marks.deployment.Len() > 0 {
		name, err := deploymentName(path, r.marks.deployment)
		if err != nil {
			return nil, err
		}
		r.Model = name
	}
	if r.Model == "" && r.marks.storedPrompt != "" {
		// The stored prompt names the model, the body does not. No price fits this
		// name, which is the truth before the call; the response tells the model.
		r.Model = "prompt/" + r.marks.storedPrompt
	}
	if r.Model == "" && !r.nameless {
		return nil, &wire.RequestError{Field: r.modelKey, Reason: "is missing: name the model"}
	}
	r.Marks = &r.marks
	return &r.Request, nil
}

func (r *request) readModel(c *walk.Cursor) error {
	model, err := c.Text()
	if err != nil {
		return err
	}
	r.marks.model = c.Span()
	if model != nil && len(model) == 0 {
		return c.Fail("must not be empty")
	}
	r.Model = string(model)
	return nil
}

func (r *request) readStream(c *walk.Cursor) (err error) {
	r.Stream, err = c.Bool()
	return err
}

// readCap reads an output limit. Of two that stand, the larger counts: OpenAI
// refuses both at once, and of other hosts it is not known which one wins.
func (r *request) readCap(c *walk.Cursor) error {
	n, ok, err := c.Int()
	if err != nil {
		return err
	}
	if ok && n <= 0 {
		return c.Fail("must be at least 1, not %d", n)
	}
	r.marks.caps = append(r.marks.caps, limit{at: c.Span(), value: n})
	r.MaxOutputTokens = max(r.MaxOutputTokens, n)
	return nil
}

func (r *request) readChoices(c *walk.Cursor) error {
	n, ok, err := c.Int()
	switch {
	case err != nil:
		return err
	case ok && (n < 1 || n > maxChoices):
		return c.Fail("must be from 1 to %d, not %d", maxChoices, n)
	case ok:
		r.Choices = max(r.Choices, n)
	}
	return nil
}

func (r *request) readStreamOptions(c *walk.Cursor) error {
	r.marks.optionsNull = c.Kind() == 'n'
	err := c.Object(func(key []byte) (err error) {
		if string(key) == "include_usage" {
			r.WantsUsage, err = c.Bool()
			r.marks.includeUsage = c.Span()
		}
		return err
	})
	r.marks.streamOptions = c.Span()
	return err
}
