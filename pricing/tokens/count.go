package tokens

// measured is a Prompt in the tokens of one vocabulary, and what else of it
// depends on reading segments. Made once, however many targets ask.
type measured struct {
	tokens   [NumClasses]int64 // ToolSchema and Hidden stay 0: see below
	segments [NumClasses]int64
	bytes    [NumClasses]int64

	callParts   int64 // names and arguments of earlier calls
	definitions int64 // tools
	rendered    int64 // tokens of the tools as TypeScript, without the namespace around them; in Gemma's vocabulary, of their texts
	compact     int64 // tokens of the tools as compact JSON
	members     int64 // of the types of the tools' parameters, counted in Gemma's vocabulary alone
	nested      bool  // a tool is wrapped as chat completions do it
}

// measured counts p in a vocabulary, once.
func (p *Prompt) measured(v vocabulary) *measured {
	if m := p.counts[v]; m != nil {
		return m
	}
	m, c := new(measured), v.counter()
	for i := range p.Segments {
		s := &p.Segments[i]
		m.segments[s.Class]++
		m.bytes[s.Class] += int64(len(s.JSON))
		switch s.Class {
		case ToolSchema:
			t := c.tool(s.JSON)
			m.definitions++
			m.rendered += t.rendered
			m.compact += t.compact
			m.members += t.members
			m.nested = m.nested || t.nested
		case ToolCall, ToolResult:
			n, parts := c.exchange(s)
			m.tokens[s.Class] += n
			if s.Class == ToolCall {
				m.callParts += parts
			}
		case Hidden: // counted by bytes: nobody but the provider sees its tokens
		default:
			m.tokens[s.Class] += c.segment(s)
		}
	}
	p.counts[v] = m
	return m
}

// exchange counts what the model reads of a call or its result. APIs have name and
// arguments apart or in one object; what identifies the call in such an object is not
// for the model. parts is how many of name and arguments it was.
func (c *counter) exchange(s *Segment) (n, parts int64) {
	if s.Plain || len(s.JSON) == 0 || s.JSON[0] != '{' {
		return c.segment(s), 1
	}
	object := shallow(s.JSON)
	content := object.first("args", "arguments", "input", "parameters", "response", "content")
	if content.raw == nil || object.first("name", "id", "toolUseId", "tool_use_id", "call_id").raw == nil {
		return c.segment(s), 1
	}
	if c.vocabulary == gemma3 {
		return c.json(object.get("name").raw) + c.values(content.raw), 2
	}
	return c.json(object.get("name").raw) + c.json(content.raw), 2
}

// toolCount is one tool definition in tokens.
type toolCount struct {
	rendered, compact, members int64
	nested                     bool
}

// tool counts a tool definition. Applications send the same tools with every
// call, so counts are remembered.
func (c *counter) tool(json []byte) toolCount {
	key := toolKey(json, c.vocabulary)
	if t, ok := tools.get(key); ok {
		return t
	}
	d := define(parse(json))
	var t toolCount
	t.nested = d.nested
	text := d.appendType(make([]byte, 0, 2*len(json)+256))
	t.rendered = c.text(text)
	if c.vocabulary == gemma3 {
		t.rendered, t.members = c.listed(d)
	}
	t.compact = c.text(d.appendCompact(text[:0]))
	tools.put(key, t)
	return t
}
