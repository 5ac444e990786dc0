package encoding

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
)

const (
	// maxStack is how many encodings one response may carry. Nobody sends
	// more than two; each costs a window of memory.
	maxStack = 3

	// maxRatio is how many plain bytes one encoded byte may make once
	// ratioGrace bytes were made. Event streams repeat themselves and reach
	// some 60 to 1; a bomb is 1000 to 1 (gzip) up to 100000 to 1 (br).
	maxRatio   = 250
	ratioGrace = 1 << 20
)

var (
	// ErrUnsupported says that a content-encoding is not one that this package decodes.
	ErrUnsupported = errors.New("content-encoding is not supported")
	// ErrLimit says that a body decodes to more than it may.
	ErrLimit = errors.New("decoded body is too large")

	errClosed = errors.New("encoding: decoder is closed")
)

// A Decoder turns encoded chunks into plain bytes. It is used by one goroutine
// at a time and must be closed.
//
// The decoders underneath pull, so they run as a coroutine (iter.Pull): Write
// hands over a chunk and runs it until it asks for more. Nothing runs between
// calls, and no timing is involved.
type Decoder struct {
	limit int64

	in    []byte // encoded, not yet pulled
	end   bool   // nothing comes after in
	fed   int64  // encoded bytes taken so far
	plain []byte // decoded during this Write

	resume func() (struct{}, bool) // runs the coroutine to its next need of input; nil for identity
	stop   func()
	err    error // final; io.EOF for a whole body
}

// New returns a decoder for the value of a content-encoding header: "", a name,
// or a list in the order in which the encodings were applied ("gzip, br": br is
// undone first). More than limit plain bytes are an error that wraps ErrLimit.
// An encoding that is not known is an error that wraps ErrUnsupported.
func New(contentEncoding string, limit int64) (*Decoder, error) {
	var stages []stage
	for name := range strings.SplitSeq(contentEncoding, ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		if name == "" || name == "identity" {
			continue
		}
		s, ok := stageByName[name]
		if !ok {
			return nil, fmt.Errorf("encoding: %w: %q (known: gzip, deflate, br, zstd)", ErrUnsupported, name)
		}
		if len(stages) == maxStack {
			return nil, fmt.Errorf("encoding: %w: %q stacks more than %d encodings", ErrUnsupported, contentEncoding, maxStack)
		}
		stages = append(stages, s)
	}
	d := &Decoder{limit: limit}
	if len(stages) > 0 {
		d.resume, d.stop = iter.Pull(func(yield func(struct{}) bool) { d.run(stages, yield) })
	}
	return d, nil
}

// Identity reports whether d passes bytes through as they are.
func (d *Decoder) Identity() bool { return d.resume == nil }

// Write takes the next encoded bytes and returns the plain bytes that they
// complete; end marks the last ones and may come with none. What can be told
// from the input so far is returned as soon as the sender flushed it.
//
// With an error comes what was decoded before it. The error is final. A body
// that ends early is io.ErrUnexpectedEOF (wrapped); a body without any byte is
// whole, because a HEAD or 204 answer may name an encoding too. Bytes behind
// the end of the encoded data have to be a further member (gzip) or frame
// (zstd), are an error for deflate, and are dropped for br.
//
// The result is the caller's own; for identity it is chunk.
func (d *Decoder) Write(chunk []byte, end bool) ([]byte, error) {
	if d.err != nil {
		if errors.Is(d.err, io.EOF) && len(chunk) == 0 {
			return nil, nil
		}
		if errors.Is(d.err, io.EOF) {
			return nil, errors.New("encoding: bytes after the end of the body")
		}
		return nil, d.err
	}
	d.fed += int64(len(chunk))
	if d.resume == nil {
		if d.fed > d.limit {
			d.err = fmt.Errorf("encoding: %w: more than %d bytes", ErrLimit, d.limit)
			return chunk[:int64(len(chunk))-(d.fed-d.limit)], d.err
		}
		if end {
			d.err = io.EOF
		}
		return chunk, nil
	}
	if d.fed == 0 {
		if end {
			d.err = io.EOF
		}
		return nil, nil
	}
	d.in, d.end = chunk, end
	d.resume()
	plain := d.plain
	d.in, d.plain = nil, nil
	if d.err != nil && d.err != io.EOF {
		return plain, d.err
	}
	return plain, nil
}

// Close ends the coroutine and frees the decoders. It may be called at any
// time, and again.
func (d *Decoder) Close() {
	if d.stop != nil {
		d.stop()
	}
	if d.err == nil || d.err == io.EOF {
		d.err = errClosed
	}
}

// run is the coroutine: it pulls everything through the stages, and gives the
// control back (yield) whenever the source is dry.
func (d *Decoder) run(stages []stage, yield func(struct{}) bool) {
	src := &bounded{r: &source{d: d, yield: yield}, d: d, raw: true}
	chain := []*bounded{src}
	for i := len(stages) - 1; i >= 0; i-- {
		r := stages[i](src)
		defer r.Close()
		src = &bounded{r: r, d: d}
		chain = append(chain, src)
	}
	buf := make([]byte, 16<<10)
	for {
		n, err := src.Read(buf)
		d.plain = append(d.plain, buf[:n]...)
		if err != nil {
			d.err = verdict(chain, err)
			return
		}
	}
}

// verdict says how a body ended. A stage may end well, or fail in some way of
// its own, because the one below it failed or was cut: the lowest failure is
// the true one.
func verdict(chain []*bounded, err error) error {
	for _, b := range chain {
		if b.err != nil && b.err != io.EOF {
			return fmt.Errorf("encoding: after %d encoded bytes: %w", chain[0].made, b.err)
		}
	}
	return err
}

// source is where the first stage reads: the chunk at hand, then whatever the
// next Write brings.
type source struct {
	d     *Decoder
	yield func(struct{}) bool
}

func (s *source) Read(p []byte) (int, error) {
	for len(s.d.in) == 0 {
		if s.d.end {
			return 0, io.EOF
		}
		if !s.yield(struct{}{}) {
			return 0, errClosed
		}
	}
	n := copy(p, s.d.in)
	s.d.in = s.d.in[n:]
	return n, nil
}

// bounded counts what one stage makes, stops a bomb while it goes off, and
// keeps the error. It stands behind every stage, since the bomb may be an
// inner one.
type bounded struct {
	r    io.Reader
	d    *Decoder
	raw  bool // the source: what comes in, not what is made of it
	made int64
	err  error // first error; final
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if room := b.d.limit - b.made; !b.raw && int64(len(p)) > room {
		p = p[:room+1] // one byte more tells "full" from "too much"
	}
	n, err := b.r.Read(p)
	b.made += int64(n)
	switch {
	case b.raw:
	case b.made > b.d.limit:
		n--
		err = fmt.Errorf("%w: more than %d bytes", ErrLimit, b.d.limit)
	case b.made > ratioGrace && b.made/maxRatio > b.d.fed:
		err = fmt.Errorf("%w: %d bytes from %d", ErrLimit, b.made, b.d.fed)
	}
	b.err = err
	return n, err
}
