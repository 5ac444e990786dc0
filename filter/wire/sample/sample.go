package sample

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"keel/filter/wire"
)

// NoSuchModel is the one model that the provider does not have.
const NoSuchModel = "no-such-model"

// maxBody is how much of a request is read.
const maxBody = 64 << 20

// Options set up a Provider. The zero value is good.
type Options struct {
	Keep int              // served requests to remember; 0 means 1000
	Now  func() time.Time // for creation times; nil means time.Now
}

// A Provider answers like a provider. It is safe for concurrent use.
type Provider struct {
	now      func() time.Time
	log      log
	attempts attempts
	ids      atomic.Uint64
}

// New returns a provider, an http.Handler.
func New(o Options) *Provider {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Keep <= 0 {
		o.Keep = 1000
	}
	return &Provider{now: o.Now, log: log{keep: o.Keep}}
}

// apiOf tells the API from a path, which may carry a prefix; "" if none.
func apiOf(path string) wire.API {
	switch {
	case strings.HasSuffix(path, "/chat/completions"):
		return wire.OpenAIChat
	case strings.HasSuffix(path, "/responses"):
		return wire.OpenAIResponses
	case strings.HasSuffix(path, "/v1/messages"):
		return wire.Anthropic
	case strings.Contains(path, "/models/") && strings.HasSuffix(path, ":generateContent"):
		return wire.GeminiGenerate
	case strings.Contains(path, "/models/") && strings.HasSuffix(path, ":streamGenerateContent"):
		return wire.GeminiStream
	}
	return ""
}

// ServeHTTP implements http.Handler.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	api := apiOf(r.URL.Path)
	switch {
	case r.URL.Path == "/" && r.Method == http.MethodGet:
		fmt.Fprintln(w, "Keel's sample provider: OpenAI /v1/chat/completions and /v1/responses, Anthropic /v1/messages, Gemini /v1beta/models/{model}:generateContent; it answers without a model and bills nobody.")
		return
	case r.URL.Path == "/_sample/served" && r.Method == http.MethodGet:
		p.log.serve(w)
		return
	case api == "" || r.Method != http.MethodPost:
		http.Error(w, "404 the sample provider has no "+r.Method+" "+r.URL.Path, http.StatusNotFound)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	s := Served{
		API: api, Method: r.Method, Path: r.URL.RequestURI(), Host: r.Host, Header: r.Header.Clone(),
		RequestBody: string(body), At: p.now(), Status: http.StatusOK,
	}
	if err != nil {
		s.Status = http.StatusBadRequest
		p.fail(w, s, "the request body could not be read: "+err.Error(), "")
		return
	}
	f, err := parseFaults(r.Header)
	if err != nil {
		s.Status = http.StatusBadRequest
		p.fail(w, s, err.Error(), "")
		return
	}
	a, err := readAsk(api, r.URL.Path, r.URL.Query().Get("alt"), body)
	s.Model, s.Stream = a.model, a.stream
	if !sleep(r, f.delay) {
		s.Ended = EndedAborted
		p.log.add(&s)
		return
	}
	switch {
	case err != nil:
		s.Status = http.StatusBadRequest
		p.fail(w, s, err.Error(), "")
	case f.status != 0:
		s.Status = f.status
		p.fail(w, s, fmt.Sprintf("the request asked for status %d", f.status), f.retryAfter)
	case p.attempts.next(f.key) <= f.failFirst:
		s.Status = http.StatusServiceUnavailable
		p.fail(w, s, fmt.Sprintf("one of the first %d attempts", f.failFirst), f.retryAfter)
	case a.model == NoSuchModel:
		s.Status = http.StatusNotFound
		p.fail(w, s, fmt.Sprintf("The model %q does not exist or you do not have access to it.", a.model), "")
	default:
		p.answer(w, r, s, f, a)
	}
}

// answer gives the answer to a request that is to succeed.
func (p *Provider) answer(w http.ResponseWriter, r *http.Request, s Served, f faults, a ask) {
	d := a.draft(f)
	d.id = p.ids.Add(1)
	d.created = s.At.Unix()
	if f.echo {
		d.words = []string{s.RequestBody}
	}
	if !f.omitUsage {
		s.Usage = &d.usage
	}
	entry := &s
	p.log.add(entry)
	end, err := send(w, r, f, render(d))
	p.log.finish(entry, end)
	if errors.Is(err, errCut) {
		panic(http.ErrAbortHandler) // closes the connection (HTTP/2: resets the stream) without an end of the body
	}
}

// fail gives an error in the shape of the API.
func (p *Provider) fail(w http.ResponseWriter, s Served, message, retryAfter string) {
	if retryAfter != "" {
		w.Header().Set("retry-after", retryAfter)
	}
	w.Header().Set("content-type", "application/json")
	w.WriteHeader(s.Status)
	_, _ = w.Write(errorBody(s.API, s.Status, message, p.ids.Add(1)))
	s.Ended = EndedWhole
	p.log.add(&s)
}

// sleep waits; false means that the client went away.
func sleep(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.Context().Done():
		return false
	}
}
