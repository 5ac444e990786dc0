package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// sseChunks is how many times a streamed answer is flushed.
	sseChunks = 100

	// sseGap is the time between two chunks: near enough to what models do that
	// each comes alone, short enough that a call takes half a second.
	sseGap = 5 * time.Millisecond

	// gapHeader asks for another gap, in milliseconds.
	gapHeader = "x-bench-gap-ms"
)

// provider answers every call with the same text at once. It runs in this process,
// whose CPU is not counted.
type provider struct {
	address string // host:port
	server  *http.Server
	unary   []byte
	chunks  [][]byte
}

func startProvider() (*provider, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("provider: %w", err)
	}
	p := &provider{address: l.Addr().String(), unary: unaryAnswer(), chunks: sseAnswer()}
	// Without any timeout: a gateway opens connections that it first uses in a later
	// round, and one that is closed just then would be a call that fails.
	p.server = &http.Server{Handler: p}
	go p.server.Serve(l)
	return p, nil
}

func (p *provider) url() string { return "http://" + p.address }

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// What is asked is at one of both ends, whoever wrote the JSON.
	streamed, err := asksForStream(r.Body)
	if err != nil {
		return // the client is gone
	}
	if !streamed {
		w.Header().Set("content-type", "application/json")
		w.Header().Set("content-length", strconv.Itoa(len(p.unary)))
		w.Write(p.unary)
		return
	}
	gap := sseGap
	if ms, err := strconv.Atoi(r.Header.Get(gapHeader)); err == nil {
		gap = time.Duration(ms) * time.Millisecond
	}
	w.Header().Set("content-type", "text/event-stream")
	flush := http.NewResponseController(w)
	next := time.Now()
	for i, chunk := range p.chunks {
		if i > 0 { // by the clock, so that a busy machine does not make calls longer than they are
			next = next.Add(gap)
			time.Sleep(time.Until(next))
		}
		if _, err := w.Write(chunk); err != nil {
			return
		}
		if err := flush.Flush(); err != nil {
			return
		}
	}
}

// asksForStream reads all of a body and looks for stream: true in its first and last kilobyte.
func asksForStream(body io.Reader) (bool, error) {
	const window = 1 << 10
	var first, last []byte
	buffer := make([]byte, 32<<10)
	for {
		n, err := body.Read(buffer)
		if room := window - len(first); room > 0 {
			first = append(first, buffer[:min(n, room)]...)
		}
		if n >= window {
			last = append(last[:0], buffer[n-window:n]...)
		} else {
			last = append(last, buffer[:n]...)
			last = last[max(0, len(last)-window):]
		}
		if err == io.EOF {
			ends := strings.ReplaceAll(string(first)+" "+string(last), `": true`, `":true`)
			return strings.Contains(ends, `"stream":true`), nil
		}
		if err != nil {
			return false, err
		}
	}
}

const answerUsage = `"usage":{"prompt_tokens":240,"completion_tokens":96,"total_tokens":336,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}`

func unaryAnswer() []byte {
	text := strings.Repeat("The answer is the same every time. ", 8)
	return fmt.Appendf(nil, `{"id":"chatcmpl-bench0000000000000000000001","object":"chat.completion","created":1700000000,"model":"%s-2025-08-07","choices":[{"index":0,"message":{"role":"assistant","content":"%s","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],%s,"service_tier":"default","system_fingerprint":null}`, model, text, answerUsage)
}

// sseAnswer ends with the usage that the request asks for, and the mark of the end.
func sseAnswer() [][]byte {
	event := func(choices, usage string) []byte {
		return fmt.Appendf(nil, "data: {\"id\":\"chatcmpl-bench0000000000000000000001\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"%s-2025-08-07\",\"service_tier\":\"default\",\"system_fingerprint\":null,\"choices\":%s,%s,\"obfuscation\":\"Zk3vQ9\"}\n\n", model, choices, usage)
	}
	chunks := [][]byte{event(`[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}]`, `"usage":null`)}
	for len(chunks) < sseChunks-3 {
		chunks = append(chunks, event(fmt.Sprintf(`[{"index":0,"delta":{"content":" word%d"},"logprobs":null,"finish_reason":null}]`, len(chunks)), `"usage":null`))
	}
	return append(chunks,
		event(`[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]`, `"usage":null`),
		event(`[]`, answerUsage),
		[]byte("data: [DONE]\n\n"))
}
