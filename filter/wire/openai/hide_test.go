package openai

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"keel/filter/wire"
)

// TestHiding: the usage chunk that Keel asked for does not reach the client,
// however the stream is cut, every other byte does, and never is more than one
// event held back.
func TestHiding(t *testing.T) {
	t.Parallel()
	const (
		delta  = `data: {"choices":[{"delta":{"content":"x"}}],"usage":null}`
		filter = `data: {"choices":[],"prompt_filter_results":[{"index":0}]}` // Azure, first
		failed = `data: {"choices":[],"error":{"message":"m"},"usage":{"prompt_tokens":1,"completion_tokens":1}}`
		finish = `data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}`
		usage  = `data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}`
		ping   = `: ping`
		done   = `data: [DONE]`
	)
	rapid.Check(t, func(t *rapid.T) {
		newline := rapid.SampledFrom([]string{"\n", "\r\n", "\r"}).Draw(t, "newline")
		events := append(rapid.SliceOfN(rapid.SampledFrom([]string{delta, filter, failed, finish, usage, ping}), 0, 8).Draw(t, "events"), done)
		forced, wanted := rapid.Bool().Draw(t, "forced"), rapid.Bool().Draw(t, "wanted")
		lead := rapid.SampledFrom([]string{"", "\n", "\r\n\r\n"}).Draw(t, "lead")
		all, want := lead, lead
		longest := 0
		for _, e := range events {
			all += e + newline + newline
			longest = max(longest, len(e)+2*len(newline))
			if e != usage || !forced || wanted {
				want += e + newline + newline
			}
		}
		cut := ""
		if rapid.Bool().Draw(t, "aborted") { // half an event at the end belongs to the client, too
			cut = usage[:rapid.IntRange(1, len(usage)).Draw(t, "left")]
		}
		all, want = all+cut, want+cut
		longest = max(longest, len(cut))

		reader := Chat{}.NewReader(&wire.Request{Stream: true, Choices: 1, UsageForced: forced, WantsUsage: wanted}, 200, eventStream)
		var got []byte
		hidden := len(all) - len(want)
		for at := 0; at < len(all); {
			n := rapid.IntRange(1, len(all)-at).Draw(t, "chunk")
			chunk := []byte(all[at : at+n])
			forward := reader.Feed(chunk, false)
			if !forced && (len(forward) != n || &forward[0] != &chunk[0]) {
				t.Fatal("nothing to hide, and yet not the chunk itself")
			}
			got, at = append(got, forward...), at+n
			if held := at - len(got); held > hidden+longest {
				t.Fatalf("%d bytes are held back", held)
			}
		}
		got = append(got, reader.Feed(nil, true)...)
		if string(got) != want {
			t.Fatalf("%q\nbecame\n%q\nwant\n%q", all, got, want)
		}
		if r := reader.Reading(); !r.Terminal {
			t.Fatal("not terminal")
		}
	})
}

// TestHideReleasesAtOnce: what is decided does not wait.
func TestHideReleasesAtOnce(t *testing.T) {
	t.Parallel()
	reader := Chat{}.NewReader(&wire.Request{Stream: true, Choices: 1, UsageForced: true}, 200, eventStream)
	delta := []byte("data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n")
	if got := reader.Feed(delta, false); len(got) != len(delta) || &got[0] != &delta[0] {
		t.Errorf("a whole event is not forwarded as it is: %q", got)
	}
	if got := reader.Feed(append(delta[:len(delta):len(delta)], "data: {"...), false); !bytes.Equal(got, delta) {
		t.Errorf("%q", got)
	}
	if got := reader.Feed([]byte("}\n\n"), false); string(got) != "data: {}\n\n" {
		t.Errorf("%q", got)
	}
}
