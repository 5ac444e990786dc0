// Package ndjson reads JSON objects as they arrive, cut anywhere: objects that
// follow each other, one a line (newline-delimited JSON, JSON lines), the
// elements of an array, or a single object.
//
// It finds objects by their brackets alone; whoever reads them finds out
// whether they are JSON. It refuses scalars, and arrays in arrays.
package ndjson

import "fmt"

// MaxObject is the largest object that is kept to be read, in bytes. Images come
// inline, at most some MB each.
const MaxObject = 64 << 20

// A Reader takes chunks and gives objects:
//
//	r.Feed(chunk)
//	for r.Next() {
//		use(r.Object())
//	}
//
// The zero Reader is ready. It is used by one goroutine and allocates only to
// keep an object that a chunk border cuts.
type Reader struct {
	chunk []byte // what is not read yet; the caller's memory
	at    int64  // offset in the stream of chunk[0]

	state   state
	array   bool
	objects int64

	depth   int
	quoted  bool
	escaped bool
	pending []byte // the object under way, as far as chunks before brought it
	size    int64  // of the object under way, kept or not
	lost    bool   // it is too large to keep

	object []byte
	err    error
	limit  int // 0 means MaxObject; tests set another
}

type state uint8

const (
	before    state = iota // nothing but space yet
	within                 // in an object
	behind                 // behind an object that is no element
	between                // in the array, behind an element
	expecting              // in the array, where an element has to come
	closed                 // behind the array
	junk                   // in a line that is no object
	broken                 // this is no array of objects
)

// Feed hands over the next bytes. The objects of those before must have been
// taken by Next until it returned false. Reader does not keep chunk after that.
func (r *Reader) Feed(chunk []byte) { r.chunk = chunk }

// Object is what Next found. It is valid until the next call of Feed or Next.
func (r *Reader) Object() []byte { return r.object }

// Err tells of the first thing that was no object or too large to keep, and
// was left out. Where objects stand in lines, reading goes on with the next one.
func (r *Reader) Err() error { return r.err }

// Whole reports whether everything fed so far is whole objects, of which there is
// at least one, or an array of them that has ended.
func (r *Reader) Whole() bool {
	return r.err == nil && (r.state == behind || r.state == closed)
}

// One is Whole for what is one JSON value: a single object, or an array.
func (r *Reader) One() bool {
	return r.Whole() && (r.array || r.objects == 1)
}

// Offset is where reading stands in the stream: behind the object that Next found, else
// at the end of what was fed.
func (r *Reader) Offset() int64 { return r.at }

// Pending is how many bytes of the object under way were fed, 0 between objects.
func (r *Reader) Pending() int64 { return r.size }

// Next reads on to the end of the next object in what was fed. It returns false
// when more bytes are needed.
func (r *Reader) Next() bool {
	if r.state != within { // behind an object, whose memory is free now
		r.pending = r.pending[:0]
	}
	start := 0 // of the part of the object that is in chunk
	for i := 0; i < len(r.chunk); i++ {
		b := r.chunk[i]
		if r.state != within {
			if r.open(b, r.at+int64(i)); r.state == within {
				start = i
			}
			continue
		}
		switch r.step(b, r.at+int64(i)) {
		case goesOn:
		case gaveUp: // where the line ends
			r.pending, r.size, r.lost = r.pending[:0], 0, false
			r.state = behind
		case ended:
			if r.close(start, i+1) {
				return true
			}
		}
	}
	if r.state == within {
		r.keep(r.chunk[start:])
	}
	r.advance(len(r.chunk))
	return false
}

func (r *Reader) advance(n int) {
	r.at += int64(n)
	r.chunk = r.chunk[n:]
}

// open takes a byte between objects.
func (r *Reader) open(b byte, at int64) {
	switch {
	case r.state == broken:
	case r.state == junk:
		if b == '\n' {
			r.state = behind
		}
	case b == ' ' || b == '\t' || b == '\r' || b == '\n':
	case b == '{' && (r.state == before || r.state == behind || r.state == expecting):
		r.state, r.depth = within, 1
	case b == '[' && r.state == before:
		r.state, r.array = expecting, true
	case b == ',' && r.state == between:
		r.state = expecting
	case b == ']' && (r.state == between || r.state == expecting):
		r.state = closed // an array may be empty; one comma too many is forgiven
	default:
		r.fail("%q at byte %d is not where an object begins", b, at)
		r.state = broken
		if !r.array {
			r.state = junk
		}
	}
}

type outcome uint8

const (
	goesOn outcome = iota
	ended
	gaveUp
)

// step takes one byte of an object.
func (r *Reader) step(b byte, at int64) outcome {
	switch {
	case r.escaped:
		r.escaped = false
	case r.quoted && b == '\n' && !r.array:
		// No string has a line break in it. The object never ends, so the next line
		// counts again.
		r.fail("the line that ends at byte %d breaks off in a string", at)
		r.quoted = false
		return gaveUp
	case r.quoted:
		r.escaped = b == '\\'
		r.quoted = b != '"'
	case b == '"':
		r.quoted = true
	case b == '{' || b == '[':
		r.depth++
	case b == '}' || b == ']':
		if r.depth--; r.depth == 0 {
			return ended
		}
	}
	return goesOn
}

// close ends the object that goes on from start to end in chunk and reports
// whether it was kept.
func (r *Reader) close(start, end int) bool {
	r.object = r.chunk[start:end:end]
	if r.size > 0 {
		r.keep(r.object)
		r.object = r.pending
	} else if end-start > r.most() {
		r.lose()
	}
	lost := r.lost
	r.size, r.lost = 0, false
	r.objects++
	r.state = behind
	if r.array {
		r.state = between
	}
	if lost {
		return false
	}
	r.advance(end)
	return true
}

// keep saves a part of an object for the next chunk.
func (r *Reader) keep(part []byte) {
	if !r.lost && len(r.pending)+len(part) > r.most() {
		r.lose()
	}
	if !r.lost {
		r.pending = append(r.pending, part...)
	}
	r.size += int64(len(part))
}

func (r *Reader) lose() {
	r.lost, r.pending = true, nil
	r.fail("object %d is larger than %d bytes and was left out", r.objects+1, r.most())
}

func (r *Reader) most() int {
	if r.limit > 0 {
		return r.limit
	}
	return MaxObject
}

func (r *Reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}
