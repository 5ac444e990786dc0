package tokens

import "bytes"

// OpenAI's models read function tools as TypeScript in a system message, not
// as JSON:
//
//	namespace functions {
//
//	// Get the weather
//	type get_weather = (_: {
//	// City name
//	city: string,
//	days?: number,
//	}) => any;
//
//	} // namespace functions
//
// This is the form that OpenAI publishes as Harmony, less its indentation, which the chat models were
// measured not to pay for. What stands around the types is in the figures of gpt.

// definition is a function tool, taken out of the wrapping that APIs put around it.
type definition struct {
	name, description, parameters value
	nested                        bool // the definition is in a "function" member, as in chat completions
}

// define finds the definition in one tool of any API.
func define(tool value) definition {
	nested := false
	for _, wrapper := range []string{"function", "toolSpec", "custom"} {
		if inner := tool.get(wrapper); inner.members != nil {
			tool, nested = inner, true
			break
		}
	}
	parameters := tool.first("parameters", "input_schema", "inputSchema", "parametersJsonSchema", "parameters_json_schema", "parameter_definitions")
	if inner := parameters.get("json"); inner.members != nil { // Bedrock Converse
		parameters = inner
	}
	return definition{tool.get("name"), tool.get("description"), parameters, nested}
}

// appendType appends the definition as TypeScript, without the namespace around it.
func (d definition) appendType(to []byte) []byte {
	r := renderer{out: to, root: d.parameters, limit: len(to) + 4*len(d.parameters.raw) + 4*len(d.description.raw) + 1024}
	if d.description.isString() && len(d.description.raw) > 2 {
		r.comment(d.description)
	}
	r.text("type ")
	r.out = d.name.appendText(r.out)
	if len(r.resolve(d.parameters, 0).get("properties").members) == 0 {
		r.text(" = () => any;\n\n")
		return r.out
	}
	r.text(" = (_: {\n")
	if description := d.parameters.get("description"); description.isString() {
		r.comment(description)
	}
	r.properties(d.parameters, 0)
	r.text("}) => any;\n\n")
	return r.out
}

// appendCompact appends the definition as JSON without space and without the
// wrapping: how the other makers' templates are assumed to show it.
func (d definition) appendCompact(to []byte) []byte {
	to = append(to, `{"name":`...)
	to = append(to, d.name.raw...)
	if d.description.isString() {
		to = append(to, `,"description":`...)
		to = append(to, d.description.raw...)
	}
	if d.parameters.raw != nil {
		to = append(to, `,"parameters":`...)
		to = appendDense(to, d.parameters.raw)
	}
	return append(to, '}')
}

// appendDense appends JSON without the space between its tokens.
func appendDense(to, json []byte) []byte {
	quoted := false
	for i := 0; i < len(json); i++ {
		c := json[i]
		switch {
		case quoted && c == '\\' && i+1 < len(json):
			to = append(to, c, json[i+1])
			i++
			continue
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ' ' || c == '\n' || c == '\t' || c == '\r'):
			continue
		}
		to = append(to, c)
	}
	return to
}

// renderer writes one definition. References are followed in its own
// parameters; because they can multiply, output ends at limit bytes.
type renderer struct {
	out   []byte
	root  value
	limit int
}

func (r *renderer) full() bool { return len(r.out) >= r.limit }

func (r *renderer) text(s string) { r.out = append(r.out, s...) }

func (r *renderer) comment(v value) {
	r.text("// ")
	r.out = v.appendText(r.out)
	r.text("\n")
}

// properties appends the members of an object type, one a line.
func (r *renderer) properties(object value, depth int) {
	object = r.resolve(object, 0)
	required := object.get("required").items
	for _, m := range object.get("properties").members {
		if r.full() {
			return
		}
		v := r.resolve(m.value, 0)
		if title := v.get("title"); title.isString() {
			r.comment(title)
			r.text("//\n")
		}
		// A reference may have a description of its own beside it.
		description := m.value.get("description")
		if description.raw == nil {
			description = v.get("description")
		}
		if description.isString() && len(description.raw) > 2 {
			r.comment(description)
		}
		r.out = unescape(r.out, m.name)
		if !contains(required, m.name) {
			r.text("?")
		}
		r.text(": ")
		r.value(v, depth)
		r.text(",")
		if fallback := m.value.get("default"); fallback.raw != nil {
			r.text(" // default: ")
			if v.get("enum").items != nil {
				r.plain(fallback)
			} else {
				r.out = append(r.out, fallback.raw...)
			}
		}
		r.text("\n")
	}
}

// value appends the type of a schema.
func (r *renderer) value(v value, depth int) {
	if depth >= maxNesting || r.full() {
		r.text("any")
		return
	}
	v = r.resolve(v, 0)
	if variants := v.first("anyOf", "oneOf").items; variants != nil {
		r.union(variants, depth)
		return
	}
	if parts := v.get("allOf").items; len(parts) > 0 {
		r.value(parts[0], depth+1)
		return
	}
	kind := v.get("type")
	if kinds := kind.items; len(kinds) > 0 {
		for i, k := range kinds {
			if i > 0 {
				r.text(" | ")
			}
			r.ofKind(v, k, depth)
		}
		return
	}
	r.ofKind(v, kind, depth)
}

func (r *renderer) union(variants []value, depth int) {
	for i, variant := range variants {
		if i > 0 {
			r.text(" | ")
		}
		r.value(variant, depth+1)
	}
}

func (r *renderer) ofKind(v, kind value, depth int) {
	name := bytes.ToLower(bytes.Trim(kind.raw, `"`)) // Gemini writes STRING
	if options := v.get("enum").items; options != nil && string(name) != "null" {
		for i, option := range options {
			if i > 0 {
				r.text(" | ")
			}
			r.out = append(r.out, option.raw...)
		}
		return
	}
	if constant := v.get("const"); constant.raw != nil {
		r.out = append(r.out, constant.raw...)
		return
	}
	switch string(name) {
	case "string", "boolean", "null", "number":
		r.out = append(r.out, name...)
	case "integer":
		r.text("number")
	case "array":
		items := v.get("items")
		if items.members == nil {
			r.text("any[]")
			return
		}
		r.value(items, depth+1)
		r.text("[]")
	default:
		switch {
		case len(v.get("properties").members) > 0:
			r.text("{\n")
			r.properties(v, depth+1)
			r.text("}")
		case string(name) == "object":
			r.text("object")
		default:
			r.text("any")
		}
	}
}

// plain appends a string without its quotes, anything else as it stands.
func (r *renderer) plain(v value) {
	if v.isString() {
		r.out = v.appendText(r.out)
	} else {
		r.out = append(r.out, v.raw...)
	}
}

// resolve follows a reference within the parameters.
func (r renderer) resolve(v value, hops int) value {
	ref := v.get("$ref").raw
	if len(ref) < 4 || hops >= maxNesting || !bytes.HasPrefix(ref, []byte(`"#/`)) {
		return v
	}
	target := r.root
	for _, step := range bytes.Split(ref[3:len(ref)-1], []byte("/")) {
		target = target.get(string(step))
	}
	return r.resolve(target, hops+1)
}

func contains(items []value, name []byte) bool {
	for _, item := range items {
		if item.isString() && bytes.Equal(item.raw[1:len(item.raw)-1], name) {
			return true
		}
	}
	return false
}
