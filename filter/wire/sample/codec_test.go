package sample_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"keel/filter/wire"
	"keel/filter/wire/apis"
	"keel/filter/wire/encoding"
	"keel/filter/wire/sample"
)

var calls = []struct{ name, path, body string }{
	{"chat", "/v1/chat/completions", `{"model":"gpt-5","n":2,"messages":[{"role":"user","content":"hello there"}]}`},
	{"chat streamed", "/v1/chat/completions", `{"model":"gpt-5","n":2,"stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hello there"}]}`},
	{"responses", "/v1/responses", `{"model":"gpt-5","input":"hello there"}`},
	{"responses streamed", "/v1/responses", `{"model":"gpt-5","stream":true,"input":[{"role":"user","content":"hello there"}],"max_output_tokens":3}`},
	{"anthropic", "/v1/messages", `{"model":"claude-sonnet-5","max_tokens":100,"messages":[{"role":"user","content":"hello there"}]}`},
	{"anthropic streamed", "/v1/messages", `{"model":"claude-sonnet-5","max_tokens":3,"stream":true,"messages":[{"role":"user","content":"hello there"}]}`},
	{"gemini", "/v1beta/models/gemini-2.5-flash:generateContent", `{"contents":[{"parts":[{"text":"hello there"}]}]}`},
	{"gemini sse", "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", `{"contents":[{"parts":[{"text":"hello there"}]}],"generationConfig":{"candidateCount":2}}`},
	{"gemini list", "/v1beta/models/gemini-2.5-flash:streamGenerateContent", `{"contents":[{"parts":[{"text":"hello there"}]}]}`},
}

func match(t *testing.T, path string) wire.Codec {
	t.Helper()
	if codec, ok := apis.Match("", http.MethodPost, path); ok {
		return codec
	}
	t.Fatalf("no codec for %s", path)
	return nil
}

// read sends a call and reads the answer as the filter does: decoded and
// metered chunk by chunk as it comes.
func read(t *testing.T, url, path, body string, headers ...string) (int, wire.Reading) {
	t.Helper()
	codec := match(t, path)
	r, err := codec.ReadRequest(path, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	q, err := http.NewRequest(http.MethodPost, url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		q.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}}
	resp, err := client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	decoder, err := encoding.New(resp.Header.Get("content-encoding"), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	reader := codec.NewReader(r, resp.StatusCode, resp.Header)
	buf := make([]byte, 100)
	for {
		n, err := resp.Body.Read(buf)
		if err != nil && err != io.EOF { // cut: no end is fed
			plain, _ := decoder.Write(buf[:n], false)
			reader.Feed(plain, false)
			return resp.StatusCode, reader.Reading()
		}
		plain, bad := decoder.Write(buf[:n], err == io.EOF)
		if bad != nil {
			t.Fatal(bad)
		}
		reader.Feed(plain, err == io.EOF)
		if err == io.EOF {
			return resp.StatusCode, reader.Reading()
		}
	}
}

// What the codecs read is what the provider says that it served.
func TestUsageReadIsUsageServed(t *testing.T) {
	t.Parallel()
	p := sample.New(sample.Options{})
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	for _, c := range calls {
		for _, enc := range []string{"", "gzip", "br", "zstd", "deflate"} {
			status, got := read(t, s.URL, c.path, c.body, "x-sample-encoding", enc, "x-sample-cached-tokens", "2")
			all := p.Served()
			want := all[len(all)-1].Usage
			u := got.Usage
			if u == nil || u.InputTokens() != want.InputTokens || u.CachedInputTokens() != want.CachedTokens || u.OutputTokens() != want.OutputTokens {
				t.Errorf("%s, encoding %q: read %v, served %+v", c.name, enc, u, want)
			}
			if status != 200 || !got.Terminal || got.Partial || got.Failure != "" || got.OutputBytes == 0 || got.Model != all[len(all)-1].Model {
				t.Errorf("%s, encoding %q: %d %+v", c.name, enc, status, got)
			}
		}
		if _, got := read(t, s.URL, c.path, c.body, "x-sample-omit-usage", "true"); got.Usage != nil {
			t.Errorf("%s: usage %v was read where none was served", c.name, got.Usage)
		}
		for _, enc := range []string{"", "gzip", "br", "zstd"} {
			if _, got := read(t, s.URL, c.path, c.body, "x-sample-encoding", enc, "x-sample-cut-after", "60b"); got.Terminal {
				t.Errorf("%s, encoding %q: a cut answer reads as whole", c.name, enc)
			}
		}
		status, got := read(t, s.URL, c.path, c.body, "x-sample-status", "429")
		if status != 429 || got.Usage != nil || !strings.Contains(got.Failure, "429") {
			t.Errorf("%s: a refusal reads as %d %+v", c.name, status, got)
		}
	}
}

// The usage of an encoded stream is known before its end, not at it.
func TestUsageComesWithItsEvent(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(sample.New(sample.Options{}))
	t.Cleanup(s.Close)
	for _, enc := range []string{"gzip", "br", "zstd"} {
		_, got := read(t, s.URL, "/v1/messages", calls[5].body, "x-sample-encoding", enc, "x-sample-cut-after", "1")
		if got.Usage == nil || !got.Partial {
			t.Errorf("%s: after the first event the reading is %+v", enc, got)
		}
	}
}
