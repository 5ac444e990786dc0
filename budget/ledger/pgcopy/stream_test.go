package pgcopy

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// lengths is a source of one row of text for each length. One below zero is odd, and is left out.
func lengths(r *Rows, all []int) func() bool {
	return func() bool {
		if len(all) == 0 {
			return false
		}
		r.Begin(1)
		if n := all[0]; n < 0 {
			r.Text("\x00")
		} else {
			r.Text(strings.Repeat("x", n))
		}
		r.End()
		all = all[1:]
		return true
	}
}

// However it is read, a stream is all rows in one buffer.
func TestStream(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(-3, 90), rapid.Just(700)), 0, 40).Draw(t, "rows")
		var whole, r Rows
		whole.Reset()
		r.Reset()
		for next := lengths(&whole, rows); next(); {
		}
		want := append(bytes.Clone(whole.B), 0xff, 0xff)

		s := stream{rows: &r, next: lengths(&r, rows)}
		s.fill(rapid.IntRange(0, 300).Draw(t, "ahead"))
		var got []byte
		for {
			p := make([]byte, rapid.IntRange(1, 300).Draw(t, "room"))
			n, err := s.Read(p)
			if got = append(got, p[:n]...); err == io.EOF {
				break
			}
			if err != nil || n == 0 {
				t.Fatalf("%d bytes, %v", n, err)
			}
			if n < len(p) && len(got) < len(want) {
				t.Fatalf("%d bytes of %d in the middle: the server would get many small messages", n, len(p))
			}
		}
		if !bytes.Equal(got, want) || r.Count != whole.Count {
			t.Fatalf("%d rows in %q, want %d in %q", r.Count, got, whole.Count, want)
		}
	})
}

// A server that is gone leaves pgx reading: nothing is encoded for it any more.
func TestStreamIsLeft(t *testing.T) {
	t.Parallel()
	s := stream{rows: new(Rows), next: func() bool {
		t.Error("asked for a row")
		return false
	}}
	s.leave()
	if n, err := s.Read(make([]byte, 1000)); n != 0 || !errors.Is(err, errLeft) {
		t.Fatalf("%d, %v", n, err)
	}
}
