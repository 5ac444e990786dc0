package leaf

import (
	"bytes"
	"slices"
)

// A Printer prints JSON as Postgres prints it once it is jsonb: keys of an object by their length, then by their bytes, and a space
// behind every colon and comma. It keeps what it needs between calls, and is not safe for concurrent use.
type Printer struct {
	in      []byte
	at      int
	out     []byte
	members []member // of the objects that are open
	sorted  []byte
}

// member is a name with its value.
type member struct {
	name       []byte // of the input
	begin, end int    // of it in the output
}

// Bounds of what is printed: what is beyond them is rare, and left to Postgres.
const (
	deepest     = 64
	longestSpan = 64 // of a number
)

// Print appends JSON that Postgres takes, as it prints it, and reports whether that is certain. It is not where a number has an exponent or is
// below zero and close to it, a string has an escape that Postgres may write otherwise, or a name is there twice.
func (p *Printer) Print(b, json []byte) ([]byte, bool) {
	p.in, p.at, p.out, p.members = json, 0, b, p.members[:0]
	ok := p.value(0)
	if ok {
		p.space()
		ok = p.at == len(p.in)
	}
	b, p.in, p.out = p.out, nil, nil
	return b, ok
}

func (p *Printer) value(depth int) bool {
	p.space()
	if p.at == len(p.in) || depth > deepest {
		return false
	}
	switch c := p.in[p.at]; c {
	case '{':
		return p.object(depth)
	case '[':
		return p.array(depth)
	case '"':
		return p.string() != nil
	case 't':
		return p.word("true")
	case 'f':
		return p.word("false")
	case 'n':
		return p.word("null")
	default:
		return p.number()
	}
}

// next is the next byte that is no space, which it takes; 0 at the end.
func (p *Printer) next() byte {
	if p.at < len(p.in) && p.in[p.at] > ' ' {
		p.at++
		return p.in[p.at-1]
	}
	p.space()
	if p.at == len(p.in) {
		return 0
	}
	p.at++
	return p.in[p.at-1]
}

func (p *Printer) space() {
	for p.at < len(p.in) && (p.in[p.at] == ' ' || p.in[p.at] == '\n' || p.in[p.at] == '\t' || p.in[p.at] == '\r') {
		p.at++
	}
}

func (p *Printer) object(depth int) bool {
	p.at++
	p.out = append(p.out, '{')
	begin, first := len(p.out), len(p.members)
	inOrder := true
	for {
		c := p.next()
		if c == '}' && len(p.members) == first {
			break
		}
		if c != '"' {
			return false
		}
		p.at--
		m := member{begin: len(p.out)}
		if m.name = p.string(); m.name == nil || bytes.IndexByte(m.name, '\\') >= 0 {
			return false
		}
		if p.next() != ':' {
			return false
		}
		p.out = append(p.out, ": "...)
		if !p.value(depth + 1) {
			return false
		}
		m.end = len(p.out)
		inOrder = inOrder && (len(p.members) == first || compareNames(p.members[len(p.members)-1].name, m.name) < 0)
		p.members = append(p.members, m)
		if c = p.next(); c == '}' {
			break
		} else if c != ',' {
			return false
		}
		p.out = append(p.out, ", "...)
	}
	if !inOrder && !p.sort(p.members[first:], begin) {
		return false
	}
	p.members = p.members[:first]
	p.out = append(p.out, '}')
	return true
}

// sort puts the members of an object, which began so far, in order. It reports whether no name is there twice.
func (p *Printer) sort(members []member, begin int) bool {
	slices.SortFunc(members, func(a, b member) int { return compareNames(a.name, b.name) })
	p.sorted = p.sorted[:0]
	for i, m := range members {
		if i > 0 {
			if bytes.Equal(members[i-1].name, m.name) {
				return false
			}
			p.sorted = append(p.sorted, ", "...)
		}
		p.sorted = append(p.sorted, p.out[m.begin:m.end]...)
	}
	p.out = append(p.out[:begin], p.sorted...)
	return true
}

// compareNames orders as jsonb does.
func compareNames(a, b []byte) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return bytes.Compare(a, b)
}

func (p *Printer) array(depth int) bool {
	p.at++
	p.out = append(p.out, '[')
	if p.next() == ']' {
		p.out = append(p.out, ']')
		return true
	}
	for p.at--; ; p.out = append(p.out, ", "...) {
		if !p.value(depth + 1) {
			return false
		}
		switch p.next() {
		case ',':
		case ']':
			p.out = append(p.out, ']')
			return true
		default:
			return false
		}
	}
}

// plain are bytes that stand for themselves in a string, reprinted the escapes that Postgres writes as they came.
var plain, reprinted = func() (plain, reprinted [256]bool) {
	for c := range plain {
		plain[c] = c >= ' ' && c != '"' && c != '\\'
	}
	for _, c := range []byte(`"\nrtbf`) {
		reprinted[c] = true
	}
	return plain, reprinted
}()

// string prints one, and returns what is between its quotes; nil if that is not certain.
func (p *Printer) string() []byte {
	in, begin := p.in, p.at
	for i := begin + 1; i < len(in); i++ {
		if plain[in[i]] {
			continue
		}
		switch in[i] {
		case '"':
			p.out = append(p.out, in[begin:i+1]...)
			p.at = i + 1
			return in[begin+1 : i : i]
		case '\\':
			if i++; i == len(in) || !reprinted[in[i]] {
				return nil
			}
		default:
			return nil
		}
	}
	return nil
}

func (p *Printer) word(w string) bool {
	if len(p.in)-p.at < len(w) || string(p.in[p.at:p.at+len(w)]) != w {
		return false
	}
	p.at += len(w)
	p.out = append(p.out, w...)
	return true
}

// number prints one without an exponent: its digits are kept, those behind the point as well.
func (p *Printer) number() bool {
	i := p.at
	if p.in[i] == '-' {
		i++
	}
	whole := p.digits(i)
	if whole == 0 || p.in[i] == '0' && (whole > 1 || i > p.at) { // no number, or one below zero that may be zero
		return false
	}
	if i += whole; i < len(p.in) && p.in[i] == '.' {
		fraction := p.digits(i + 1)
		if fraction == 0 {
			return false
		}
		i += 1 + fraction
	}
	if i-p.at > longestSpan || i < len(p.in) && (p.in[i] == 'e' || p.in[i] == 'E') {
		return false
	}
	p.out = append(p.out, p.in[p.at:i]...)
	p.at = i
	return true
}

// digits is how many there are from a place on.
func (p *Printer) digits(from int) int {
	i := from
	for i < len(p.in) && p.in[i] >= '0' && p.in[i] <= '9' {
		i++
	}
	return i - from
}
