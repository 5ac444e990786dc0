//go:build linux

package e2e

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The headers by which a call of TestTorture tells its provider who it is, and what is done to its n-th attempt.
const (
	tortureCall   = "x-torture-call"
	tortureScript = "x-torture-script"
)

// torturer is a provider that does to a call what its script says.
type torturer struct {
	over chan struct{} // closed when the test is

	mu      sync.Mutex
	reached map[string]bool // calls that came to it
}

// tortures are the words of a script. Each ends an answer whole, or as no provider should.
var tortures = []string{
	"ok", "ok", "sse", "sse", "early", "early-sse", "flood", "trailers", "reset-before", "reset-after", "reset-mid", "hang", "hang-mid", "204", "304", "103",
	"500", "503-2", "503-35", "429", "gzip", "gzip-sse", "short", "garbage", "late-read", "drops", "drip-error", "trailed-error",
}

func (p *torturer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.reached[r.Header.Get(tortureCall)] = true
	p.mu.Unlock()
	script := strings.Fields(r.Header.Get(tortureScript))
	n, _ := strconv.Atoi(r.Header.Get("x-envoy-attempt-count"))
	word := "ok"
	if len(script) > 0 {
		word = script[max(min(n, len(script)), 1)-1]
	}
	switch word { // those that do not read the request
	case "early", "early-sse", "reset-before", "garbage", "103":
	case "late-read":
		time.Sleep(time.Second)
		fallthrough
	default:
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			panic(http.ErrAbortHandler) // whoever asked is gone, of which r.Context() says nothing before the request was read
		}
	}
	p.act(w, r, word)
}

func (p *torturer) act(w http.ResponseWriter, r *http.Request, word string) {
	flush := w.(http.Flusher).Flush
	reply := whole(r)
	w.Header().Set("content-type", "application/json")
	switch word {
	case "ok", "early", "late-read":
		_, _ = io.WriteString(w, reply)
	case "103":
		w.Header().Set("link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, reply)
	case "sse", "early-sse":
		events(w, r, 20, 0)
	case "drops":
		events(w, r, 20, 30*time.Millisecond)
	case "flood":
		events(w, r, 3000, 0)
	case "trailers":
		w.Header().Set("trailer", "x-after")
		events(w, r, 5, 0)
		w.Header().Set("x-after", "all")
	case "gzip", "gzip-sse":
		w.Header().Set("content-encoding", "gzip")
		z := gzip.NewWriter(w)
		if word == "gzip" {
			_, _ = io.WriteString(z, reply)
		} else {
			w.Header().Set("content-type", "text/event-stream")
			_, _ = io.WriteString(z, stream(r, 20))
		}
		_ = z.Close()
	case "reset-before", "garbage":
		cut(w, word)
	case "reset-after", "reset-mid":
		if word == "reset-mid" {
			_, _ = io.WriteString(w, reply[:len(reply)/2])
		}
		flush()
		cut(w, word)
	case "short": // of what its length says
		w.Header().Set("content-length", strconv.Itoa(len(reply)+100))
		_, _ = io.WriteString(w, reply)
	case "hang", "hang-mid":
		if word == "hang-mid" {
			w.Header().Set("content-type", "text/event-stream")
			_, _ = io.WriteString(w, stream(r, 3)[:100])
			flush()
		}
		select {
		case <-r.Context().Done():
		case <-p.over: // net/http can't tell of every client that it is gone
		}
	case "503-2", "503-35": // MiB
		n, _ := strconv.Atoi(word[len("503-"):])
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprintf(w, `{"error":{"message":%q,"type":"server_error"}}`, tortureFiller[:n<<20])
	case "drip-error":
		w.WriteHeader(http.StatusBadGateway)
		for range 5 {
			_, _ = io.WriteString(w, "          ")
			flush()
			time.Sleep(50 * time.Millisecond)
		}
		_, _ = io.WriteString(w, `{"error":{"message":"at last","type":"server_error"}}`)
	case "trailed-error":
		w.Header().Set("trailer", "x-after")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"error":{"message":"scripted","type":"server_error"}}`)
		flush()
		w.Header().Set("x-after", "all")
	default:
		status, _ := strconv.Atoi(word)
		w.WriteHeader(status)
		if status >= http.StatusBadRequest {
			_, _ = io.WriteString(w, `{"error":{"message":"scripted","type":"server_error"}}`)
		}
	}
}

// cut ends the connection, or the stream of one that others share.
func cut(w http.ResponseWriter, word string) {
	c, out, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if word == "garbage" {
		_, _ = out.WriteString("HTP/9 what?\r\n\r\n\r\n")
		_ = out.Flush()
	}
	_ = c.Close()
}

func anthropic(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/v1/messages") }

func whole(r *http.Request) string {
	if anthropic(r) {
		return `{"id":"m","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[{"type":"text","text":"Hello."}],"stop_reason":"end_turn","usage":{"input_tokens":10,"output_tokens":5}}`
	}
	return `{"id":"c","object":"chat.completion","created":1,"model":"gpt-5-mini","choices":[{"index":0,"message":{"role":"assistant","content":"Hello."},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}`
}

// stream is an answer of n events, in one.
func stream(r *http.Request, n int) string {
	var s strings.Builder
	events(&s, r, n, 0)
	return s.String()
}

// events writes an answer as a stream of n events, of which each is 200 bytes.
func events(w io.Writer, r *http.Request, n int, pause time.Duration) {
	begin, end := "", "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-5-mini\",\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":15}}\n\ndata: [DONE]\n\n"
	event := fmt.Sprintf("data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-5-mini\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%q}}]}\n\n", tortureFiller[:100])
	if anthropic(r) {
		begin = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-sonnet-4-5\",\"content\":[],\"usage\":{\"input_tokens\":10,\"output_tokens\":1}}}\n\n"
		event = fmt.Sprintf("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":%q}}\n\n", tortureFiller[:100])
		end = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":5}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
	}
	answer, live := w.(http.ResponseWriter)
	if live {
		answer.Header().Set("content-type", "text/event-stream")
	}
	_, _ = io.WriteString(w, begin)
	for range n {
		if _, err := io.WriteString(w, event); err != nil {
			return
		}
		if live {
			answer.(http.Flusher).Flush()
		}
		time.Sleep(pause)
	}
	_, _ = io.WriteString(w, end)
}
