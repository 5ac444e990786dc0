package tokens

// Google counts what is structured by the texts in it, each by itself: names, descriptions, formats, options,
// the names of members and those that are required (googleapis/python-genai, local_tokenizer.py). What its
// template puts around tools and members is in the figures.

// listed counts a tool definition so, and how many members its types have.
func (c *counter) listed(d definition) (tokens, members int64) {
	l := lister{counter: c, root: d.parameters, left: 4*len(d.parameters.raw) + len(d.name.raw) + len(d.description.raw) + 1024}
	l.string(d.name)
	l.string(d.description)
	l.schema(d.parameters, 0)
	return l.tokens, l.members
}

// values counts the content of a call or a result so. A JSON text in a string, which is how OpenAI's
// format has arguments, is taken for what it says.
func (c *counter) values(json []byte) int64 {
	v := parse(json)
	if v.isString() {
		inner := parse(v.appendText(nil))
		if inner.members == nil && inner.items == nil {
			return c.json(json)
		}
		v = inner
	}
	l := lister{counter: c, left: 2*len(v.raw) + 1024}
	l.any(v, 0)
	return l.tokens
}

type lister struct {
	*counter
	root            value
	tokens, members int64
	left            int // bytes that are still read: references multiply
}

func (l *lister) string(v value) {
	if l.left -= len(v.raw); l.left >= 0 && v.isString() && len(v.raw) > 2 {
		l.tokens += l.json(v.raw)
	}
}

func (l *lister) name(m member) {
	if l.left -= len(m.name) + 2; l.left >= 0 {
		l.tokens += l.text(unescape(nil, m.name))
	}
}

func (l *lister) strings(list value) {
	for _, item := range list.items {
		l.string(item)
	}
}

func (l *lister) schema(v value, depth int) {
	if l.left--; l.left < 0 || depth > maxNesting {
		return
	}
	target := renderer{root: l.root}.resolve(v, 0)
	description := v.get("description") // a reference may have one of its own
	if description.raw == nil {
		description = target.get("description")
	}
	l.string(description)
	l.string(target.get("format"))
	l.strings(target.get("enum"))
	l.strings(target.get("required"))
	for _, m := range target.get("properties").members {
		l.members++
		l.name(m)
		l.schema(m.value, depth+1)
	}
	if items := target.get("items"); items.members != nil {
		l.schema(items, depth+1)
	}
	for _, of := range []string{"anyOf", "oneOf", "allOf"} {
		for _, variant := range target.get(of).items {
			l.schema(variant, depth+1)
		}
	}
}

func (l *lister) any(v value, depth int) {
	if depth > maxNesting {
		l.tokens += int64(len(v.raw)) // never too few
		return
	}
	switch {
	case v.isString():
		l.string(v)
	case v.members != nil:
		for _, m := range v.members {
			l.name(m)
			l.any(m.value, depth+1)
		}
	default:
		for _, item := range v.items {
			l.any(item, depth+1)
		}
	}
}
