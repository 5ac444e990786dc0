package encoding

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

type flusher interface {
	io.WriteCloser
	Flush() error
}

var writers = map[string]func(io.Writer) flusher{
	"gzip":    func(w io.Writer) flusher { return gzip.NewWriter(w) },
	"x-gzip":  func(w io.Writer) flusher { return gzip.NewWriter(w) },
	"deflate": func(w io.Writer) flusher { return zlib.NewWriter(w) },
	"br":      func(w io.Writer) flusher { return brotli.NewWriterLevel(w, 5) },
	"zstd": func(w io.Writer) flusher {
		z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
		if err != nil {
			panic(err)
		}
		return z
	},
}

// encode applies the encodings in the order of the list.
func encode(t testing.TB, list string, plain []byte) []byte {
	t.Helper()
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		if name == "identity" || name == "" {
			continue
		}
		var b bytes.Buffer
		w := writers[name](&b)
		if _, err := w.Write(plain); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		plain = b.Bytes()
	}
	return plain
}

func decode(t testing.TB, list string, chunks [][]byte, limit int64) ([]byte, error) {
	t.Helper()
	d, err := New(list, limit)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var out []byte
	for i, c := range chunks {
		plain, err := d.Write(c, i == len(chunks)-1)
		out = append(out, plain...)
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

var lists = []string{"", "identity", "gzip", "x-gzip", "deflate", "br", "zstd", "gzip, br", "zstd,identity, gzip", "br, deflate, zstd"}

func sampleText() []byte {
	var b bytes.Buffer
	for i := range 400 {
		fmt.Fprintf(&b, "data: {\"i\":%d,\"delta\":\"word %d\"}\n\n", i, i*i)
	}
	return b.Bytes()
}

func TestWholeAndBytewise(t *testing.T) {
	t.Parallel()
	plain := sampleText()
	for _, list := range lists {
		enc := encode(t, list, plain)
		var bytewise [][]byte
		for i := range enc {
			bytewise = append(bytewise, enc[i:i+1])
		}
		for name, chunks := range map[string][][]byte{
			"whole": {enc}, "bytewise": bytewise, "end alone": {enc, nil}, "with empties": {nil, enc[:9], nil, enc[9:]},
		} {
			got, err := decode(t, list, chunks, 1<<20)
			if err != nil {
				t.Errorf("%q, %s: %v", list, name, err)
			}
			if !bytes.Equal(got, plain) {
				t.Errorf("%q, %s: %d bytes decoded, want the %d that were encoded", list, name, len(got), len(plain))
			}
		}
	}
}

// Every event that the sender flushed comes out of the Write that brought its last byte.
func TestFlushedEventsComeAtOnce(t *testing.T) {
	t.Parallel()
	for name, open := range writers {
		var wire bytes.Buffer
		w := open(&wire)
		d, err := New(name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			event := fmt.Sprintf("data: {\"n\":%d}\n\n", i)
			if _, err := w.Write([]byte(event)); err != nil {
				t.Fatal(err)
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			got, err := d.Write(wire.Bytes(), false)
			if err != nil || string(got) != event {
				t.Fatalf("%s: event %d: got %q, %v", name, i, got, err)
			}
			wire.Reset()
		}
		if _, err := w.Write([]byte("data: [DONE]\n\n")); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := d.Write(wire.Bytes(), false)
		if err != nil || string(got) != "data: [DONE]\n\n" {
			t.Errorf("%s: the last event must not wait for the end of the body: got %q, %v", name, got, err)
		}
		if got, err := d.Write(nil, true); err != nil || len(got) != 0 {
			t.Errorf("%s: end: got %q, %v", name, got, err)
		}
		d.Close()
	}
}

func TestChunkingDoesNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		list := rapid.SampledFrom(lists).Draw(rt, "encodings")
		plain := rapid.SliceOfN(rapid.ByteRange('a', 'd'), 0, 3000).Draw(rt, "plain")
		enc := encode(t, list, plain)
		var chunks [][]byte
		for rest := enc; ; {
			n := rapid.IntRange(0, len(rest)).Draw(rt, "cut")
			chunks = append(chunks, rest[:n])
			if rest = rest[n:]; len(rest) == 0 {
				break
			}
		}
		got, err := decode(t, list, chunks, 1<<20)
		if err != nil || !bytes.Equal(got, plain) {
			rt.Fatalf("%q: %d bytes, %v; want %d", list, len(got), err, len(plain))
		}
	})
}

func TestGzipMembersAndZstdFrames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"gzip", "zstd"} {
		enc := append(encode(t, name, []byte("one ")), encode(t, name, []byte("two"))...)
		for cut := range len(enc) {
			got, err := decode(t, name, [][]byte{enc[:cut], enc[cut:]}, 100)
			if err != nil || string(got) != "one two" {
				t.Fatalf("%s cut at %d: %q, %v", name, cut, got, err)
			}
		}
	}
}

func TestBareDeflate(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 6)
	_, _ = w.Write([]byte("bare bare bare"))
	_ = w.Close()
	for cut := range b.Len() {
		got, err := decode(t, "deflate", [][]byte{b.Bytes()[:cut], b.Bytes()[cut:]}, 100)
		if err != nil || string(got) != "bare bare bare" {
			t.Fatalf("cut at %d: %q, %v", cut, got, err)
		}
	}
}

func TestTruncated(t *testing.T) {
	t.Parallel()
	plain := sampleText()
	for _, list := range lists[2:] {
		enc := encode(t, list, plain)
		for _, cut := range []int{1, 2, 5, len(enc) / 2, len(enc) - 1} {
			got, err := decode(t, list, [][]byte{enc[:cut], nil}, 1<<20)
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%q cut at %d of %d: error %v, want unexpected EOF", list, cut, len(enc), err)
			}
			if !bytes.HasPrefix(plain, got) {
				t.Errorf("%q cut at %d: what was decoded is no prefix", list, cut)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	if _, err := New("compress", 1); !errors.Is(err, ErrUnsupported) {
		t.Errorf("compress: %v", err)
	}
	if _, err := New("gzip, rot13", 1); !errors.Is(err, ErrUnsupported) {
		t.Errorf("rot13: %v", err)
	}
	if _, err := New("gzip,gzip,gzip,gzip", 1); !errors.Is(err, ErrUnsupported) {
		t.Errorf("stack of four: %v", err)
	}
	for _, list := range lists[2:] {
		if _, err := decode(t, list, [][]byte{[]byte("{\"plain\": true}")}, 1<<20); err == nil {
			t.Errorf("%q: plain JSON was decoded without an error", list)
		}
		if strings.HasSuffix(list, "br") {
			continue // see brotliReader
		}
		enc := encode(t, list, []byte("text"))
		if got, err := decode(t, list, [][]byte{append(enc, "tail"...)}, 1<<20); err == nil {
			t.Errorf("%q: trailing bytes were taken (%q)", list, got)
		}
		got, err := decode(t, list, [][]byte{encode(t, list, []byte("text")), []byte("tail")}, 1<<20)
		if err == nil || string(got) != "text" {
			t.Errorf("%q: trailing chunk: %q, %v", list, got, err)
		}
	}
}

func TestBytesBehindBrotliAreDropped(t *testing.T) {
	t.Parallel()
	body := append(encode(t, "br", []byte("text")), "tail"...)
	for cut := range body {
		if got, err := decode(t, "br", [][]byte{body[:cut], body[cut:], []byte("more"), nil}, 100); err != nil || string(got) != "text" {
			t.Errorf("cut at %d: %q, %v", cut, got, err)
		}
	}
}

func TestEmptyBodyIsWhole(t *testing.T) {
	t.Parallel()
	for _, list := range lists {
		if got, err := decode(t, list, [][]byte{nil}, 10); err != nil || len(got) != 0 {
			t.Errorf("%q: %q, %v", list, got, err)
		}
	}
}

func TestLimit(t *testing.T) {
	t.Parallel()
	plain := []byte("0123456789")
	for _, list := range lists {
		if got, err := decode(t, list, [][]byte{encode(t, list, plain)}, 64); err != nil || string(got) != string(plain) {
			t.Errorf("%q below the limit: %q, %v", list, got, err)
		}
	}
	for _, list := range lists[:7] { // in a stack the inner encoding is larger than the text
		if got, err := decode(t, list, [][]byte{encode(t, list, plain)}, 10); err != nil || string(got) != string(plain) {
			t.Errorf("%q at the limit: %q, %v", list, got, err)
		}
		got, err := decode(t, list, [][]byte{encode(t, list, plain)}, 9)
		if !errors.Is(err, ErrLimit) || string(got) != "012345678" {
			t.Errorf("%q over the limit: %q, %v", list, got, err)
		}
	}
}

func TestBombs(t *testing.T) {
	t.Parallel()
	zeros := make([]byte, 16<<20)
	for _, list := range []string{"gzip", "deflate", "br", "zstd", "gzip, gzip", "zstd, br"} {
		bomb := encode(t, list, zeros)
		got, err := decode(t, list, [][]byte{bomb}, 1<<40)
		if !errors.Is(err, ErrLimit) {
			t.Errorf("%q: %d bytes made %d without an error (%v)", list, len(bomb), len(got), err)
		}
		if most := max(ratioGrace, maxRatio*len(bomb)) + 1<<20; len(got) > most {
			t.Errorf("%q: %d bytes were made of %d before it stopped", list, len(got), len(bomb))
		}
	}
}

func TestErrorsStay(t *testing.T) {
	t.Parallel()
	d, err := New("gzip", 100)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	_, first := d.Write([]byte("not gzip at all"), false)
	_, second := d.Write(encode(t, "gzip", []byte("x")), true)
	if first == nil || !errors.Is(second, first) {
		t.Errorf("first %v, then %v", first, second)
	}
}

// Close ends the coroutine wherever the stream stands.
func TestCloseLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, list := range lists {
		enc := encode(t, list, sampleText())
		for _, fed := range []int{0, 1, len(enc) / 2, len(enc)} {
			d, err := New(list, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.Write(enc[:fed], false); err != nil {
				t.Errorf("%q: %v", list, err)
			}
			d.Close()
			d.Close()
			if _, err := d.Write([]byte("x"), true); err == nil {
				t.Errorf("%q: write after close was taken", list)
			}
		}
		d, err := New(list, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		d.Close() // never written
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines before, %d after", before, after)
	}
}

func FuzzDecoder(f *testing.F) {
	for i, list := range lists {
		f.Add(uint8(i), encode(f, list, []byte("data: {}\n\ndata: [DONE]\n\n")), uint16(7))
		f.Add(uint8(i), []byte("plain"), uint16(2))
	}
	f.Fuzz(func(t *testing.T, which uint8, body []byte, cut uint16) {
		list := lists[int(which)%len(lists)]
		whole, errWhole := decode(t, list, [][]byte{body}, 1<<20)
		at := min(int(cut), len(body))
		parts, errParts := decode(t, list, [][]byte{body[:at], body[at:]}, 1<<20)
		if (errWhole == nil) != (errParts == nil) {
			t.Fatalf("whole: %v; in parts: %v", errWhole, errParts)
		}
		if errWhole == nil && !bytes.Equal(whole, parts) {
			t.Fatalf("whole %q, in parts %q", whole, parts)
		}
		if len(whole) > 1<<20 {
			t.Fatalf("%d bytes passed the limit", len(whole))
		}
	})
}
