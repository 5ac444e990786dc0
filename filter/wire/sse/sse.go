// Package sse reads a stream of server-sent events as it arrives, cut anywhere,
// and tells for each event which bytes of the stream it is made of.
//
// It follows the event stream format of the WHATWG HTML standard: lines end
// with LF, CRLF or CR, a byte order mark in front is dropped, comments are
// skipped, several data lines are joined by LF, and what is left at the end
// without a blank line behind it is no event. It does not know what events
// mean, and it keeps no more than one event in memory.
package sse

import (
	"bytes"
	"cmp"
	"fmt"
)

// MaxEvent is the largest event that is read, in bytes of names and data.
// Images that are made in a stream are the largest events known, a few MB each.
const MaxEvent = 16 << 20

// keptBytes is up to where memory that an event needed is kept for the next.
const keptBytes = 64 << 10

// An Event is one dispatched event. Its slices are valid until the next call
// of Feed, End or Next.
type Event struct {
	Name []byte // value of the last event field, empty where there was none
	Data []byte // joined by LF

	// Start and End are the offsets in the stream of what made the event: from
	// behind the blank line that ended the block before it, through its own
	// blank line. Without these bytes the stream is one without the event.
	Start, End int64
}

// A Reader takes chunks and gives events:
//
//	r.Feed(chunk)
//	for r.Next() {
//		use(r.Event())
//	}
//
// The zero Reader is ready. It allocates only to grow its buffers.
type Reader struct {
	chunk []byte // what is not read yet; the caller's memory
	at    int64  // offset in the stream of chunk[0]
	lf    int    // distance to the next LF in chunk; len(chunk) for none, -1 for not looked

	line []byte // a line that began in a chunk before
	lost bool   // so did this one, but it was too long to keep
	cr   bool   // line is whole but for the LF that may follow its CR
	name []byte
	data []byte // data lines so far, each with an LF
	only []byte // the one data line so far, in the caller's memory: of most events, which so need none of their own

	start int64 // where the block under way began
	began bool  // first line was seen (BOM)
	last  bool  // End was called
	drop  bool  // the block under way is too large
	err   error
	event Event
	limit int // 0 means MaxEvent; tests set another
}

// Feed hands over the next bytes. The events of those before must have been
// taken by Next until it returned false. Reader does not keep chunk after that.
func (r *Reader) Feed(chunk []byte) {
	r.chunk, r.lf = chunk, -1
}

// End says that no more bytes will come. A CR that might have been followed by
// an LF is decided now, so Next must be asked again.
func (r *Reader) End() {
	r.chunk, r.lf, r.last = nil, -1, true
}

// Event returns what Next found.
func (r *Reader) Event() *Event { return &r.event }

// Err tells of the first event that was larger than MaxEvent and therefore
// left out. Reading goes on behind it.
func (r *Reader) Err() error { return r.err }

// Undecided returns the offset from where on the bytes fed so far belong to a
// block that is not complete. ok is false when there are none, or when their
// event is left out for its size, so that waiting for it is of no use.
func (r *Reader) Undecided() (start int64, ok bool) {
	return r.start, !r.drop && r.start < r.at
}

// Next reads on to the next event in what was fed. It returns false when more
// bytes are needed.
func (r *Reader) Next() bool {
	for {
		line, ok := r.nextLine()
		if !ok {
			r.own()
			r.event = Event{}
			return false
		}
		if len(line) > 0 {
			r.field(line)
			continue
		}
		if r.dispatch() {
			return true
		}
	}
}

// nextLine returns the next whole line without its end.
func (r *Reader) nextLine() ([]byte, bool) {
	if r.cr {
		// The line ended with CR at the end of a chunk: an LF here is part of that end.
		if len(r.chunk) == 0 && !r.last {
			return nil, false
		}
		if len(r.chunk) > 0 && r.chunk[0] == '\n' {
			r.advance(1)
		}
		r.cr = false
		return r.whole(nil), true
	}
	if r.lf < 0 {
		if r.lf = bytes.IndexByte(r.chunk, '\n'); r.lf < 0 {
			r.lf = len(r.chunk)
		}
	}
	end := bytes.IndexByte(r.chunk[:r.lf], '\r')
	switch {
	case end >= 0 && end+1 == len(r.chunk):
		r.keep(r.chunk[:end])
		r.cr = true
		r.advance(len(r.chunk))
		return nil, false
	case end >= 0:
		part, size := r.chunk[:end], end+1
		if r.chunk[end+1] == '\n' {
			size++
		}
		r.advance(size)
		return r.whole(part), true
	case r.lf < len(r.chunk):
		part := r.chunk[:r.lf]
		r.advance(r.lf + 1)
		return r.whole(part), true
	}
	r.keep(r.chunk)
	r.advance(len(r.chunk))
	return nil, false
}

func (r *Reader) advance(n int) {
	r.chunk, r.at = r.chunk[n:], r.at+int64(n)
	if len(r.chunk) == 0 {
		r.chunk = nil // the caller's memory is not kept in use until the next chunk
	}
	if r.lf -= n; r.lf < 0 {
		r.lf = -1
	}
}

// keep saves the beginning of a line for the next chunk.
func (r *Reader) keep(part []byte) {
	if len(part) == 0 {
		return
	}
	r.own()
	if !r.fits(len(r.line) + len(part)) {
		r.line, r.lost = nil, true
		return
	}
	r.line = append(r.line, part...)
}

// whole completes a line with its last part. A line whose block is left out
// comes back as a comment, so that the end of the block is still seen.
func (r *Reader) whole(part []byte) []byte {
	line := part
	if len(r.line) > 0 {
		r.keep(part)
		line, r.line = r.line, r.line[:0]
		if cap(r.line) > keptBytes {
			r.line = nil
		}
	}
	if r.lost {
		line, r.lost = comment, false
	}
	if !r.began {
		r.began = true
		line = bytes.TrimPrefix(line, []byte("\ufeff"))
	}
	return line
}

var comment = []byte{':'}

// fits reports whether a line of n bytes can be kept. If not, its block is left out from here on.
func (r *Reader) fits(n int) bool {
	limit := cmp.Or(r.limit, MaxEvent)
	if r.only != nil {
		n += len(r.only) + 1
	}
	if !r.drop && n+len(r.data)+len(r.name) > limit {
		r.drop = true
		r.name, r.data, r.only = nil, nil, nil
		if r.err == nil {
			r.err = fmt.Errorf("event at byte %d of the stream is larger than %d bytes and was left out", r.start, limit)
		}
	}
	return !r.drop
}

// field takes one line that is not blank.
func (r *Reader) field(line []byte) {
	name, value, _ := bytes.Cut(line, []byte{':'})
	if len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}
	switch string(name) {
	case "data":
		switch {
		case !r.fits(len(value) + 1):
		case len(r.data) == 0 && r.only == nil && len(value) > 0:
			r.only = value
		default:
			r.own()
			r.data = append(append(r.data, value...), '\n')
		}
	case "event":
		if r.fits(len(value)) {
			r.name = append(r.name[:0], value...)
		}
	}
}

// own copies a line that is in the caller's memory, or in that of a line which goes on.
func (r *Reader) own() {
	if r.only != nil {
		r.data = append(append(r.data, r.only...), '\n')
		r.only = nil
	}
}

// dispatch ends the block under way and reports whether it is an event.
func (r *Reader) dispatch() bool {
	is := !r.drop && (len(r.data) > 0 || r.only != nil)
	if is {
		r.event = Event{Name: r.name, Data: r.only, Start: r.start, End: r.at}
		if r.only == nil {
			r.event.Data = r.data[:len(r.data)-1]
		}
	}
	// The event goes on using the memory until the caller asks for the next one.
	r.name, r.data, r.only = r.name[:0], r.data[:0], nil
	if cap(r.data) > keptBytes {
		r.data = nil
	}
	r.start, r.drop = r.at, false
	return is
}
