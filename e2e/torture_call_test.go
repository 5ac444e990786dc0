//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// tortureFiller is what long bodies are made of.
var tortureFiller = strings.Repeat("Hello there. ", 40<<20/len("Hello there. "))

// torment is one call of TestTorture, as its seed has it.
type torment struct {
	id      string
	api     string // openai, anthropic, away (no API that Keel knows)
	method  string
	size    int // of the prompt, in bytes
	stream  bool
	spoil   string // of the body: "", "json" (it is none), "trailers", "expect", "drops", "chunked"
	team    string
	org     string
	script  string
	h2, own bool          // its connection, and whether no other call shares it
	leave   string        // "", "sending", "waiting", "reading"
	after   time.Duration // of leave
	lazy    time.Duration // for which it does not read the answer

	got, last atomic.Int64 // bytes of the answer, and when the last of them came, in milliseconds of Unix
}

func (c *torment) String() string {
	return fmt.Sprintf("%s: %s %s of %d bytes (%s), stream %t, org %q, team %q, h2 %t, alone %t; %q; leaves %q after %v, lazy %v; got %d bytes, the last %v ago", c.id, c.method, c.api, c.size, c.spoil, c.stream,
		c.org, c.team, c.h2, c.own, c.script, c.leave, c.after, c.lazy, c.got.Load(), time.Since(time.UnixMilli(c.last.Load())).Round(time.Millisecond))
}

// draw makes up a call. One that its provider may leave without an answer leaves by itself where brief.
func draw(r *rand.Rand, id string, brief bool) *torment {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	c := &torment{
		id: id, method: http.MethodPost, api: pick("openai", "openai", "openai", "anthropic", "anthropic", "google", "google", "away"), stream: r.IntN(2) == 0,
		spoil: pick("", "", "", "", "", "json", "trailers", "expect", "drops", "chunked", "chunked"), team: pick("", "", "", "", "watched", "watched", "capped", "capped", "denied"), org: pick("", "roomy"),
		h2: r.IntN(2) == 0, own: r.IntN(3) == 0,
	}
	switch n := r.IntN(100); {
	case n < 50:
		c.size = 100 + r.IntN(5000)
	case n < 75:
		c.size = r.IntN(1 << 20)
	case n < 90:
		c.size = r.IntN(4 << 20)
	case n < 98:
		c.size = r.IntN(20 << 20)
	default:
		c.size = 34 << 20 // more than is taken
	}
	if r.IntN(30) == 0 {
		c.method, c.size, c.spoil = pick(http.MethodGet, http.MethodHead), 0, ""
	}
	var words []string
	for range 1 + r.IntN(4) {
		words = append(words, tortures[r.IntN(len(tortures))])
	}
	c.script = strings.Join(words, " ")
	c.after = time.Duration(r.IntN(1500)) * time.Millisecond
	if r.IntN(3) == 0 {
		c.leave = pick("sending", "waiting", "reading")
	}
	if r.IntN(6) == 0 {
		c.lazy = time.Duration(r.IntN(3000)) * time.Millisecond
	}
	if brief && c.leave != "sending" && (strings.Contains(c.script, "hang") || c.api == "google") {
		c.leave = "waiting"
	}
	return c
}

// path is where it goes, and how its body begins and ends.
func (c *torment) path() (path, head, tail string) {
	model, path := "gpt-5-mini", "/v1/chat/completions"
	switch c.api {
	case "anthropic":
		model, path = "claude-sonnet-4-5", "/v1/messages"
	case "google":
		return "/v1beta/models/gemini-2.5-flash:generateContent", `{"contents":[{"role":"user","parts":[{"text":"`, `"}]}]}`
	case "away":
		path = "/away"
	}
	return path, fmt.Sprintf(`{"model":%q,"max_tokens":20,"stream":%t,"messages":[{"role":"user","content":"`, model, c.stream), `"}]}`
}

var (
	errLeft    = errors.New("the client left")
	errEndless = errors.New("the call does not end")
)

// make makes the call, and returns how it ended for its client. It gives up, as no client should have to, when nothing has come for as long as most.
func (c *torment) make(ctx context.Context, url string, shared *http.Transport, most time.Duration) (err error) {
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	endless := time.AfterFunc(most, func() { leave(errEndless) })
	defer endless.Stop()
	defer func() {
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
		}
	}()
	later := func() { time.AfterFunc(c.after, func() { leave(errLeft) }) }
	path, head, tail := c.path()
	if c.spoil == "json" {
		tail = "\xff}"
	}
	var body io.Reader = io.MultiReader(strings.NewReader(head), strings.NewReader(tortureFiller[:c.size]), strings.NewReader(tail))
	length := int64(len(head) + c.size + len(tail))
	if c.leave == "sending" {
		body = &slowly{ctx: ctx, from: body, pieces: 4, size: length, pause: c.after/3 + time.Millisecond}
		later()
	} else if c.spoil == "drops" {
		body = &slowly{ctx: ctx, from: body, pieces: 10, size: length, pause: 50 * time.Millisecond}
	}
	if c.method != http.MethodPost {
		body, length = http.NoBody, 0
	}
	request, err := http.NewRequestWithContext(ctx, c.method, url+path, body)
	if err != nil {
		return err
	}
	request.ContentLength = length
	headers := []string{tortureCall + ": " + c.id, tortureScript + ": " + c.script, "x-keel-user: " + c.id, "x-keel-team: " + c.team,
		"x-envoy-hedge-on-per-try-timeout: true", "x-envoy-upstream-rq-per-try-timeout-ms: 100", "x-envoy-retry-on: 5xx"} // which Envoy is not to follow
	if c.org != "" {
		headers = append(headers, "x-keel-org: "+c.org)
	}
	if host := apiHosts[c.api]; host != "" {
		headers = append(headers, "host: "+host)
	} else if c.own || c.h2 {
		headers = append(headers, "host: "+apiHosts["openai"]) // it passes as it comes
	}
	switch c.spoil {
	case "chunked":
		request.ContentLength = -1
	case "trailers":
		request.ContentLength, request.Trailer = -1, http.Header{"X-After": {"all"}}
	case "expect":
		headers = append(headers, "expect: 100-continue")
	}
	setHeaders(request, headers)
	transport := shared
	if c.own {
		transport = tortureTransport(c.h2)
		defer transport.CloseIdleConnections()
	}
	if c.leave == "waiting" {
		later()
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if c.leave == "reading" {
		later()
	}
	if c.lazy > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(c.lazy):
		}
	}
	for piece := make([]byte, 64<<10); ; {
		n, err := response.Body.Read(piece)
		if c.got.Add(int64(n)); n > 0 {
			c.last.Store(time.Now().UnixMilli())
			endless.Reset(most) // a client with a small buffer may take its time
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// tortureTransport connects as a client does that has little room for what it does not read; but for two segments of the loopback device, which are
// 64 KiB: with less, TCP sends 150 kB a second.
func tortureTransport(h2 bool) *http.Transport {
	t := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64, ExpectContinueTimeout: time.Second, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			err = conn.(*net.TCPConn).SetReadBuffer(128 << 10)
		}
		return conn, err
	}}
	if h2 {
		t.Protocols = new(http.Protocols)
		t.Protocols.SetUnencryptedHTTP2(true)
		t.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10, MaxReceiveBufferPerConnection: 1 << 20}
	}
	return t
}

// slowly reads in pieces with pauses between them.
type slowly struct {
	ctx          context.Context
	from         io.Reader
	pieces, left int64
	size         int64
	pause        time.Duration
}

func (s *slowly) Read(p []byte) (int, error) {
	if s.left <= 0 {
		s.left = s.size/s.pieces + 1
		select {
		case <-s.ctx.Done():
			return 0, context.Cause(s.ctx)
		case <-time.After(s.pause):
		}
	}
	n, err := s.from.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	return n, err
}
