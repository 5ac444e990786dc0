package envoy

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
)

// told is an answer, in the pieces that a provider sends it in.
type told struct {
	Type, Encoding string
	Pieces         []string
	Cut            bool // the provider hangs up behind them
}

// ServeHTTP answers as it is asked to.
func tell(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var asked struct{ Answer told }
	if err := json.Unmarshal(body, &asked); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("content-type", asked.Answer.Type)
	if asked.Answer.Encoding != "" {
		w.Header().Set("content-encoding", asked.Answer.Encoding)
	}
	for i, piece := range asked.Answer.Pieces {
		if i > 0 {
			time.Sleep(3 * time.Millisecond) // so that Envoy reads them one by one
		}
		io.WriteString(w, piece)
		w.(http.Flusher).Flush()
	}
	if asked.Answer.Cut {
		time.Sleep(50 * time.Millisecond)
		panic(http.ErrAbortHandler)
	}
}

const (
	chatUsage = `{"prompt_tokens":9,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":2,"lists":[1,{"a":null}]},"cost":1e-5,"is_byok":false}`
	chatWhole = "{\"id\":\"c-1\",\"object\":\"chat.completion\",\"choices\":[{\"usage\":{\"prompt_tokens\":1},\"message\":{\"content\":\"a \\\"usage\\\":{\\\"prompt_tokens\\\":7}, 5\\\" } \\\\\"," +
		"\"tool_calls\":[{\"function\":{\"arguments\":\"{\\\"id\\\":\\\"no\\\"}\"}}],\"text\":\"}]{[\"}}],\n \"model\" : \"gpt-\\u0035\" ,\r\n\"usage\": " + chatUsage + ",\"service_tier\":null,\"meta\":[{}]}\n"
	chatFound = `{"id":"c-1","model":"gpt-5","usage":` + chatUsage + `}`

	chatEvents = "data: {\"id\":\"\",\"model\":\"\",\"choices\":[],\"prompt_filter_results\":[{\"usage\":{}}]}\n\n" +
		"data: {\"id\":\"c-2\",\"model\":\"gpt-5\",\"service_tier\":\"flex\",\"choices\":[{\"delta\":{\"content\":\"Hello\"}}],\"usage\":null}\n\n: ping\n\n" +
		"data: {\"id\":\"c-2\",\"choices\":[{\"delta\":{\"content\":\" usage\\\":{\"}}],\"usage\":null}\n\n" +
		"data: {\"id\":\"c-2\",\"model\":\"gpt-5\",\"choices\":[],\"x_groq\":{\"usage\":{\"a\":1}},\"usage\":" + chatUsage + "}\n\ndata: [DONE]\n\n"
	chatEventsFound = `{"id":"c-2","model":"gpt-5","service_tier":"flex","x_groq.usage":{"a":1},"usage":` + chatUsage + `}`

	messageStart  = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m-1\",\"content\":[],\"model\":\"claude\",\"usage\":{\"input_tokens\":321,\"output_tokens\":1}}}\n\n"
	messageEvents = messageStart + "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"message_delta usage\"}}\n\n"
	messageEnd    = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":17}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
	messageFound  = `{"message.id":"m-1","message.model":"claude","message.usage":{"input_tokens":321,"output_tokens":1}`
	messageAll    = messageFound + `,"delta.stop_reason":"end_turn","usage":{"output_tokens":17}}`

	responseEvents = "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"r-1\",\"status\":\"in_progress\",\"model\":\"gpt-5\",\"tools\":[{\"parameters\":{\"usage\":{}}}],\"usage\":null}}\n\n" +
		"event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"a\",\"obfuscation\":\"x\"}\n\n" +
		"event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"id\":\"r-1\",\"status\":\"failed\",\"model\":\"gpt-5\",\"service_tier\":\"default\",\"output\":[{\"status\":\"no\"}],\"tool_usage\":{\"web_search\":{\"num_requests\":2}},\"usage\":null}}\n\n"
	responseFound = `{"response.id":"r-1","response.status":"failed","response.model":"gpt-5","response.service_tier":"default","response.tool_usage":{"web_search":{"num_requests":2}}}`
)

// Whatever an answer says that it used is found as it stands, however the answer comes in pieces; and nothing that only looks so.
func TestUsageIsFound(t *testing.T) {
	p := startProcessor(t)
	upstream := httptest.NewServer(http.HandlerFunc(tell))
	t.Cleanup(upstream.Close)
	e := started(t, Config{Mode: ModeLight, Processor: p.addr, Providers: []Provider{{Name: "openai", Host: "api.openai.com", Address: upstream.URL}}})
	const answer, events = "answer", "events"
	type test struct {
		name      string
		told      told
		key, want string // JSON under a key; "" for nothing at all
	}
	one := func(kind, text string) told { return told{Type: kind, Pieces: []string{text}} }
	sse := func(text string) told { return one("text/event-stream", text) }
	tests := []test{
		{"a chat", one("application/json", chatWhole), answer, chatFound},
		{"with a charset", one("Application/JSON; charset=utf-8", chatWhole), answer, chatFound},
		{"another kind", one("text/plain", chatWhole), "", ""},
		{"compressed", told{Type: "application/json", Encoding: "gzip", Pieces: []string{chatWhole}}, "", ""},
		{"not compressed", told{Type: "application/json", Encoding: "identity", Pieces: []string{chatWhole}}, answer, chatFound},
		{"cut", told{Type: "application/json", Pieces: []string{chatWhole[:len(chatWhole)-3]}}, "", ""},
		{"more behind it", one("application/json", chatWhole+"{}"), "", ""},
		{"a list", one("application/json", "["+chatWhole+"]"), "", ""},
		{"nothing", one("application/json", ""), "", ""},
		{"empty", one("application/json", "{}"), "", ""},
		{"nothing that is wanted", one("application/json", `{"usage":null,"id":{},"model":[1],"usageMetadata":[{"a":1}],"a":{"usage":{"b":1}}}`), "", ""},
		{"said twice", one("application/json", `{"usage":{"a":1},"id":1,"usage":{"a":2},"eval_count":7}`), answer, `{"usage":{"a":2},"id":1,"eval_count":7}`},
		{"gemini", one("application/json; charset=UTF-8", `{"modelVersion":"gemini","responseId":"g","usageMetadata":{"promptTokensDetails":[{"modality":"AUDIO","tokenCount":4}]}}`),
			answer, `{"modelVersion":"gemini","responseId":"g","usageMetadata":{"promptTokensDetails":[{"modality":"AUDIO","tokenCount":4}]}}`},
		{"cohere", one("application/json", `{"id":"x","meta":{"billed_units":{"input_tokens":4}},"message":{"id":"no"}}`), answer, `{"id":"x","meta":{"billed_units":{"input_tokens":4}}}`},
		{"two megabytes", one("application/json", strings.Replace(chatWhole, "}]{[", strings.Repeat("}]{[ text ", 200_000), 1)), answer, chatFound},
		{"a stream of a chat", sse(chatEvents), events, chatEventsFound},
		{"with carriage returns", sse(strings.ReplaceAll(chatEvents, "\n", "\r\n")), events, chatEventsFound},
		{"with carriage returns alone", sse(strings.ReplaceAll(chatEvents, "\n", "\r")), events, chatEventsFound},
		{"the last event without its end", sse(strings.TrimSuffix(messageEvents+messageEnd, "\n")), events, messageAll},
		{"a stream of messages", sse(messageEvents + messageEnd), events, messageAll},
		{"messages that are cut", told{Type: "text/event-stream", Pieces: []string{messageEvents}, Cut: true}, events, messageFound + "}"},
		{"messages that are cut, the end of the event by itself", told{Type: "text/event-stream", Pieces: []string{messageStart[:len(messageStart)-1], "\n"}, Cut: true}, events, messageFound + "}"},
		{"a stream of a response", sse(responseEvents), events, responseFound},
		{"a response that fails", told{Type: "text/event-stream", Pieces: []string{"data: {\"response\":{\"id\":\"r\",\"status\":\"queued\",\"usage\":null}}\n\n", "data: {\"response\":{\"id\":\"r\",\"status\":\"failed\",\"usage\":null}}\n\n"}}, events, `{"response.id":"r","response.status":"failed"}`},
		{"an event in two lines", sse("data: {\"usage\":\ndata: {\"a\":1}}\n\n"), events, `{"usage":{"a":1}}`},
		{"an event of a megabyte", sse("data: {\"a\":\"" + strings.Repeat("x", 1<<20) + "\",\"response\":{\"usage\":{\"a\":1}}}\n\n"), events, `{"response.usage":{"a":1}}`},
		{"events that are none", sse("usage: {}\n\ndata\n\ndata: {\"usage\":{\"a\":1}\n\n"), "", ""},
	}
	for at := 1; at < len(chatWhole); at += 5 {
		tests = append(tests, test{fmt.Sprintf("a chat in two, at %d", at), told{Type: "application/json", Pieces: []string{chatWhole[:at], chatWhole[at:]}}, answer, chatFound})
	}
	for name, c := range map[string][2]string{"chat": {chatEvents, chatEventsFound}, "messages": {messageEvents + messageEnd, messageAll}, "crlf": {strings.ReplaceAll(responseEvents, "\n", "\r\n"), responseFound}} {
		for at := 2; at < len(c[0]); at += 5 {
			tests = append(tests, test{fmt.Sprintf("%s in three, at %d", name, at), told{Type: "text/event-stream", Pieces: []string{c[0][:at/2], c[0][at/2 : at], c[0][at:]}}, events, c[1]})
		}
	}

	work := make(chan int)
	var clients sync.WaitGroup
	for range 16 {
		clients.Go(func() {
			for i := range work {
				body, _ := json.Marshal(map[string]any{"to": "openai/m", "answer": tests[i].told})
				request, err := http.NewRequest(http.MethodPost, fmt.Sprintf("http://%s/%d", e.Listen(), i), strings.NewReader(string(body)))
				if err != nil {
					t.Error(err)
					continue
				}
				request.Header.Set("accept-encoding", "identity")
				response, err := http.DefaultClient.Do(request)
				if err != nil {
					t.Errorf("%s: %v", tests[i].name, err)
					continue
				}
				got, err := io.ReadAll(response.Body)
				response.Body.Close()
				if want := strings.Join(tests[i].told.Pieces, ""); string(got) != want || (err != nil) != tests[i].told.Cut || response.StatusCode != http.StatusOK {
					t.Errorf("%s: the answer arrived as %d bytes of %d, %v, %s", tests[i].name, len(got), len(want), err, response.Status)
				}
			}
		})
	}
	for i := range tests {
		work <- i
	}
	close(work)
	clients.Wait()

	for i, c := range tests {
		fields, ok := p.usageOf(fmt.Sprintf("/%d", i))
		if !ok {
			t.Fatalf("%s: the access log does not tell of it", c.name)
		}
		got := make(map[string]string)
		for key, v := range fields {
			got[key] = v.GetStringValue()
		}
		if c.key == "" {
			if len(got) > 0 {
				t.Errorf("%s: found %v, want nothing", c.name, got)
			}
			continue
		}
		if len(got) != 1 || !sameJSON(t, got[c.key], c.want) {
			t.Errorf("%s: found %v, want under %s\n%s", c.name, got, c.key, c.want)
		}
	}
}

// usageOf waits for the entry of a call.
func (p *processor) usageOf(path string) (map[string]*structpb.Value, bool) {
	for range 500 {
		p.mu.Lock()
		fields, ok := p.usage[path]
		p.mu.Unlock()
		if ok {
			return fields, true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil, false
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal([]byte(b), &y); err != nil {
		t.Fatal(err)
	}
	return json.Unmarshal([]byte(a), &x) == nil && reflect.DeepEqual(x, y)
}
