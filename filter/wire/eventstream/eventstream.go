// Package eventstream reads AWS event streams (application/vnd.amazon.eventstream)
// as they arrive, cut anywhere: a prelude of total length, length of headers and
// their checksum, then headers, payload and the checksum of it all, big-endian,
// CRC-32 (IEEE).
//
// It checks every checksum and length, and stops for good at the first that is
// wrong: behind a broken frame nothing can be found any more. It knows no service.
package eventstream

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

const (
	prelude   = 12 // total length, length of headers, checksum of the two
	trailer   = 4  // checksum of the message
	smallest  = prelude + trailer
	maxHeader = 128 << 10 // of all headers together, as AWS limits them

	// MaxMessage is the largest message that is read, in bytes: AWS limits payloads to 16 MiB.
	MaxMessage = 16<<20 + maxHeader + smallest
)

// Message is one message. It is valid until the next call of Feed.
type Message struct {
	Type    string // :message-type: event, exception or error
	Name    string // :event-type, :exception-type or :error-code
	Text    string // :error-message
	Payload []byte
}

// A Reader takes the chunks of one stream. The zero Reader is ready; it is used
// by one goroutine.
type Reader struct {
	buffer  []byte // the beginning of a message that is not whole, then what follows
	at      int    // of the first byte in buffer that was not read
	offset  int64  // of that byte in the stream
	message Message
	err     error
}

// Feed takes the next bytes of the stream and copies what it keeps.
func (r *Reader) Feed(chunk []byte) {
	if r.err != nil {
		return
	}
	if r.at > 0 {
		r.buffer = r.buffer[:copy(r.buffer, r.buffer[r.at:])]
		r.at = 0
	}
	r.buffer = append(r.buffer, chunk...)
}

// Next reports whether there is another whole message, which Message returns then.
func (r *Reader) Next() bool {
	rest := r.buffer[r.at:]
	if r.err != nil || len(rest) < prelude {
		return false
	}
	total, headers := binary.BigEndian.Uint32(rest), binary.BigEndian.Uint32(rest[4:])
	switch {
	case crc32.ChecksumIEEE(rest[:8]) != binary.BigEndian.Uint32(rest[8:]):
		return r.fail("the checksum of the prelude is wrong")
	case total < smallest || total > MaxMessage:
		return r.fail("a message of %d bytes: %d to %d are possible", total, smallest, MaxMessage)
	case headers > maxHeader || headers > total-smallest:
		return r.fail("headers of %d bytes in a message of %d", headers, total)
	case uint32(len(rest)) < total:
		return false
	}
	message := rest[:total]
	body := message[:total-trailer]
	if crc32.ChecksumIEEE(body) != binary.BigEndian.Uint32(message[total-trailer:]) {
		return r.fail("the checksum of a message of %d bytes is wrong", total)
	}
	r.message = Message{Payload: body[prelude+headers:]}
	if err := r.readHeaders(body[prelude : prelude+headers]); err != "" {
		return r.fail("%s", err)
	}
	r.at += int(total)
	r.offset += int64(total)
	return true
}

// Message returns what Next found.
func (r *Reader) Message() Message { return r.message }

// Err is what ended the reading, nil while it goes on. It names the offset of the message.
func (r *Reader) Err() error { return r.err }

// Pending is how many bytes of a message that is not whole have come.
func (r *Reader) Pending() int { return len(r.buffer) - r.at }

func (r *Reader) fail(format string, args ...any) bool {
	r.err = fmt.Errorf("event stream at byte %d: %s", r.offset, fmt.Sprintf(format, args...))
	r.buffer, r.at = nil, 0
	return false
}

// sizes of header values by type; -1 for those that begin with their length.
var sizes = [...]int{0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 6: -1, 7: -1, 8: 8, 9: 16}

const stringValue = 7

// readHeaders reads those that tell what a message is. It returns what is wrong, "" for nothing.
func (r *Reader) readHeaders(headers []byte) string {
	for len(headers) > 0 {
		n := int(headers[0])
		if n == 0 || len(headers) < 1+n+1 {
			return "a header without a name or a value"
		}
		name, kind := headers[1:1+n], int(headers[1+n])
		headers = headers[n+2:]
		if kind >= len(sizes) {
			return fmt.Sprintf("header %q has a value of unknown type %d", name, kind)
		}
		size := sizes[kind]
		if size < 0 {
			if len(headers) < 2 {
				return fmt.Sprintf("header %q is cut", name)
			}
			size = int(binary.BigEndian.Uint16(headers))
			headers = headers[2:]
		}
		if len(headers) < size {
			return fmt.Sprintf("header %q is cut", name)
		}
		if kind == stringValue {
			r.header(name, headers[:size])
		}
		headers = headers[size:]
	}
	return ""
}

func (r *Reader) header(name, value []byte) {
	switch string(name) {
	case ":message-type":
		r.message.Type = string(value)
	case ":event-type", ":exception-type", ":error-code":
		r.message.Name = string(value)
	case ":error-message":
		r.message.Text = string(value)
	}
}
