package ending_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"keel/filter/wire"
	"keel/filter/wire/apis"
	"keel/filter/wire/ending"
	"keel/filter/wire/recording"
	"keel/filter/wire/recording/corpus"
	"keel/filter/wire/sse"
)

var why = ending.Ending{Code: "stream_ended", Message: `budget "b" has no room`, DecisionID: "d-1", OutputTokens: 7}

// pass feeds what the client would get in pieces of n bytes and returns what it gets.
func pass(s *ending.Stream, body string, n int) (got string) {
	for len(body) > 0 {
		n := min(n, len(body))
		got += string(s.Pass([]byte(body[:n]), false))
		body = body[n:]
	}
	return got
}

func TestEndings(t *testing.T) {
	for _, c := range []struct {
		name string
		api  wire.API
		body string
		want string // behind the whole events of body
	}{
		{"chat", wire.OpenAIChat,
			`data: {"id":"c1","object":"chat.completion.chunk","created":5,"model":"m","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null},{"index":1,"delta":{},"finish_reason":"stop"}]}` + "\n\n" + `data: {"id":"c1","cho`,
			`data: {"id":"c1","object":"chat.completion.chunk","created":5,"model":"m","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}],"keel":{"code":"stream_ended","message":"budget \"b\" has no room","decision_id":"d-1"}}` + "\n\ndata: [DONE]\n\n"},
		{"completions", wire.OpenAICompletions,
			`data: {"id":"c1","object":"text_completion","created":5,"model":"m","choices":[{"index":0,"text":"a","finish_reason":null}]}` + "\n\n",
			`data: {"id":"c1","object":"text_completion","created":5,"model":"m","choices":[{"index":0,"text":"","logprobs":null,"finish_reason":"length"}],"keel":{"code":"stream_ended","message":"budget \"b\" has no room","decision_id":"d-1"}}` + "\n\ndata: [DONE]\n\n"},
		{"chat, nothing of it seen yet", wire.OpenAIChat, `data: {"id":"c1","cho`,
			`data: {"error":{"message":"budget \"b\" has no room","type":"insufficient_quota","param":null,"code":"stream_ended","keel":{"code":"stream_ended","message":"budget \"b\" has no room","decision_id":"d-1"}}}` + "\n\ndata: [DONE]\n\n"},
		{"responses", wire.OpenAIResponses,
			"event: response.created\n" + `data: {"type":"response.created","sequence_number":0,"response":{"id":"r1","object":"response","status":"in_progress","model":"m","output":[]}}` + "\n\n" +
				"event: response.output_text.delta\n" + `data: {"type":"response.output_text.delta","sequence_number":4,"delta":"a"}` + "\n\nevent: resp",
			"event: response.incomplete\n" + `data: {"type":"response.incomplete","sequence_number":5,"response":{"id":"r1","incomplete_details":{"reason":"max_output_tokens"},"keel":{"code":"stream_ended","message":"budget \"b\" has no room","decision_id":"d-1"},"model":"m","object":"response","output":[],"status":"incomplete"}}` + "\n\n"},
		{"messages, in a block", wire.Anthropic,
			"event: message_start\n" + `data: {"type":"message_start","message":{"id":"m1","usage":{"input_tokens":3,"output_tokens":1}}}` + "\n\n" +
				"event: content_block_start\n" + `data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}` + "\n\n",
			"event: content_block_stop\n" + `data: {"type":"content_block_stop","index":1}` + "\n\n" +
				"event: message_delta\n" + `data: {"type":"message_delta","delta":{"stop_reason":"max_tokens","stop_sequence":null},"usage":{"output_tokens":7},"keel":{"code":"stream_ended","message":"budget \"b\" has no room","decision_id":"d-1"}}` + "\n\n" +
				"event: message_stop\n" + `data: {"type":"message_stop"}` + "\n\n"},
		{"gemini, events", wire.GeminiStream,
			`data: {"candidates":[{"content":{"parts":[{"text":"a"}],"role":"model"}}],"modelVersion":"g","responseId":"x"}` + "\r\n\r\n",
			`data: {"candidates":[{"content":{"role":"model","parts":[{"text":""}]},"finishReason":"MAX_TOKENS","finishMessage":"budget \"b\" has no room","index":0}],"modelVersion":"g","responseId":"x"}` + "\n\n"},
		{"gemini, an array", wire.GeminiStream,
			`[{"candidates":[{"content":{"parts":[{"text":"a"}],"role":"model"}}],"responseId":"x"}` + "\n,\r\n{\"candi",
			",\n" + `{"candidates":[{"content":{"role":"model","parts":[{"text":""}]},"finishReason":"MAX_TOKENS","finishMessage":"budget \"b\" has no room","index":0}],"responseId":"x"}` + "]\n"},
		{"gemini, an array of which nothing is seen yet", wire.GeminiStream, `[{"candi`,
			`[{"error":{"code":429,"message":"budget \"b\" has no room","status":"RESOURCE_EXHAUSTED"}}]` + "\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, n := range []int{1, 7, 1 << 20} {
				s := ending.New(c.api)
				got := pass(s, c.body, n)
				if !strings.HasPrefix(c.body, got) {
					t.Fatalf("passed %q of %q", got, c.body)
				}
				last, ok := s.End(&why)
				if !ok || string(last) != c.want {
					t.Errorf("in pieces of %d the end is %v\n%s\nwant\n%s", n, ok, last, c.want)
				}
			}
		})
	}
}

func TestEndsWithErrors(t *testing.T) {
	refusal := wire.Refusal{Status: 429, Code: "stream_ended", Message: "no room", DecisionID: "d-1"}
	for api, path := range map[wire.API]string{
		wire.OpenAIChat: "/v1/chat/completions", wire.OpenAIResponses: "/v1/responses", wire.Anthropic: "/v1/messages",
		wire.GeminiStream: "/v1beta/models/g:streamGenerateContent",
	} {
		provider := map[wire.API]string{wire.Anthropic: "anthropic", wire.GeminiStream: "google"}[api]
		if provider == "" {
			provider = "openai"
		}
		codec, ok := apis.Match(provider, "POST", path)
		if !ok || codec.API() != api {
			t.Fatalf("%s is read as %v", path, codec)
		}
		e := why
		_, e.Error = codec.Refuse(refusal)
		s := ending.New(api)
		s.Pass([]byte(": hello\n\n"), false)
		last, ok := s.End(&e)
		if !ok || !bytes.Contains(last, []byte(`"no room"`)) && api != wire.OpenAIResponses || !bytes.HasSuffix(last, []byte("\n\n")) {
			t.Errorf("%s: %s", api, last)
		}
		reader := codec.NewReader(&wire.Request{API: api, Stream: true}, 200, http.Header{})
		reader.Feed(last, true)
		if got := reader.Reading(); got.Failure == "" {
			t.Errorf("%s: %s reads as %+v", api, last, got)
		}
	}
}

// What is no stream passes as it is, and has no end to be told.
func TestPassesOthers(t *testing.T) {
	body := ` {"error": {"message": "x"}}`
	s := ending.New(wire.OpenAIChat)
	if got := pass(s, body, 3); got != body[1:] {
		t.Errorf("passed %q", got)
	}
	if last, ok := s.End(&why); ok {
		t.Errorf("ended with %q", last)
	}
	if last, ok := ending.New(wire.OpenAIChat).End(&why); ok {
		t.Errorf("nothing was ended with %q", last)
	}
	if ending.Known(wire.OpenAIEmbeddings) || !ending.Known(wire.Anthropic) {
		t.Error("the wrong APIs are known")
	}
}

// Recorded streams, ended anywhere: the client gets whole events, and what it gets reads as a whole
// answer to the reader of the API.
func TestRecordedStreams(t *testing.T) {
	ended := make(map[wire.API]int)
	corpus.Each(t, func(x *recording.Exchange) {
		codec, ok := apis.Match(x.Provider, x.Method, x.Path)
		if !ok || !ending.Known(codec.API()) || x.Status >= 400 {
			return
		}
		body, err := x.Response()
		if err != nil {
			t.Fatal(err)
		}
		request, err := x.Request()
		if err != nil {
			t.Fatal(err)
		}
		asked, err := codec.ReadRequest(x.Path, request)
		if err != nil || !asked.Stream || len(body) == 0 {
			return
		}
		random := rand.New(rand.NewPCG(uint64(len(body)), 3))
		if got := passAtRandom(ending.New(codec.API()), body, random, true); !bytes.Equal(got, bytes.TrimLeft(body, " \t\r\n")) {
			t.Errorf("%s: not everything passed", x.ID)
		}
		for range 4 {
			cut := body[:random.IntN(len(body))]
			s := ending.New(codec.API())
			got := passAtRandom(s, cut, random, false)
			before := codec.NewReader(asked, x.Status, recording.Header(x.ResponseHeaders))
			before.Feed(got, false)
			if before.Reading().Terminal {
				continue
			}
			last, ok := s.End(&why)
			if !ok {
				continue
			}
			got = append(got, last...)
			checkWhole(t, x.ID, got)
			after := codec.NewReader(asked, x.Status, recording.Header(x.ResponseHeaders))
			after.Feed(got, true)
			if r := after.Reading(); !r.Terminal && r.Failure == "" {
				t.Errorf("%s: ended at %d of %d bytes it reads as %+v\n%.2000s", x.ID, len(cut), len(body), r, got[max(0, len(got)-1500):])
			}
			ended[codec.API()]++
		}
	})
	for api, n := range ended {
		t.Logf("%s: %d streams ended", api, n)
	}
}

func passAtRandom(s *ending.Stream, body []byte, random *rand.Rand, end bool) (got []byte) {
	for rest := body; len(rest) > 0; {
		n := min(len(rest), 1+random.IntN(1+random.IntN(2000)))
		chunk := bytes.Clone(rest[:n])
		got = append(got, s.Pass(chunk, end && n == len(rest))...)
		clear(chunk)
		rest = rest[n:]
	}
	return got
}

// checkWhole holds that a body is events whose data is JSON, or JSON itself.
func checkWhole(t *testing.T, id string, body []byte) {
	t.Helper()
	if body[0] == '[' {
		if !json.Valid(body) {
			t.Errorf("%s: not JSON: %.500s", id, body)
		}
		return
	}
	var events sse.Reader
	events.Feed(body)
	for events.Next() {
		if data := bytes.TrimSpace(events.Event().Data); string(data) != "[DONE]" && len(data) > 0 && data[0] == '{' && !json.Valid(data) {
			t.Errorf("%s: an event is no JSON: %.500s", id, data)
		}
	}
	if _, undecided := events.Undecided(); undecided {
		t.Errorf("%s: it ends within an event", id)
	}
}

func FuzzStream(f *testing.F) {
	f.Add([]byte("data: {\"id\":\"a\",\"choices\":[{\"index\":0}]}\n\ndata: [DONE]\n\n"), uint8(3), uint8(0))
	f.Add([]byte("[{\"candidates\":[{}]},\n{}]"), uint8(1), uint8(4))
	apiOf := []wire.API{wire.OpenAIChat, wire.OpenAICompletions, wire.OpenAIResponses, wire.Anthropic, wire.GeminiStream}
	f.Fuzz(func(t *testing.T, body []byte, n, which uint8) {
		api := apiOf[int(which)%len(apiOf)]
		s := ending.New(api)
		got := []byte(pass(s, string(body), 1+int(n)))
		if trimmed := bytes.TrimLeft(body, " \t\r\n"); !bytes.HasPrefix(trimmed, got) {
			t.Fatalf("passed %q of %q", got, body)
		}
		whole := ending.New(api)
		if all := whole.Pass(body, true); !bytes.Equal(all, bytes.TrimLeft(body, " \t\r\n")) {
			t.Fatalf("%q passed as %q", body, all)
		}
		if last, ok := s.End(&why); ok && !bytes.HasSuffix(last, []byte("\n")) {
			t.Fatalf("ended with %q", last)
		}
	})
}
