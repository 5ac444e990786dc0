package encoding

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// A stage decodes one encoding. Its reader returns what it has before it reads
// on, so that nothing is held back while the source waits for the network, and
// reads its source to the end before it says io.EOF itself.
type stage func(io.Reader) io.ReadCloser

// errTrailing is what a stage says of bytes that belong to no encoded data.
var errTrailing = errors.New("bytes after the end of the encoded data")

var stageByName = map[string]stage{
	"gzip":    newGzip,
	"x-gzip":  newGzip, // RFC 9110 8.4.1.3: the same
	"deflate": newDeflate,
	"br":      newBrotli,
	"zstd":    newZstd,
}

// gzipMembers reads gzip members one by one. gzip.Reader would read the next
// header before it hands out the last bytes of a member, and the last bytes of
// an event stream are the ones with the usage.
type gzipMembers struct {
	in   *bufio.Reader
	zr   gzip.Reader
	open bool
}

func newGzip(r io.Reader) io.ReadCloser {
	return &gzipMembers{in: bufio.NewReader(r)}
}

func (g *gzipMembers) Read(p []byte) (int, error) {
	for {
		if !g.open {
			if _, err := g.in.Peek(1); err != nil {
				return 0, err
			}
			if err := g.zr.Reset(g.in); err != nil {
				return 0, err
			}
			g.zr.Multistream(false)
			g.open = true
		}
		n, err := g.zr.Read(p)
		if err == io.EOF {
			g.open, err = false, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (g *gzipMembers) Close() error { return nil }

// deflate is the zlib format by the RFC; some servers send the bare one, and
// like browsers this tells them apart by the zlib header.
type deflate struct {
	in *bufio.Reader
	r  io.Reader
}

func newDeflate(r io.Reader) io.ReadCloser { return &deflate{in: bufio.NewReader(r)} }

func (d *deflate) Read(p []byte) (int, error) {
	if d.r == nil {
		head, err := d.in.Peek(2)
		if len(head) == 2 && head[0]&0x0f == 8 && (uint(head[0])<<8|uint(head[1]))%31 == 0 {
			if d.r, err = zlib.NewReader(d.in); err != nil {
				return 0, err
			}
		} else if len(head) > 0 {
			d.r = flate.NewReader(d.in)
		} else {
			return 0, err
		}
	}
	n, err := d.r.Read(p)
	if err == io.EOF && n == 0 {
		if _, peek := d.in.Peek(1); peek == nil {
			return 0, errTrailing
		} else if peek != io.EOF {
			return 0, peek
		}
	}
	if err == io.EOF && n > 0 {
		err = nil // ask again: the check above may have to wait for input
	}
	return n, err
}

func (d *deflate) Close() error { return nil }

// brotliReader drops what follows the end of the encoded data. The library
// reports "excessive input" also when the last bytes came a few at a time and
// nothing follows (buffer_length stays set in brotli v1.2), so that error can
// only be read as "the encoded data has ended"; the output is whole by then.
type brotliReader struct {
	src   io.Reader
	r     *brotli.Reader
	ended bool
}

func newBrotli(r io.Reader) io.ReadCloser {
	return &brotliReader{src: r, r: brotli.NewReader(r)}
}

func (b *brotliReader) Read(p []byte) (int, error) {
	if !b.ended {
		n, err := b.r.Read(p)
		if err == nil || err.Error() != "brotli: excessive input" {
			return n, err
		}
		b.ended = true
		if n > 0 {
			return n, nil
		}
	}
	if _, err := io.Copy(io.Discard, b.src); err != nil {
		return 0, err
	}
	return 0, io.EOF
}

func (b *brotliReader) Close() error { return nil }

// zstdWindow is the largest window that RFC 9659 allows as a content-encoding.
const zstdWindow = 8 << 20

type zstdReader struct{ *zstd.Decoder }

func newZstd(r io.Reader) io.ReadCloser {
	// Concurrency 1 makes the decoder synchronous: no goroutines of its own.
	d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
	if err != nil {
		return failed{err}
	}
	return zstdReader{d}
}

func (z zstdReader) Close() error {
	z.Decoder.Close()
	return nil
}

// failed is a stage that could not start.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }
func (f failed) Close() error             { return nil }
