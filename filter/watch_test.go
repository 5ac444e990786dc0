package filter

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	extprocfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/google/uuid"

	"keel/budget"
	"keel/filter/wire/openai"
	"keel/pricing"
)

// purse is a ledger of which one call can be extended by so much.
type purse struct {
	notes
	left     pricing.NanoUSD
	away     bool
	asked    []pricing.NanoUSD
	extended pricing.NanoUSD
}

func (p *purse) Extend(_ context.Context, _ uuid.UUID, more []pricing.NanoUSD) error {
	p.asked = append(p.asked, more...)
	switch {
	case p.away:
		return fmt.Errorf("extend: %w", budget.ErrUnavailable)
	case more[0] > p.left:
		return &budget.Refused{Hold: budget.Hold{Account: budget.Account{Budget: "b"}, Limit: 5_000_000}, Standing: budget.Standing{Settled: 4_000_000, Held: 900_000}}
	}
	p.left -= more[0]
	p.extended += more[0]
	return nil
}

// watchedStream runs a streamed call, whose answer is cut as given, and returns what the client got and how it ended.
// A byte of text costs a third of 10 USD a million: 3333 nano-dollars. The prompt costs nothing.
func watchedStream(t *testing.T, p *purse, do string, encoding string, end bool, chunks ...[]byte) (got string, ended bool, out []*extprocv3.ProcessingResponse) {
	t.Helper()
	documents, err := budget.ReadDocuments(strings.NewReader(`
{kind: Price, name: p, provider: openai, model: gpt-4o, per_million: {input: 0, output: 10 USD}}
---
{kind: Budget, name: b, limit: 5 USD, window: month, hold: expected}
---
{kind: Policy, name: w, when: "true", do: {watch: `+do+`}}
`), "test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	server := serverOf(t, documents, p)
	in := chatCall(`{"model": "gpt-4o", "stream": true, "max_tokens": 100000, "messages": [{"role": "user", "content": "hi"}]}`)[:2]
	in = append(in, &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{
		ResponseHeaders: headers(":status", "200", "content-type", "text/event-stream", "content-encoding", encoding),
	}})
	for i, c := range chunks {
		in = append(in, &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{
			ResponseBody: &extprocv3.HttpBody{Body: c, EndOfStream: end && i == len(chunks)-1},
		}})
	}
	if !end {
		in = append(in, &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseTrailers{ResponseTrailers: &extprocv3.HttpTrailers{}}})
	}
	stream := &fakeStream{in: in, end: io.EOF}
	server.Process(stream)
	if mode := stream.out[2].GetModeOverride().GetResponseBodyMode(); mode != extprocfilterv3.ProcessingMode_FULL_DUPLEX_STREAMED {
		t.Fatalf("the answer comes in mode %s", mode)
	}
	for _, answer := range stream.out[3:] {
		if answer.GetResponseTrailers() != nil {
			ended = true
			continue
		}
		piece := answer.GetResponseBody().GetResponse().GetBodyMutation().GetStreamedResponse()
		if piece == nil || ended {
			t.Fatalf("the answer goes on with %v", answer)
		}
		got += string(piece.Body)
		ended = piece.EndOfStream
	}
	if len(p.closeouts) != 1 {
		t.Fatalf("%d closeouts", len(p.closeouts))
	}
	return got, ended, stream.out
}

func delta(text string) string {
	return `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[{"index":0,"delta":{"content":"` + text + `"},"finish_reason":null}]}` + "\n\n"
}

const (
	lastDelta = `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n"
	usageOnly = `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}` + "\n\n"
	isDone    = "data: [DONE]\n\n"
)

func TestWatchExtends(t *testing.T) {
	t.Parallel()
	p := &purse{left: 1e9}
	long := delta(strings.Repeat("a", 30_000))
	got, ended, _ := watchedStream(t, p, "{extend: 0.03 USD}", "", true, []byte(long[:100]), []byte(long[100:]+lastDelta), []byte(usageOnly+isDone))
	if want := long + lastDelta + isDone; got != want || !ended {
		t.Errorf("the client got %q, ended %v; want %q", got, ended, want)
	}
	c := p.closeouts[0]
	if c.Outcome != budget.Complete || c.Metered != budget.ByProvider {
		t.Errorf("closed out as %s by %s", c.Outcome, c.Metered)
	}
	// 10,000 tokens cost 0.1 USD; less is held, whatever is expected, and it grows by whole steps.
	if p.extended == 0 || p.extended%30_000_000 != 0 || p.extended+p.permitted[0].Holds[0].Amount < 100_000_000 {
		t.Errorf("held %s, extended by %s", p.permitted[0].Holds[0].Amount, p.extended)
	}
}

func TestWatchEnds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, do string
		purse    *purse
		reason   string
		asked    int
	}{
		{"no room", "{extend: 0.01 USD}", &purse{left: 1000}, "budget b has no room for more: 0.004 USD of 0.005 are settled and 0.0009 held", 2},
		{"the ledger is away", "{extend: 0.01 USD}", &purse{away: true}, "the ledger can't say whether there is room", 1},
		{"no extension", "{}", &purse{left: 1e9}, "that is more than budget b holds for it", 0},
		{"with an error", "{extend: 0.01 USD, end: error}", &purse{}, "budget b has no room", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			long := delta(strings.Repeat("a", 30_000))
			got, ended, _ := watchedStream(t, c.purse, c.do, "", true, []byte(delta("short")), []byte(long), []byte(delta("under way")), []byte(isDone))
			last, ok := strings.CutPrefix(got, delta("short")+long)
			if !ok || !ended || !strings.HasSuffix(last, isDone) || strings.Contains(last, "under way") || !strings.Contains(last, "policy w ended this answer") || !strings.Contains(last, c.reason) {
				t.Errorf("the client got %q, ended %v", last, ended)
			}
			if strings.Contains(last, `"error"`) != strings.Contains(c.do, "error") {
				t.Errorf("it ended with %q", last)
			}
			end := c.purse.closeouts[0]
			if end.Outcome != budget.Aborted || end.Metered != budget.ByEstimate || end.Cost.Total < 100_000_000 || !strings.Contains(end.Detail, c.reason) {
				t.Errorf("closed out as %s by %s for %s: %s", end.Outcome, end.Metered, end.Cost.Total, end.Detail)
			}
			if len(c.purse.asked) != c.asked {
				t.Errorf("it asked for %v", c.purse.asked)
			}
		})
	}
}

// Near the limit, what is lacking is all that is asked for.
func TestWatchAsksForLessThanAStep(t *testing.T) {
	t.Parallel()
	p := &purse{left: 999_999_999}
	got, _, _ := watchedStream(t, p, "{extend: 1 USD}", "", true, []byte(delta(strings.Repeat("a", 30_000))+lastDelta), []byte(usageOnly+isDone))
	if strings.Contains(got, "ended this answer") || p.extended+p.permitted[0].Holds[0].Amount != 100_000_000 {
		t.Errorf("held %s, extended by %s of %v: %q", p.permitted[0].Holds[0].Amount, p.extended, p.asked, got[len(got)-200:])
	}
}

// A compressed answer reaches the client decoded, in trailers' time as well; one that breaks ends.
func TestWatchDecodes(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	io.WriteString(z, delta("hello")+lastDelta+usageOnly+isDone)
	z.Close()
	for _, end := range []bool{true, false} {
		p := &purse{}
		got, ended, out := watchedStream(t, p, "{}", "gzip", end, packed.Bytes()[:20], packed.Bytes()[20:])
		if want := delta("hello") + lastDelta + isDone; got != want || !ended || p.closeouts[0].Outcome != budget.Complete {
			t.Errorf("end %v: the client got %q, ended %v, %s", end, got, ended, p.closeouts[0].Outcome)
		}
		if removed := out[2].GetResponseHeaders().GetResponse().GetHeaderMutation().GetRemoveHeaders(); !strings.Contains(strings.Join(removed, " "), "content-encoding") {
			t.Errorf("removed only %v", removed)
		}
	}
	p := &purse{}
	broken := append(bytes.Clone(packed.Bytes()[:packed.Len()-20]), "xxxxxxxxxxxxxxxxxxxx"...)
	got, ended, _ := watchedStream(t, p, "{}", "gzip", true, broken)
	if !ended || p.closeouts[0].Outcome != budget.Aborted || !strings.Contains(p.closeouts[0].Detail, "can't be decoded any more") && !strings.Contains(p.closeouts[0].Detail, "could not be decoded any more") {
		t.Errorf("broken: the client got %q, ended %v, %s: %s", got, ended, p.closeouts[0].Outcome, p.closeouts[0].Detail)
	}
}

// An attempt that went to another model than the call was sent to is watched at what it costs there.
func TestWatchFollowsTheAttempt(t *testing.T) {
	t.Parallel()
	config, err := budget.Compile(budget.Documents{}, pricing.Catalog())
	if err != nil {
		t.Fatal(err)
	}
	decision := &budget.Decision{
		Call: budget.Call{Org: budget.DefaultOrg, At: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), Stream: true}, RoutedProvider: "openai", RoutedModel: "gpt-4o",
		Watched: &budget.Watched{}, Holds: []budget.Hold{{Amount: 1, Ceiling: 1}},
	}
	call := &Call{config: config, decision: decision, codec: openai.Chat{}, status: 200, attempts: 1}
	dear, _, _ := newWatch(call).cost.Cost(&budget.Reported{}, 3000)
	call.tries = []budget.Attempt{{Number: 1, Provider: "openai", Model: "gpt-4o-mini"}}
	cheap, _, _ := newWatch(call).cost.Cost(&budget.Reported{}, 3000)
	if dear != 10_000_000 || cheap != 600_000 { // 1000 tokens at 10 USD and at 0.60 USD a million
		t.Errorf("at gpt-4o it costs %s, at gpt-4o-mini %s", dear, cheap)
	}
}
