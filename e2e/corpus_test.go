package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
)

// exchange is one recorded call, in the corpus' own field names.
type exchange struct {
	ID              string            `json:"id"`
	Provider        string            `json:"provider"`
	API             string            `json:"api"`
	Op              string            `json:"op"`
	Method          string            `json:"method"`
	Host            string            `json:"host"`
	Path            string            `json:"path"`
	RequestHeaders  map[string]string `json:"request_headers"`
	RequestBody     string            `json:"request_body"`
	Status          int               `json:"status"`
	ResponseHeaders map[string]string `json:"response_headers"`
	ResponseBody    string            `json:"response_body"`
	ResponseBodyB64 string            `json:"response_body_b64"`
	Stream          bool              `json:"stream"`
	Framing         string            `json:"framing"`
	Suspect         bool              `json:"suspect_synthetic"`
	Usage           json.RawMessage   `json:"usage_expected"`
}

// TestCorpus replays what OpenAI, Anthropic and Google were asked and answered
// through Envoy, and compares the record with the usage that they reported.
func TestCorpus(t *testing.T) {
	t.Parallel()
	exchanges := readCorpus(t)
	s := start(t, stackOptions{upstream: replayed(exchanges), args: []string{"--no-sample"}})

	decisions := make(map[string]*exchange, len(exchanges)) // by decision id
	var mu sync.Mutex
	s.replay(t, exchanges, func(x *exchange, got *answer) {
		// What the provider refused as malformed, Keel may refuse before it.
		refused := got.header.Get("x-should-retry") == "false" && x.Status == http.StatusBadRequest && got.header.Get("x-keel-model") == ""
		if want := x.body(t); !refused && x.passesUnchanged() && !bytes.Equal(x.decode(t, got), want) {
			t.Errorf("%s: the client got another body than the provider sent", x.ID)
		}
		mu.Lock()
		decisions[got.decision()] = x
		mu.Unlock()
	})
	if t.Failed() {
		return
	}
	records := s.allClosed(t, len(exchanges))
	of := make(map[string]record, len(decisions))
	for id, x := range decisions {
		of[x.ID] = records[id]
	}
	compareCorpus(t, exchanges, of)
}

func replayed(exchanges []*exchange) *replay {
	upstream := &replay{byID: make(map[string]*exchange, len(exchanges))}
	for _, x := range exchanges {
		upstream.byID[x.ID] = x
	}
	return upstream
}

// replay makes all calls, some at a time.
func (s *stack) replay(t *testing.T, exchanges []*exchange, did func(*exchange, *answer)) {
	work := make(chan *exchange)
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for x := range work {
				got := s.do(t, x.Method, x.Path, strings.NewReader(x.RequestBody), "host: "+x.Host, "x-corpus-id: "+x.ID, "x-keel-user: "+x.ID)
				if got.status != x.Status {
					t.Errorf("%s: status %d, recorded %d: %s", x.ID, got.status, x.Status, tail(got.body, 300))
				}
				did(x, got)
			}
		})
	}
	for _, x := range exchanges {
		work <- x
	}
	close(work)
	workers.Wait()
}

// compareCorpus compares records, by exchange, with what providers reported.
func compareCorpus(t *testing.T, exchanges []*exchange, records map[string]record) {
	t.Helper()
	var compared, failures int
	for _, x := range exchanges {
		r := records[x.ID]
		if r == nil {
			t.Errorf("%s: no record", x.ID)
			continue
		}
		want := x.usage(t)
		if want == nil {
			if r["metered"] == "provider" {
				t.Errorf("%s: metered by provider, which reported nothing: %v", x.ID, r)
			}
			continue
		}
		compared++
		for column, n := range want {
			if got := r[column]; got != strconv.FormatInt(n, 10) {
				failures++
				t.Errorf("%s (%s %s): %s = %s, the provider said %d: %s", x.ID, x.Provider, x.API, column, got, n, x.Usage)
			}
		}
		if r["metered"] != "provider" {
			t.Errorf("%s: metered %q, want provider; usage %s", x.ID, r["metered"], x.Usage)
		}
	}
	t.Logf("%d exchanges replayed, %d with usage compared, %d figures differ", len(exchanges), compared, failures)
	if compared == 0 {
		t.Error("nothing was compared")
	}
}

func readCorpus(t *testing.T) []*exchange {
	files, _ := filepath.Glob(filepath.Join(root(t), "..", "shared", "corpus", "*.jsonl.gz"))
	if len(files) == 0 {
		t.Skip("no recorded traffic: ../shared/corpus is not beside the checkout")
	}
	var all []*exchange
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(plain)
		lines.Buffer(nil, 4<<20)
		for lines.Scan() {
			x := new(exchange)
			if err := json.Unmarshal(lines.Bytes(), x); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if x.wanted() {
				all = append(all, x)
			}
		}
		if err := lines.Err(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		f.Close()
	}
	return all
}

func (x *exchange) wanted() bool {
	if x.Suspect || x.Op != "generate" {
		return false
	}
	switch x.Provider {
	case "openai", "anthropic", "google":
	default:
		return false
	}
	switch x.API {
	case "openai.chat", "openai.responses", "anthropic.messages", "gemini.generateContent", "gemini.streamGenerateContent":
		return true
	}
	return false
}

func (x *exchange) body(t *testing.T) []byte {
	if x.ResponseBodyB64 == "" {
		return []byte(x.ResponseBody)
	}
	b, err := base64.StdEncoding.DecodeString(x.ResponseBodyB64)
	if err != nil {
		t.Fatalf("%s: %v", x.ID, err)
	}
	return b
}

// passesUnchanged: Keel hides the usage chunk that it forced, and nothing else.
// Recordings have it only where the client asked, so nothing is hidden here.
func (x *exchange) passesUnchanged() bool {
	return x.API != "openai.chat" || !x.Stream || strings.Contains(x.RequestBody, "include_usage")
}

func (x *exchange) encoding() string {
	switch e := x.ResponseHeaders["content-encoding"]; e {
	case "gzip", "br":
		return e
	}
	return ""
}

func (x *exchange) decode(t *testing.T, got *answer) []byte {
	switch got.header.Get("content-encoding") {
	case "gzip":
		r, err := gzip.NewReader(bytes.NewReader(got.body))
		if err != nil {
			t.Errorf("%s: %v", x.ID, err)
			return nil
		}
		return readAll(t, r)
	case "br":
		return readAll(t, brotli.NewReader(bytes.NewReader(got.body)))
	}
	return got.body
}

// usage is the provider's own, in the record's columns; nil where it said none.
func (x *exchange) usage(t *testing.T) map[string]int64 {
	if len(x.Usage) == 0 || string(x.Usage) == "null" || string(x.Usage) == "{}" {
		return nil
	}
	type details struct {
		Cached    int64 `json:"cached_tokens"`
		Reasoning int64 `json:"reasoning_tokens"`
	}
	var u struct {
		PromptTokens     int64   `json:"prompt_tokens"`
		CompletionTokens int64   `json:"completion_tokens"`
		TotalTokens      int64   `json:"total_tokens"`
		PromptDetails    details `json:"prompt_tokens_details"`
		ComplDetails     details `json:"completion_tokens_details"`

		InputTokens   int64   `json:"input_tokens"`
		OutputTokens  int64   `json:"output_tokens"`
		InputDetails  details `json:"input_tokens_details"`
		OutputDetails details `json:"output_tokens_details"`

		CacheRead  int64 `json:"cache_read_input_tokens"`
		CacheWrite int64 `json:"cache_creation_input_tokens"`

		Prompt     int64 `json:"promptTokenCount"`
		ToolPrompt int64 `json:"toolUsePromptTokenCount"`
		Candidates int64 `json:"candidatesTokenCount"`
		Thoughts   int64 `json:"thoughtsTokenCount"`
		Cached     int64 `json:"cachedContentTokenCount"`
	}
	unmarshal(t, x.Usage, &u)
	switch x.API {
	case "openai.chat":
		output := u.CompletionTokens
		if x.Provider == "google" { // its thoughts are in the total alone
			output = max(output, u.TotalTokens-u.PromptTokens)
		}
		return map[string]int64{
			"input_tokens": u.PromptTokens, "output_tokens": output,
			"cached_input_tokens": min(u.PromptDetails.Cached, u.PromptTokens),
		}
	case "openai.responses":
		return map[string]int64{
			"input_tokens": u.InputTokens, "output_tokens": u.OutputTokens,
			"cached_input_tokens": min(u.InputDetails.Cached, u.InputTokens), "reasoning_tokens": u.OutputDetails.Reasoning,
		}
	case "anthropic.messages":
		return map[string]int64{
			"input_tokens": u.InputTokens + u.CacheRead + u.CacheWrite, "output_tokens": u.OutputTokens,
			"cached_input_tokens": u.CacheRead, "cache_write_tokens": u.CacheWrite,
		}
	}
	return map[string]int64{
		"input_tokens": u.Prompt + u.ToolPrompt, "output_tokens": u.Candidates + u.Thoughts,
		"cached_input_tokens": min(u.Cached, u.Prompt+u.ToolPrompt), "reasoning_tokens": u.Thoughts,
	}
}

// replay answers each call with its recording, compressed as it was on the wire.
type replay struct {
	byID map[string]*exchange
}

func (p *replay) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := p.byID[r.Header.Get("x-corpus-id")]
	if x == nil {
		http.Error(w, "no such recording", http.StatusTeapot)
		return
	}
	contentType := x.ResponseHeaders["content-type"]
	if contentType == "" || strings.Contains(contentType, "REDACTED") {
		contentType = "application/json"
		if x.Framing == "sse" {
			contentType = "text/event-stream"
		}
	}
	body := []byte(x.ResponseBody)
	if x.ResponseBodyB64 != "" {
		body, _ = base64.StdEncoding.DecodeString(x.ResponseBodyB64)
	}
	w.Header().Set("content-type", contentType)
	if e := x.encoding(); e != "" {
		w.Header().Set("content-encoding", e)
		var packed bytes.Buffer
		switch e {
		case "gzip":
			z := gzip.NewWriter(&packed)
			z.Write(body)
			z.Close()
		case "br":
			z := brotli.NewWriter(&packed)
			z.Write(body)
			z.Close()
		}
		body = packed.Bytes()
	}
	if !x.Stream {
		w.Header().Set("content-length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(x.Status)
	if share, err := strconv.Atoi(r.Header.Get("x-corpus-percent")); err == nil { // and then hang up
		defer func() {
			time.Sleep(100 * time.Millisecond) // what was sent has to arrive
			panic(http.ErrAbortHandler)
		}()
		body = body[:len(body)*share/100]
	}
	for len(body) > 0 { // in pieces that are no events
		n := min(len(body), 1500)
		w.Write(body[:n])
		if x.Stream {
			w.(http.Flusher).Flush()
		}
		body = body[n:]
	}
}

// allClosed waits for n closed records and returns them by decision id.
func (s *stack) allClosed(t *testing.T, n int) map[string]record {
	t.Helper()
	var count string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		rows, err := s.query(t, "select jsonb_build_object('n', count(*)::text) from keel.spend_records where outcome <> 'open'")
		if err != nil {
			t.Fatal(err)
		}
		if count = rows[0]["n"]; count == fmt.Sprint(n) {
			break
		}
	}
	rows, err := s.query(t, "select to_jsonb(r) from keel.spend_records r")
	if err != nil {
		t.Fatal(err)
	}
	if count != fmt.Sprint(n) {
		t.Errorf("%s closed records of %d calls", count, n)
	}
	records := make(map[string]record, len(rows))
	for _, r := range rows {
		records[r["decision_id"]] = r
	}
	return records
}
