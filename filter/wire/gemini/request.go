package gemini

import (
	"strconv"
	"strings"

	"keel/filter/wire"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// ReadRequest implements wire.Codec. What is legal in Google's JSON mapping is
// taken: snake case, numbers as strings, and single values where the schema
// has lists (tools, contents, parts).
func (c Codec) ReadRequest(path string, body []byte) (*wire.Request, error) {
	t, ok := parsePath(path)
	if !ok {
		return nil, &wire.RequestError{Field: "model", Reason: "is required: the path must end in models/{model}:" + strings.TrimPrefix(string(c.API()), "gemini.")}
	}
	r := &wire.Request{API: c.API(), Model: t.model, Stream: c.Streamed, Choices: 1}
	in := request{Request: r, prompt: prompt{&r.Prompt}}
	object, err := walk.Request(body, in.member)
	if err != nil {
		return nil, err
	}
	in.at.object = object
	r.Marks = in.at
	return r, nil
}

// marks is what Rewrite needs to find again.
type marks struct {
	object, model, config, maxTokens wire.Span
}

// request is a request under way.
type request struct {
	*wire.Request
	prompt prompt
	at     marks
	seen   []string // members that have two names
}

// camel maps the names that this package reads to the ones of the schema.
var camel = map[string]string{
	"system_instruction": "systemInstruction", "generation_config": "generationConfig", "cached_content": "cachedContent",
	"service_tier": "serviceTier", "max_output_tokens": "maxOutputTokens", "candidate_count": "candidateCount",
	"response_schema": "responseSchema", "response_json_schema": "responseJsonSchema", "_responseJsonSchema": "responseJsonSchema",
	"inline_data": "inlineData", "file_data": "fileData", "function_call": "functionCall", "function_response": "functionResponse",
	"function_declarations": "functionDeclarations", "mime_type": "mimeType", "thought_signature": "thoughtSignature",
	"video_metadata": "videoMetadata",
}

func name(key []byte) string {
	if n, ok := camel[string(key)]; ok {
		return n
	}
	return string(key)
}

// once refuses the second of two names of one member.
func (r *request) once(c *walk.Cursor, name string) error {
	for _, s := range r.seen {
		if s == name {
			return c.Fail("is there twice, in two casings: keep one")
		}
	}
	r.seen = append(r.seen, name)
	return nil
}

func (r *request) member(c *walk.Cursor, key []byte) error {
	member := name(key)
	switch member {
	case "systemInstruction", "generationConfig", "cachedContent", "serviceTier":
		if err := r.once(c, member); err != nil {
			return err
		}
	}
	switch member {
	case "model":
		text, err := c.Text()
		if err != nil || text == nil {
			return err
		}
		r.at.model = c.Span()
		if model := string(text); model != r.Model && model != "models/"+r.Model && !strings.HasSuffix(model, "/models/"+r.Model) {
			return c.Fail("must be %s as in the path, or absent", r.Model)
		}
	case "contents":
		return each(c, func() error {
			r.Prompt.Messages++
			return r.prompt.content(c)
		})
	case "systemInstruction":
		return r.prompt.content(c)
	case "tools":
		return each(c, func() error { return r.prompt.tool(c) })
	case "generationConfig":
		err := c.Object(func(key []byte) error { return r.config(c, key) })
		r.at.config = c.Span()
		return err
	case "cachedContent":
		kind := c.Kind()
		if err := c.Skip(); err != nil {
			return err
		}
		if kind != 'n' {
			r.prompt.unseen("cachedContent")
		}
	case "serviceTier":
		tier, err := c.Text()
		r.ServiceTier = string(tier)
		return err
	}
	return nil
}

// config reads a member of generationConfig.
func (r *request) config(c *walk.Cursor, key []byte) error {
	member := name(key)
	switch member {
	case "maxOutputTokens":
		if err := r.once(c, member); err != nil {
			return err
		}
		n, ok, err := integer(c)
		r.MaxOutputTokens, r.at.maxTokens = n, c.Span()
		if err == nil && ok && n <= 0 {
			return c.Fail("must be at least 1, not %d", n)
		}
		return err
	case "candidateCount":
		if err := r.once(c, member); err != nil {
			return err
		}
		n, ok, err := integer(c)
		if err == nil && n < 0 {
			return c.Fail("must be at least 1, not %d", n)
		}
		if ok && n > 0 { // 0 is "not set" in protocol buffers
			r.Choices = n
		}
		return err
	case "responseSchema", "responseJsonSchema":
		raw, err := c.Value()
		if err == nil && raw[0] != 'n' {
			r.Prompt.SchemaBytes += int64(len(raw))
		}
		return err
	}
	return nil
}

// integer is Cursor.Int for a format where integers may be strings.
func integer(c *walk.Cursor) (n int64, ok bool, err error) {
	if c.Kind() != '"' {
		return c.Int()
	}
	text, err := c.Text()
	if err != nil {
		return 0, false, err
	}
	if n, err = strconv.ParseInt(string(text), 10, 64); err != nil {
		return 0, false, c.Fail("must be an integer, not %.40q", text)
	}
	return n, true, nil
}

// each calls element for a value or for each in a list of them.
func each(c *walk.Cursor, element func() error) error {
	switch c.Kind() {
	case '[':
		return c.Array(element)
	case 'n':
		return c.Skip()
	}
	return element()
}

// prompt measures what the model reads.
type prompt struct{ *tokens.Prompt }

// unseen notes the first thing that the body does not show.
func (p prompt) unseen(what string) {
	if p.Opaque == "" {
		p.Opaque = what
	}
}

// content is a turn: an object with parts, or a bare text.
func (p prompt) content(c *walk.Cursor) error {
	if c.Kind() != '{' {
		return p.text(c)
	}
	return c.Object(func(key []byte) error {
		switch name(key) {
		case "parts":
			return p.parts(c)
		case "role":
			return c.Skip()
		}
		return p.part(c, key) // a part in the place of a turn
	})
}

func (p prompt) parts(c *walk.Cursor) error {
	return each(c, func() error {
		if c.Kind() != '{' {
			return p.text(c)
		}
		return c.Object(func(key []byte) error { return p.part(c, key) })
	})
}

// part reads a member of a part.
func (p prompt) part(c *walk.Cursor, key []byte) error {
	switch name(key) {
	case "inlineData":
		return p.inlineData(c)
	case "fileData":
		kind := c.Kind()
		if err := c.Skip(); err != nil {
			return err
		}
		if kind != 'n' {
			p.unseen("fileData")
		}
		return nil
	case "functionCall":
		raw, err := c.Value()
		p.TextBytes += int64(len(raw))
		return err
	case "functionResponse":
		return p.functionResponse(c)
	case "thoughtSignature", "thought", "videoMetadata":
		return c.Skip() // carries no text of its own
	}
	return p.text(c)
}

// functionResponse counts the JSON that the model reads; media may come along as parts.
func (p prompt) functionResponse(c *walk.Cursor) error {
	return c.Object(func(key []byte) error {
		if string(key) == "parts" {
			return p.parts(c)
		}
		raw, err := c.Value()
		p.TextBytes += int64(len(raw))
		return err
	})
}

func (p prompt) inlineData(c *walk.Cursor) error {
	if c.Kind() == 'n' {
		return c.Skip()
	}
	var data int64
	image := false
	err := c.Object(func(key []byte) (err error) {
		switch name(key) {
		case "data":
			data, err = c.TextLen()
		case "mimeType":
			var mime []byte
			mime, err = c.Text()
			image = strings.HasPrefix(strings.ToLower(string(mime)), "image/")
		}
		return err
	})
	if image {
		p.Images++
		p.ImageBytes += data
	} else {
		p.Media++
		p.MediaBytes += data
	}
	return err
}

// text adds every string in a value of any shape.
func (p prompt) text(c *walk.Cursor) error {
	switch c.Kind() {
	case '"':
		n, err := c.TextLen()
		p.TextBytes += n
		return err
	case '[':
		return c.Array(func() error { return p.text(c) })
	case '{':
		return c.Object(func([]byte) error { return p.text(c) })
	}
	return c.Skip()
}

// tool is a set of function declarations, or a hosted tool (googleSearch,
// codeExecution, urlContext, …) that puts its results into the prompt.
func (p prompt) tool(c *walk.Cursor) error {
	return c.Object(func(key []byte) error {
		member := name(key)
		if member == "functionDeclarations" {
			err := each(c, func() error {
				p.Tools++
				return c.Skip()
			})
			if raw := c.Span().Len(); err == nil && raw > len("null") {
				p.ToolBytes += int64(raw)
			}
			return err
		}
		kind := c.Kind()
		if err := c.Skip(); err != nil {
			return err
		}
		if kind != 'n' {
			p.unseen("tool " + member)
		}
		return nil
	})
}
