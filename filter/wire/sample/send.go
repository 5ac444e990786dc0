package sample

import (
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// reply is an answer in its shape.
type reply struct {
	contentType string
	chunks      [][]byte
}

var errCut = errors.New("sample: cut as asked")

// send writes an answer and says how that ended. After errCut the caller has
// to break the connection.
func send(w http.ResponseWriter, r *http.Request, f faults, a reply) (ended string, err error) {
	if f.cutChunks == 0 || f.cutBytes == 0 {
		return EndedCut, errCut
	}
	h := w.Header()
	h.Set("content-type", a.contentType)
	if f.encoding != "" {
		h.Set("content-encoding", f.encoding)
	} else if len(a.chunks) == 1 && !f.cuts() {
		h.Set("content-length", strconv.Itoa(len(a.chunks[0])))
	}
	w.WriteHeader(http.StatusOK)
	out := &cutter{w: w, left: f.cutBytes}
	enc := newEncoder(f.encoding, out)
	flush := func() error {
		if err := enc.Flush(); err != nil {
			return err
		}
		return http.NewResponseController(w).Flush()
	}
	for i, c := range a.chunks {
		if i > 0 && !sleep(r, f.chunkDelay) {
			return EndedAborted, nil
		}
		_, err := enc.Write(c)
		if err == nil {
			err = flush()
		}
		if errors.Is(err, errCut) || err == nil && f.cutChunks == int64(i+1) {
			_ = http.NewResponseController(w).Flush()
			return EndedCut, errCut
		}
		if err != nil {
			return EndedAborted, nil
		}
	}
	err = enc.Close()
	if errors.Is(err, errCut) || err == nil && f.cuts() {
		// A cut behind the last byte: the body is whole but its framing is not.
		_ = http.NewResponseController(w).Flush()
		return EndedCut, errCut
	}
	if err != nil {
		return EndedAborted, nil
	}
	return EndedWhole, nil
}

// cutter lets so many bytes through and then says errCut; -1 is no limit.
type cutter struct {
	w    io.Writer
	left int64
}

func (c *cutter) Write(p []byte) (int, error) {
	if c.left < 0 {
		return c.w.Write(p)
	}
	if int64(len(p)) < c.left {
		c.left -= int64(len(p))
		return c.w.Write(p)
	}
	n, err := c.w.Write(p[:c.left])
	c.left = 0
	if err == nil {
		err = errCut
	}
	return n, err
}

type encoder interface {
	io.WriteCloser
	Flush() error
}

func newEncoder(name string, w io.Writer) encoder {
	switch name {
	case "gzip":
		return gzip.NewWriter(w)
	case "deflate":
		return zlib.NewWriter(w)
	case "br":
		return brotli.NewWriterLevel(w, brotli.DefaultCompression)
	case "zstd":
		z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1)) // synchronous: no goroutine outlives a cut
		if err == nil {
			return z
		}
	}
	return plain{w}
}

type plain struct{ io.Writer }

func (plain) Flush() error { return nil }
func (plain) Close() error { return nil }
