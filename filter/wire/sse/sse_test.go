package sse

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// parse gives stream to a reader, cut after each of cuts, and renders what it found.
func parse(t interface{ Fatalf(string, ...any) }, r *Reader, stream string, cuts func(left int) int) []string {
	var events []string
	take := func() {
		for r.Next() {
			e := r.Event()
			if e.Start < 0 || e.End > int64(len(stream)) || e.Start >= e.End {
				t.Fatalf("event at [%d,%d) of a stream of %d bytes", e.Start, e.End, len(stream))
			}
			events = append(events, fmt.Sprintf("%s|%s|%q", e.Name, e.Data, stream[e.Start:e.End]))
		}
	}
	for rest := stream; rest != ""; {
		n := cuts(len(rest))
		chunk := []byte(rest[:n])
		r.Feed(chunk)
		take()
		for i := range chunk { // a reader that keeps the caller's memory would show it
			chunk[i] = '!'
		}
		rest = rest[n:]
	}
	r.End()
	take()
	return events
}

func whole(left int) int { return left }
func bytewise(int) int   { return 1 }

func TestReader(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, stream string
		want         []string
	}{
		{"LF", "data: a\n\ndata:b\n\n", []string{`|a|"data: a\n\n"`, `|b|"data:b\n\n"`}},
		{"CRLF", "data: a\r\n\r\ndata: b\r\n\r\n", []string{`|a|"data: a\r\n\r\n"`, `|b|"data: b\r\n\r\n"`}},
		{"CR", "data: a\r\rdata: b\r\r", []string{`|a|"data: a\r\r"`, `|b|"data: b\r\r"`}},
		{"mixed ends", "data: a\r\n\ndata: b\n\r\n", []string{`|a|"data: a\r\n\n"`, `|b|"data: b\n\r\n"`}},
		{"several data lines", "data: a\ndata:\ndata: b\n\n", []string{`|a` + "\n\n" + `b|"data: a\ndata:\ndata: b\n\n"`}},
		{"event name", "event: message_stop\ndata: {}\n\n", []string{`message_stop|{}|"event: message_stop\ndata: {}\n\n"`}},
		{"last name wins, and is forgotten", "event: a\nevent: b\ndata: 1\n\ndata: 2\n\n", []string{`b|1|"event: a\nevent: b\ndata: 1\n\n"`, `|2|"data: 2\n\n"`}},
		{"name alone is no event", "event: ping\n\ndata: 1\n\n", []string{`|1|"data: 1\n\n"`}},
		{"comment", ": OPENROUTER PROCESSING\n\ndata: 1\n\n", []string{`|1|"data: 1\n\n"`}},
		{"comment in a block", ": hi\ndata: 1\n: ho\n\n", []string{`|1|": hi\ndata: 1\n: ho\n\n"`}},
		{"byte order mark", "\ufeffdata: 1\n\n", []string{`|1|"\ufeffdata: 1\n\n"`}},
		{"mark later is text", "data: 1\n\n\ufeffdata: 2\n\n", []string{`|1|"data: 1\n\n"`}},
		{"one space only", "data:  a\n\n", []string{`| a|"data:  a\n\n"`}},
		{"no colon is empty data", "data\n\ndata\ndata\n\n", []string{`||"data\n\n"`, "|\n|\"data\\ndata\\n\\n\""}},
		{"other fields", "id: 7\nretry: 3\ndatax: 1\ndata: 1\n\n", []string{`|1|"id: 7\nretry: 3\ndatax: 1\ndata: 1\n\n"`}},
		{"blank lines", "\n\n\ndata: 1\n\n\n\n", []string{`|1|"data: 1\n\n"`}},
		{"cut before the blank line", "data: 1\n", nil},
		{"cut in the line", "data: 1", nil},
		{"CR as the very last byte", "data: 1\n\r", []string{`|1|"data: 1\n\r"`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, cuts := range []func(int) int{whole, bytewise} {
				got := parse(t, new(Reader), test.stream, cuts)
				if fmt.Sprint(got) != fmt.Sprint(test.want) {
					t.Errorf("got\n%v\nwant\n%v", got, test.want)
				}
			}
		})
	}
}

func TestAnyChunking(t *testing.T) {
	t.Parallel()
	piece := rapid.SampledFrom([]string{"data: x", "data:", "data: {\"a\":1}", "event: e", ": c", "\n", "\r", "\r\n", "\n\n", "\ufeff", "z"})
	rapid.Check(t, func(t *rapid.T) {
		stream := strings.Join(rapid.SliceOfN(piece, 0, 40).Draw(t, "pieces"), "")
		want := parse(t, new(Reader), stream, whole)
		got := parse(t, new(Reader), stream, func(left int) int { return rapid.IntRange(1, left).Draw(t, "cut") })
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%q\ncut   %q\nwhole %q", stream, got, want)
		}
	})
}

// A line that began in a chunk before is in memory that the next such line is written to.
func TestLinesOfOneEventOverChunks(t *testing.T) {
	t.Parallel()
	const stream = "data: abcdef\ndata: UVWXYZ\nevent: e\n\ndata: 12\n\ndata: 3456\ndata: 7\n\n"
	want := parse(t, new(Reader), stream, whole)
	for size := 1; size < len(stream); size++ {
		if got := parse(t, new(Reader), stream, func(left int) int { return min(size, left) }); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("in pieces of %d: %q, whole: %q", size, got, want)
		}
	}
}

// Memory that a large event needed is not kept for as long as the stream lasts.
func TestLargeEventsAreNotKept(t *testing.T) {
	t.Parallel()
	r := new(Reader)
	parse(t, r, "data: "+strings.Repeat("x", 4*keptBytes)+"\ndata: y\n\ndata: 1\n\n", func(left int) int { return min(1000, left) })
	if cap(r.data)+cap(r.line) > 2*keptBytes || r.event.Data != nil {
		t.Errorf("keeps %d bytes, and an event of %d", cap(r.data)+cap(r.line), len(r.event.Data))
	}
}

func TestTooLargeIsLeftOut(t *testing.T) {
	t.Parallel()
	long := "data: " + strings.Repeat("x", 100) + "\n"
	for name, stream := range map[string]string{
		"one line":   "data: 1\n\n" + long + "\ndata: 2\n\n",
		"many lines": "data: 1\n\n" + strings.Repeat("data: 456789\n", 10) + "\ndata: 2\n\n",
		"name":       "data: 1\n\nevent: " + long + "\ndata: 2\n\n",
		"comment":    "data: 1\n\n:" + long + "data: 3\n\ndata: 2\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, size := range []int{1, 7, 64, 1000} {
				r := &Reader{limit: 50}
				got := parse(t, r, stream, func(left int) int { return min(size, left) })
				if name == "comment" && len(got) == 3 && size == 1000 {
					continue // a comment that needs no keeping is none of our business
				}
				if fmt.Sprint(got) != fmt.Sprint([]string{`|1|"data: 1\n\n"`, `|2|"data: 2\n\n"`}) {
					t.Errorf("in pieces of %d: %v", size, got)
				}
				if r.Err() == nil || !strings.Contains(r.Err().Error(), "at byte 9 ") {
					t.Errorf("in pieces of %d: error %v", size, r.Err())
				}
				if cap(r.data)+cap(r.line)+cap(r.name) > 500 {
					t.Errorf("keeps %d bytes", cap(r.data)+cap(r.line)+cap(r.name))
				}
			}
		})
	}
}

func TestUndecided(t *testing.T) {
	t.Parallel()
	r := &Reader{limit: 50}
	check := func(feed string, want int64, wantOK bool) {
		t.Helper()
		r.Feed([]byte(feed))
		for r.Next() {
		}
		if at, ok := r.Undecided(); ok != wantOK || ok && at != want {
			t.Errorf("after %q: undecided from %d, %v; want %d, %v", feed, at, ok, want, wantOK)
		}
	}
	check("data: 1\n\n", 9, false)
	check("da", 9, true)
	check("ta: 2\n\ndata", 18, true)
	check(strings.Repeat("x", 60), 18, false) // too large: waiting is of no use
}

func TestNoAllocation(t *testing.T) {
	chunk := bytes.Repeat([]byte("event: a\ndata: {\"text\":\"hello\"}\n\n"), 10)
	r := new(Reader)
	events := 0
	step := func() {
		r.Feed(chunk[:len(chunk)-40])
		for r.Next() {
			events++
		}
		r.Feed(chunk[len(chunk)-40:])
		for r.Next() {
			events++
		}
	}
	step()
	if n := testing.AllocsPerRun(100, step); n != 0 {
		t.Errorf("%v allocations a round", n)
	}
	if events%10 != 0 || events == 0 {
		t.Errorf("%d events", events)
	}
}

func FuzzReader(f *testing.F) {
	f.Add("data: 1\r\n\r\n: c\nevent: x\ndata: 2\n\n", uint8(3))
	f.Add("\ufeffdata\rdata: 2\r\r\n", uint8(1))
	f.Add(strings.Repeat("data: long line\n", 8)+"\n", uint8(5))
	f.Fuzz(func(t *testing.T, stream string, size uint8) {
		want := parse(t, new(Reader), stream, whole)
		got := parse(t, new(Reader), stream, func(left int) int { return min(left, int(size)+1) })
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("cut in pieces of %d: %q, whole: %q", int(size)+1, got, want)
		}
		small := &Reader{limit: 20}
		for _, event := range parse(t, small, stream, func(left int) int { return min(left, int(size)+1) }) {
			if !strings.Contains(fmt.Sprint(want), event) {
				t.Fatalf("event %q is not among %q", event, want)
			}
		}
	})
}

func BenchmarkReader(b *testing.B) {
	chunk := bytes.Repeat([]byte("data: {\"id\":\"chatcmpl-1\",\"choices\":[{\"delta\":{\"content\":\"hello\"}}]}\n\n"), 100)
	r := new(Reader)
	b.SetBytes(int64(len(chunk)))
	b.ReportAllocs()
	for b.Loop() {
		r.Feed(chunk)
		for r.Next() {
		}
	}
}
