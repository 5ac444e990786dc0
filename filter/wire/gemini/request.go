package gemini

import (
	"net/url"
	"strconv"
	"strings"

	"keel/filter/wire"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// ReadRequest implements wire.Codec. What is legal in Google's JSON mapping is
// taken: snake case, numbers as strings, and single values where the schema
// has lists (tools, contents, parts).
func (c *codec) ReadRequest(path string, body []byte) (*wire.Request, error) {
	r := &wire.Request{API: c.api, Stream: c.streamed, Background: c.background, Choices: 1, Prompt: tokens.Prompt{Task: c.task}}
	in := request{Request: r, prompt: prompt{&r.Prompt}}
	if c.fetches {
		_, query, _ := strings.Cut(path, "?")
		values, _ := url.ParseQuery(query) // what is broken in it asks for nothing
		r.Stream, r.Marks = values.Get("stream") == "true", &in.at
		return r, nil
	}
	if !c.nameless {
		t, ok := parsePath(path)
		if !ok {
			return nil, &wire.RequestError{Field: "model", Reason: "is required: the path must end in models/{model}:" + c.method}
		}
		r.Model, in.inPath = t.model, true
	}
	root, err := walk.Request(body, c.member(&in))
	if err != nil {
		return nil, err
	}
	in.at.root = root
	if r.Model == "" {
		return nil, &wire.RequestError{Field: "model", Reason: "is missing: name the model"}
	}
	in.finish()
	r.Marks = &in.at
	return r, nil
}

// marks is what Rewrite needs to find again.
type marks struct {
	root   wire.Span
	models []wire.Span // wherever the body names the model
	asks   []ask       // what is asked for, more than once in a batch
}

// ask is a GenerateContentRequest, or what stands for one, within a body.
type ask struct {
	object    wire.Span // zero for the body itself
	config    wire.Span // generationConfig, null too
	maxTokens wire.Span
	limit     int64
	choices   int64
	snake     bool // of the Interactions API: generation_config
}

// request is a request under way.
type request struct {
	*wire.Request
	prompt     prompt
	inPath     bool // the path names the model
	at         marks
	resolution string // of images that state none of their own
}

// finish sums up what is asked for. A batch may use the largest of its limits
// as often as all of it asks for a choice.
func (r *request) finish() {
	choices, limited := int64(0), true
	for _, a := range r.at.asks {
		choices = min(choices+a.choices, walk.MaxCount)
		limited = limited && a.limit > 0
		r.MaxOutputTokens = max(r.MaxOutputTokens, a.limit)
	}
	if !limited {
		r.MaxOutputTokens = 0
	}
	r.Choices = max(choices, 1)
	for i := range r.Prompt.Images {
		if r.Prompt.Images[i].Detail == "" {
			r.Prompt.Images[i].Detail = r.resolution
		}
	}
}

// model reads the model where a body repeats or states it.
func (r *request) model(c *walk.Cursor) error {
	text, err := c.Text()
	if err != nil || text == nil {
		return err
	}
	r.at.models = append(r.at.models, c.Span())
	model := modelName(string(text))
	switch {
	case model == "":
		return c.Fail("must not be empty")
	case r.Model == "":
		r.Model = model
	case model != r.Model && r.inPath:
		return c.Fail("must be %s as in the path, or absent", r.Model)
	case model != r.Model:
		return c.Fail("must be %s as elsewhere in the body", r.Model)
	}
	return nil
}

// generate begins one more GenerateContentRequest and returns what reads its members.
func (r *request) generate() func(c *walk.Cursor, key []byte) error {
	which := len(r.at.asks)
	r.at.asks = append(r.at.asks, ask{choices: 1})
	var names, config object
	return func(c *walk.Cursor, key []byte) error {
		member := name(key)
		switch string(member) {
		case "systemInstruction", "generationConfig", "cachedContent", "serviceTier":
			if err := names.once(c, string(member)); err != nil {
				return err
			}
		}
		switch string(member) {
		case "model":
			return r.model(c)
		case "contents":
			return r.prompt.contents(c)
		case "systemInstruction":
			before := r.Prompt.Messages
			err := r.prompt.content(c)
			r.Prompt.System = r.Prompt.System || r.Prompt.Messages > before
			return err
		case "tools":
			return each(c, func() error { return r.prompt.tool(c) })
		case "toolConfig":
			return r.prompt.toolConfig(c)
		case "generationConfig":
			err := c.Object(func(key []byte) error { return r.config(c, key, &r.at.asks[which], &config) })
			r.at.asks[which].config = c.Span()
			return err
		case "cachedContent":
			return r.prompt.reference(c, "cached content")
		case "serviceTier":
			tier, err := enum(c)
			r.ServiceTier = tierName(tier)
			return err
		}
		return nil
	}
}

// config reads a member of generationConfig.
func (r *request) config(c *walk.Cursor, key []byte, a *ask, names *object) error {
	member := name(key)
	switch string(member) {
	case "maxOutputTokens", "candidateCount":
		if err := names.once(c, string(member)); err != nil {
			return err
		}
	}
	switch string(member) {
	case "maxOutputTokens":
		return r.limit(c, a)
	case "candidateCount":
		n, ok, err := integer(c)
		if err == nil && (n < 0 || n > maxChoices) {
			return c.Fail("must be from 1 to %d, not %d", maxChoices, n)
		}
		if ok && n > 0 { // 0 is "not set" in protocol buffers
			a.choices = n
		}
		return err
	case "responseSchema", "responseJsonSchema", "ResponseJsonSchema": // the last is _responseJsonSchema
		return c.Segment(r.prompt.Prompt, tokens.Schema)
	case "thinkingConfig":
		return r.thinking(c)
	case "mediaResolution":
		resolution, err := detail(c)
		r.resolution = resolution
		return err
	}
	return nil
}

// maxChoices is more candidates than any model makes.
const maxChoices = 128

func (r *request) limit(c *walk.Cursor, a *ask) error {
	n, ok, err := integer(c)
	a.limit, a.maxTokens = n, c.Span()
	if err == nil && ok && n <= 0 {
		return c.Fail("must be at least 1, not %d", n)
	}
	return err
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

// tierName is a service tier as people write it: the enum is SERVICE_TIER_FLEX in one place and flex in another.
func tierName(tier string) string {
	tier = strings.TrimPrefix(strings.ToLower(tier), "service_tier_")
	if tier == "unspecified" {
		return ""
	}
	return tier
}
