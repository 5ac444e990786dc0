package sample

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keel/filter/wire"
)

func start(t *testing.T, o Options) (*Provider, string) {
	t.Helper()
	p := New(o)
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return p, s.URL
}

// post sends a request; headers are pairs.
func post(t *testing.T, url, body string, headers ...string) (*http.Response, string, error) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}}).Do(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

// ended waits until nothing is being served: a client can have the whole
// answer an instant before the log knows it.
func ended(p *Provider) []Served {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		all := p.Served()
		if !slices.ContainsFunc(all, func(s Served) bool { return s.Ended == "" }) || time.Now().After(deadline) {
			return all
		}
	}
}

// One request of each API, whole and streamed.
var calls = []struct {
	name, path, body string
	api              wire.API
	stream           bool
}{
	{"chat", "/v1/chat/completions", `{"model":"gpt-5","messages":[{"role":"user","content":"hello there"}]}`, wire.OpenAIChat, false},
	{"chat-stream", "/v1/chat/completions", `{"model":"gpt-5","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hello there"}],"max_tokens":2}`, wire.OpenAIChat, true},
	{"chat-stream-unasked", "/v1/chat/completions", `{"model":"gpt-5","stream":true,"messages":[{"role":"user","content":"hello there"}],"max_tokens":2}`, wire.OpenAIChat, true},
	{"responses", "/v1/responses", `{"model":"gpt-5","input":"hello there"}`, wire.OpenAIResponses, false},
	{"responses-stream", "/v1/responses", `{"model":"gpt-5","stream":true,"input":"hello there","max_output_tokens":2}`, wire.OpenAIResponses, true},
	{"anthropic", "/v1/messages", `{"model":"claude-sonnet-5","max_tokens":100,"messages":[{"role":"user","content":"hello there"}]}`, wire.Anthropic, false},
	{"anthropic-stream", "/v1/messages", `{"model":"claude-sonnet-5","max_tokens":2,"stream":true,"messages":[{"role":"user","content":"hello there"}]}`, wire.Anthropic, true},
	{"gemini", "/v1beta/models/gemini-2.5-flash:generateContent", `{"contents":[{"parts":[{"text":"hello there"}]}]}`, wire.GeminiGenerate, false},
	{"gemini-sse", "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", `{"contents":[{"parts":[{"text":"hello there"}]}],"generationConfig":{"maxOutputTokens":2}}`, wire.GeminiStream, true},
	{"gemini-array", "/v1beta/models/gemini-2.5-flash:streamGenerateContent", `{"contents":[{"parts":[{"text":"hello there"}]}],"generation_config":{"max_output_tokens":2}}`, wire.GeminiStream, true},
}

func TestAnswersAreGolden(t *testing.T) {
	t.Parallel()
	for _, c := range calls {
		_, url := start(t, Options{Now: func() time.Time { return time.Unix(1760000000, 0) }})
		resp, body, err := post(t, url+c.path, c.body)
		if err != nil || resp.StatusCode != 200 {
			t.Errorf("%s: %v, %v: %s", c.name, err, resp, body)
			continue
		}
		golden(t, c.name, resp.Header.Get("content-type")+"\n\n"+body)
		if sse := strings.HasPrefix(resp.Header.Get("content-type"), "text/event-stream"); !sse {
			if !json.Valid([]byte(body)) {
				t.Errorf("%s: not JSON: %s", c.name, body)
			}
			continue
		}
		lines := bufio.NewScanner(strings.NewReader(body))
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && data != "[DONE]" && !json.Valid([]byte(data)) {
				t.Errorf("%s: event is not JSON: %s", c.name, data)
			}
		}
	}
}

func TestUsageFollowsFromTheRequest(t *testing.T) {
	t.Parallel()
	for _, c := range calls {
		p, url := start(t, Options{})
		if _, _, err := post(t, url+c.path, c.body, "x-sample-cached-tokens", "3", "x-sample-output-tokens", "2"); err != nil {
			t.Fatal(err)
		}
		// The roles are strings of the text too, where the API has them in it.
		text := int64(len("hello there"))
		if strings.Contains(c.body, `"role":"user"`) {
			text += int64(len("user"))
		}
		s := ended(p)[0]
		want := Usage{InputTokens: InputTokens(text, 1), CachedTokens: 3, OutputTokens: 2}
		if s.Usage == nil || *s.Usage != want {
			t.Errorf("%s: usage %+v, want %+v", c.name, s.Usage, want)
		}
		if s.API != c.api || s.Stream != c.stream || s.Model == "" || s.RequestBody != c.body || s.Path != c.path || s.Ended != EndedWhole {
			t.Errorf("%s: served %+v", c.name, s)
		}
	}
	if a, b := InputTokens(5, 2), OutputTokens(30, 0); a != 2+8 || b != 13 {
		t.Errorf("InputTokens(5, 2) = %d, OutputTokens(30, 0) = %d; the package doc says 10 and 13", a, b)
	}
	if n := OutputTokens(30, 4); n != 4 {
		t.Errorf("OutputTokens(30, 4) = %d, over its limit", n)
	}
}

func TestChoicesAreBilledEach(t *testing.T) {
	t.Parallel()
	p, url := start(t, Options{})
	for path, body := range map[string]string{
		"/v1/chat/completions":              `{"model":"m","n":3,"messages":[{"role":"user","content":"x"}],"max_completion_tokens":5}`,
		"/v1beta/models/m:generateContent":  `{"contents":"x","generationConfig":{"candidateCount":3,"maxOutputTokens":5}}`,
		"/v1beta/models/m2:generateContent": `{"contents":{"parts":{"text":"x"}},"generation_config":{"candidate_count":3,"max_output_tokens":5}}`,
	} {
		if _, b, err := post(t, url+path, body); err != nil || strings.Count(b, `"index":`) != 3 {
			t.Errorf("%s: %v: %s", path, err, b)
		}
	}
	for _, s := range p.Served() {
		if s.Usage.OutputTokens != 15 {
			t.Errorf("%s: output %d, want 3 choices of 5", s.Path, s.Usage.OutputTokens)
		}
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	p, url := start(t, Options{})
	for _, c := range calls {
		for _, f := range []struct {
			headers []string
			body    string
			status  int
		}{
			{[]string{"x-sample-status", "429", "x-sample-retry-after", "7"}, c.body, 429},
			{[]string{"x-sample-status", "529"}, c.body, 529},
			{[]string{"x-sample-status", "418"}, c.body, 418},
			{[]string{"x-sample-status", "200"}, c.body, 400},
			{[]string{"x-sample-delay", "soon"}, c.body, 400},
			{[]string{"x-sample-cut-after", "-1"}, c.body, 400},
			{[]string{"x-sample-encoding", "rot13"}, c.body, 400},
			{nil, `{"model":`, 400},
			{nil, `{"model":"m"}`, 400},
		} {
			resp, body, err := post(t, url+c.path, f.body, f.headers...)
			if err != nil || resp.StatusCode != f.status || !json.Valid([]byte(body)) || !strings.Contains(body, `"error":{`) {
				t.Errorf("%s %v %s: %v %v: %s", c.name, f.headers, f.body, err, resp, body)
			}
			if f.status == 429 && resp.Header.Get("retry-after") != "7" {
				t.Errorf("%s: retry-after %q", c.name, resp.Header.Get("retry-after"))
			}
			if s := p.Served(); s[len(s)-1].Status != f.status || s[len(s)-1].Usage != nil {
				t.Errorf("%s: served %+v", c.name, s[len(s)-1])
			}
		}
		missing := strings.NewReplacer("gpt-5", NoSuchModel, "claude-sonnet-5", NoSuchModel, "gemini-2.5-flash", NoSuchModel)
		resp, body, err := post(t, url+missing.Replace(c.path), missing.Replace(c.body))
		if err != nil || resp.StatusCode != 404 || !strings.Contains(body, NoSuchModel) {
			t.Errorf("%s, unknown model: %v %v: %s", c.name, err, resp, body)
		}
	}
	resp, body, err := post(t, url+"/v1/messages", `{"model":"m","messages":[{"role":"user","content":"x"}]}`)
	if err != nil || resp.StatusCode != 400 || !strings.Contains(body, "max_tokens: Field required") {
		t.Errorf("anthropic without max_tokens: %v: %s", err, body)
	}
}

func TestErrorShapes(t *testing.T) {
	t.Parallel()
	for api, want := range map[wire.API]string{
		wire.OpenAIChat:     `{"error":{"message":"m","type":"rate_limit_error","param":null,"code":null}}`,
		wire.Anthropic:      `{"type":"error","error":{"type":"rate_limit_error","message":"m"},"request_id":"req_000000000000000000000001"}`,
		wire.GeminiGenerate: `{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}`,
		wire.GeminiStream:   `[{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}]`,
	} {
		if got := string(errorBody(api, 429, "m", 1)); got != want {
			t.Errorf("%s: %s, want %s", api, got, want)
		}
	}
}

func TestFailFirst(t *testing.T) {
	t.Parallel()
	_, url := start(t, Options{})
	var got []int
	for _, key := range []string{"a", "a", "b", "a", "b", "b"} {
		resp, _, err := post(t, url+calls[0].path, calls[0].body, "x-sample-fail-first", "2", "x-sample-key", key)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, resp.StatusCode)
	}
	if diff := cmp.Diff([]int{503, 503, 503, 200, 503, 200}, got); diff != "" {
		t.Error(diff)
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	p, url := start(t, Options{})
	for _, c := range calls {
		_, whole, err := post(t, url+c.path, c.body)
		if err != nil {
			t.Fatal(err)
		}
		resp, _, err := post(t, url+c.path, c.body, "x-sample-cut-after", "0")
		if err == nil {
			t.Errorf("%s cut before the headers: answered %v", c.name, resp)
		}
		resp, got, err := post(t, url+c.path, c.body, "x-sample-cut-after", "30b")
		if err == nil || resp.StatusCode != 200 || len(got) != 30 || got[:20] != whole[:20] {
			t.Errorf("%s cut after 30 bytes: %v, %q", c.name, err, got)
		}
		if !c.stream {
			continue
		}
		_, got, err = post(t, url+c.path, c.body, "x-sample-cut-after", "1")
		if err == nil || len(got) == 0 || len(got) >= len(whole) {
			t.Errorf("%s cut after a chunk: %v, %q", c.name, err, got)
		}
		if s := ended(p); s[len(s)-1].Ended != EndedCut {
			t.Errorf("%s: served %+v", c.name, s[len(s)-1])
		}
	}
}

func TestDelaysAndAbort(t *testing.T) {
	t.Parallel()
	p, url := start(t, Options{})
	begin := time.Now()
	if _, _, err := post(t, url+calls[0].path, calls[0].body, "x-sample-delay", "60ms"); err != nil || time.Since(begin) < 60*time.Millisecond {
		t.Errorf("delay: %v after %v", err, time.Since(begin))
	}
	begin = time.Now()
	if _, _, err := post(t, url+calls[1].path, calls[1].body, "x-sample-chunk-delay", "20ms"); err != nil || time.Since(begin) < 80*time.Millisecond {
		t.Errorf("chunk delay: %v after %v", err, time.Since(begin))
	}
	r, _ := http.NewRequest(http.MethodPost, url+calls[1].path, strings.NewReader(calls[1].body))
	r.Header.Set("x-sample-chunk-delay", "1h")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close() // the client leaves
	deadline := time.Now().Add(10 * time.Second)
	for {
		if s := p.Served(); s[len(s)-1].Ended == EndedAborted {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the provider did not see that the client left")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestEcho(t *testing.T) {
	t.Parallel()
	_, url := start(t, Options{})
	_, body, err := post(t, url+"/v1/messages", calls[5].body, "x-sample-body-echo", "true")
	var m struct{ Content []struct{ Text string } }
	if err != nil || json.Unmarshal([]byte(body), &m) != nil || len(m.Content) != 1 || m.Content[0].Text != calls[5].body {
		t.Errorf("%v: %s", err, body)
	}
}

func TestOmitUsage(t *testing.T) {
	t.Parallel()
	p, url := start(t, Options{})
	for _, c := range calls {
		_, body, err := post(t, url+c.path, c.body, "x-sample-omit-usage", "1")
		if err != nil || strings.Contains(body, "okens\":") && !strings.Contains(body, "max_output_tokens") || strings.Contains(body, "TokenCount") {
			t.Errorf("%s: %v: %s", c.name, err, body)
		}
	}
	for _, s := range p.Served() {
		if s.Usage != nil {
			t.Errorf("%s: the log says %+v", s.Path, s.Usage)
		}
	}
}

func TestLogIsBoundedAndReadable(t *testing.T) {
	t.Parallel()
	p, url := start(t, Options{Keep: 3})
	for _, model := range []string{"a", "b", "c", "d", "e"} {
		if _, _, err := post(t, url+"/proxy/v1/chat/completions?x=1", `{"model":"`+model+`","messages":[]}`, "x-team", "red"); err != nil {
			t.Fatal(err)
		}
	}
	var models string
	for _, s := range p.Served() {
		models += s.Model
	}
	if models != "cde" {
		t.Errorf("kept %q, want the last three", models)
	}
	resp, err := http.Get(url + "/_sample/served")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got []Served
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || len(got) != 3 {
		t.Fatalf("%v: %+v", err, got)
	}
	if s := got[2]; s.Model != "e" || s.Path != "/proxy/v1/chat/completions?x=1" || s.Header.Get("x-team") != "red" || s.Usage == nil {
		t.Errorf("%+v", s)
	}
}

func TestOtherPaths(t *testing.T) {
	t.Parallel()
	_, url := start(t, Options{})
	resp, err := http.Get(url + "/")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 200 || bytes.Count(b, []byte("\n")) != 1 {
		t.Errorf("GET /: %d %q", resp.StatusCode, b)
	}
	for _, path := range []string{"/v1/embeddings", "/v1/messages/count_tokens", "/v1beta/models/m:countTokens", "/_sample/served"} {
		if resp, _, err := post(t, url+path, "{}"); err != nil || resp.StatusCode != 404 {
			t.Errorf("POST %s: %v %v", path, err, resp)
		}
	}
}

func FuzzRequest(f *testing.F) {
	for _, c := range calls {
		f.Add(c.path, c.body, "2")
	}
	f.Add("/models/:generateContent", `{"contents":null,"generationConfig":{"candidateCount":99}}`, "9999999999")
	f.Fuzz(func(t *testing.T, path, body, output string) {
		r := httptest.NewRequest(http.MethodPost, "http://sample/", strings.NewReader(body))
		r.URL.Path = path
		r.Header.Set("x-sample-output-tokens", output[:min(len(output), 3)])
		w := httptest.NewRecorder()
		New(Options{}).ServeHTTP(w, r)
		if api := apiOf(path); api != "" && strings.HasPrefix(w.Header().Get("content-type"), typeJSON) && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: not JSON: %s", api, w.Body)
		}
	})
}
