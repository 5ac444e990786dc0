package eventstream

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"strings"
	"testing"

	oracle "github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"pgregory.net/rapid"
)

// encode is one message as AWS' own library writes it.
func encode(t testing.TB, payload string, headers ...string) []byte {
	t.Helper()
	message := oracle.Message{Payload: []byte(payload)}
	for i := 0; i < len(headers); i += 2 {
		message.Headers.Set(headers[i], oracle.StringValue(headers[i+1]))
	}
	message.Headers.Set("n", oracle.Int32Value(7))
	message.Headers.Set("flag", oracle.BoolValue(true))
	message.Headers.Set("blob", oracle.BytesValue([]byte{0, 1}))
	var b bytes.Buffer
	if err := oracle.NewEncoder().Encode(&b, message); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type seen struct{ kind, name, text, payload string }

func feed(r *Reader, chunk []byte) (all []seen) {
	r.Feed(chunk)
	for r.Next() {
		m := r.Message()
		all = append(all, seen{m.Type, m.Name, m.Text, string(m.Payload)})
	}
	return all
}

// TestReader: messages that AWS' library wrote are read, however they are cut.
func TestReader(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var stream []byte
		var want []seen
		for range rapid.IntRange(0, 4).Draw(rt, "messages") {
			payload := rapid.String().Draw(rt, "payload")
			one := seen{"event", rapid.SampledFrom([]string{"chunk", "metadata"}).Draw(rt, "name"), "", payload}
			headers := []string{":message-type", "event", ":event-type", one.name}
			if rapid.Bool().Draw(rt, "failed") {
				one = seen{"error", "500", "broken", payload}
				headers = []string{":message-type", "error", ":error-code", "500", ":error-message", "broken"}
			}
			want = append(want, one)
			stream = append(stream, encode(t, payload, headers...)...)
		}
		var r Reader
		var got []seen
		for rest := stream; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(rt, "chunk")
			chunk := bytes.Clone(rest[:n])
			got = append(got, feed(&r, chunk)...)
			clear(chunk)
			rest = rest[n:]
		}
		if r.Err() != nil || r.Pending() != 0 || len(got) != len(want) {
			rt.Fatalf("%d messages of %d, %d bytes pending, %v", len(got), len(want), r.Pending(), r.Err())
		}
		for i := range got {
			if got[i] != want[i] {
				rt.Fatalf("message %d: %+v, want %+v", i, got[i], want[i])
			}
		}
	})
}

// TestBroken: any bit that is wrong ends the reading, says where, and nothing of
// the broken message is told.
func TestBroken(t *testing.T) {
	t.Parallel()
	first, second := encode(t, "one", ":message-type", "event"), encode(t, "two", ":message-type", "event")
	for at := range second {
		for bit := range 8 {
			broken := bytes.Clone(second)
			broken[at] ^= 1 << bit
			var r Reader
			got := feed(&r, append(bytes.Clone(first), broken...))
			if len(got) != 1 || r.Err() == nil || !strings.Contains(r.Err().Error(), "at byte ") {
				t.Fatalf("bit %d of byte %d: %d messages, %v", bit, at, len(got), r.Err())
			}
			if more := feed(&r, first); more != nil {
				t.Fatal("goes on behind a broken message")
			}
		}
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	prelude := func(total, headers uint32) []byte {
		b := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, total), headers)
		return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	}
	for _, test := range []struct{ total, headers uint32 }{{15, 0}, {MaxMessage + 1, 0}, {1 << 31, 0}, {16, 1}, {1 << 20, maxHeader + 1}} {
		var r Reader
		if got := feed(&r, prelude(test.total, test.headers)); got != nil || r.Err() == nil {
			t.Errorf("%+v: %v", test, r.Err())
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(encode(f, `{"p":"abc"}`, ":message-type", "event", ":event-type", "chunk"), 3)
	f.Add([]byte{0, 0, 0, 16, 0, 0, 0, 0}, 1)
	f.Fuzz(func(t *testing.T, stream []byte, size int) {
		size = 1 + int(uint(size)%64)
		var whole, cut Reader
		want := feed(&whole, stream)
		var got []seen
		for rest := stream; len(rest) > 0; {
			n := min(size, len(rest))
			got = append(got, feed(&cut, rest[:n])...)
			rest = rest[n:]
		}
		if len(got) != len(want) || (whole.Err() == nil) != (cut.Err() == nil) {
			t.Fatalf("%d messages and %v, cut %d and %v", len(want), whole.Err(), len(got), cut.Err())
		}
		// What we take, AWS' library takes, too.
		decoder, rest := oracle.NewDecoder(), bytes.NewReader(stream)
		for i := range want {
			m, err := decoder.Decode(rest, nil)
			if err != nil || string(m.Payload) != want[i].payload {
				t.Fatalf("message %d: %v", i, err)
			}
		}
	})
}
