package tokens

import "unicode/utf8"

// value is a JSON value of a tool definition, parsed as far as rendering needs it:
// in the order of the body, strings still escaped.
type value struct {
	raw     []byte // as it stands, quotes included; nil for no value
	members []member
	items   []value
}

type member struct {
	name  []byte // without quotes, still escaped
	value value
}

// maxNesting is how deep a definition is parsed and rendered. Nobody nests
// tools deeper but to make work.
const maxNesting = 48

// parse parses JSON that a strict walk has validated. What lies deeper than
// maxNesting keeps its raw text and loses its structure.
func parse(json []byte) value {
	p := parser{json: json}
	return p.value(0)
}

// shallow parses the top level alone.
func shallow(json []byte) value {
	p := parser{json: json}
	return p.value(maxNesting - 1)
}

type parser struct {
	json []byte
	at   int
}

func (p *parser) value(depth int) value {
	p.space()
	start := p.at
	var v value
	switch p.peek() {
	case '{', '[':
		if depth >= maxNesting {
			p.skip()
			break
		}
		p.elements(&v, depth)
	case '"':
		p.string()
	default:
		for p.at < len(p.json) && !structural(p.json[p.at]) {
			p.at++
		}
	}
	v.raw = p.json[start:p.at]
	return v
}

func (p *parser) elements(v *value, depth int) {
	object := p.peek() == '{'
	p.at++
	for p.at < len(p.json) {
		p.space()
		switch p.peek() {
		case '}', ']':
			p.at++
			return
		case ',':
			p.at++
			continue
		}
		before := p.at
		if object {
			name := p.string()
			p.space()
			if p.peek() == ':' {
				p.at++
			}
			v.members = append(v.members, member{name, p.value(depth + 1)})
		} else {
			v.items = append(v.items, p.value(depth+1))
		}
		if p.at == before { // not JSON after all
			p.at = len(p.json)
		}
	}
}

// skip passes over an object or array.
func (p *parser) skip() {
	depth := 0
	for p.at < len(p.json) {
		switch p.json[p.at] {
		case '"':
			p.string()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		p.at++
		if depth == 0 {
			return
		}
	}
}

// string passes over a string and returns its content, still escaped.
func (p *parser) string() []byte {
	if p.peek() != '"' {
		return nil
	}
	start := p.at + 1
	for p.at++; p.at < len(p.json); p.at++ {
		switch p.json[p.at] {
		case '\\':
			p.at++
		case '"':
			p.at++
			return p.json[start : p.at-1]
		}
	}
	p.at = len(p.json)
	return p.json[min(start, len(p.json)):]
}

func (p *parser) peek() byte {
	if p.at < len(p.json) {
		return p.json[p.at]
	}
	return 0
}

func (p *parser) space() {
	for p.at < len(p.json) && (p.json[p.at] == ' ' || p.json[p.at] == '\n' || p.json[p.at] == '\t' || p.json[p.at] == '\r') {
		p.at++
	}
}

func structural(c byte) bool {
	return c == ',' || c == '}' || c == ']' || c == ' ' || c == '\n' || c == '\t' || c == '\r'
}

// get returns the member of that name, the zero value where there is none.
func (v value) get(name string) value {
	for _, m := range v.members {
		if string(m.name) == name {
			return m.value
		}
	}
	return value{}
}

// first returns the first of several members that is there.
func (v value) first(names ...string) value {
	for _, name := range names {
		if found := v.get(name); found.raw != nil {
			return found
		}
	}
	return value{}
}

func (v value) isString() bool { return len(v.raw) >= 2 && v.raw[0] == '"' }

// appendText appends the content of a string, unescaped; nothing for other values.
func (v value) appendText(to []byte) []byte {
	if !v.isString() {
		return to
	}
	return unescape(to, v.raw[1:len(v.raw)-1])
}

// unescape appends the content of a JSON string.
func unescape(to, s []byte) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 >= len(s) {
			to = append(to, s[i])
			continue
		}
		i++
		switch s[i] {
		case 'n':
			to = append(to, '\n')
		case 't':
			to = append(to, '\t')
		case 'r':
			to = append(to, '\r')
		case 'b':
			to = append(to, '\b')
		case 'f':
			to = append(to, '\f')
		case 'u':
			r := codeUnit(s[min(i+1, len(s)):])
			i += 4
			if r >= 0xd800 && r < 0xdc00 && i+2 < len(s) && s[i+1] == '\\' && s[i+2] == 'u' {
				if low := codeUnit(s[i+3:]); low >= 0xdc00 && low < 0xe000 {
					r = 0x10000 + (r-0xd800)<<10 + (low - 0xdc00)
					i += 6
				}
			}
			to = utf8.AppendRune(to, r)
		default:
			to = append(to, s[i])
		}
	}
	return to
}

func codeUnit(s []byte) rune {
	var r rune
	for _, c := range s[:min(4, len(s))] {
		r <<= 4
		switch {
		case '0' <= c && c <= '9':
			r |= rune(c - '0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			r |= rune(c|0x20-'a') + 10
		}
	}
	return r
}
