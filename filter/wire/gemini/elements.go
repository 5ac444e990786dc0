package gemini

// maxElement is the largest element that is kept to be read: images come
// inline, at most some MB each.
const maxElement = 64 << 20

// elements finds the objects in a body of JSON as it arrives: one object, or
// the elements of a list of objects. It tells objects apart by depth alone;
// whoever reads them finds out whether they are JSON.
type elements struct {
	state state
	list  bool

	depth   int
	quoted  bool
	escaped bool
	buf     []byte // the object under way, as far as chunks before brought it
	lost    bool   // the object under way is too large and is left out
	anyLost bool
}

type state int

const (
	before    state = iota // nothing but space yet
	within                 // in an object
	between                // in the list, behind an object
	expecting              // in the list, where an object has to come
	complete               // the value has ended
	broken                 // this is not a value of the expected shape
)

// feed calls element for each object that chunk completes. The object is valid
// during the call.
func (e *elements) feed(chunk []byte, element func(object []byte)) {
	start := 0 // of the part of the object that is in this chunk
	for i := 0; i < len(chunk); i++ {
		b := chunk[i]
		if e.state == within {
			if !e.step(b) {
				continue
			}
			e.keep(chunk[start : i+1])
			if !e.lost {
				element(e.buf)
			}
			e.buf, e.lost = e.buf[:0], false
			e.state = complete
			if e.list {
				e.state = between
			}
			continue
		}
		switch {
		case b == ' ' || b == '\t' || b == '\r' || b == '\n':
		case b == '{' && (e.state == before || e.state == expecting):
			e.state, e.depth, start = within, 1, i
		case b == '[' && e.state == before:
			e.state, e.list = expecting, true
		case b == ',' && e.state == between:
			e.state = expecting
		case b == ']' && (e.state == between || e.state == expecting):
			e.state = complete // a list may be empty; one comma too many is forgiven
		default:
			e.state = broken
			return
		}
	}
	if e.state == within {
		e.keep(chunk[start:])
	}
}

// step takes one byte of an object and reports whether it is the last one.
func (e *elements) step(b byte) bool {
	switch {
	case e.escaped:
		e.escaped = false
	case e.quoted:
		e.escaped = b == '\\'
		e.quoted = b != '"'
	case b == '"':
		e.quoted = true
	case b == '{' || b == '[':
		e.depth++
	case b == '}' || b == ']':
		e.depth--
		return e.depth == 0
	}
	return false
}

func (e *elements) keep(part []byte) {
	if e.lost || len(e.buf)+len(part) > maxElement {
		e.lost, e.anyLost, e.buf = true, true, nil
		return
	}
	e.buf = append(e.buf, part...)
}
