package mistral

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"keel/filter/wire"
	"keel/filter/wire/wiretest"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		provider, method, path string
		ok                     bool
	}{
		{"mistral", "POST", "/v1/ocr", true}, {"", "POST", "/v1/ocr?x=y", true}, {"azure", "POST", "/providers/mistral/azure/ocr", true},
		{"", "POST", "/scan/ocr", false}, {"openai", "POST", "/v1/ocr", false}, {"mistral", "GET", "/v1/ocr", false}, {"mistral", "POST", "/v1/chat/completions", false},
	} {
		if _, ok := Match(c.provider, c.method, c.path); ok != c.ok {
			t.Errorf("%s %s of %q: %v", c.method, c.path, c.provider, ok)
		}
	}
}

func TestRequest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		document string
		want     tokens.Prompt
	}{
		{`{"type":"document_url","document_url":"data:application/pdf;base64,AAAA"}`, tokens.Prompt{Media: []tokens.Media{{Kind: tokens.Document, Bytes: 4}}}},
		{`{"type":"document_url","document_url":"https://x/y.pdf"}`, tokens.Prompt{Hosted: "file URL"}},
		{`{"type":"image_url","image_url":"data:image/png;base64,AAAA"}`, tokens.Prompt{Images: []tokens.Image{{Bytes: 4}}}},
		{`{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}`, tokens.Prompt{Images: []tokens.Image{{Bytes: 4}}}},
		{`{"type":"file","file_id":"f"}`, tokens.Prompt{Hosted: "file id"}},
	} {
		body := []byte(`{"model":"m","document":` + c.document + `}`)
		r, err := ocr{}.ReadRequest("/v1/ocr", body)
		if err != nil {
			t.Errorf("%s: %v", c.document, err)
			continue
		}
		c.want.Task, c.want.Messages = tokens.Read, 1
		if diff := cmp.Diff(c.want, r.Prompt, wiretest.PromptOptions); diff != "" {
			t.Errorf("%s: %s", c.document, diff)
		}
		wiretest.Rewrite(t, ocr{}, "/v1/ocr", body)
	}
}

func TestResponse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		body   string
		status int
		want   wire.Reading
	}{
		{`{"pages":[],"model":"m","usage_info":{"pages_processed":3,"doc_size_bytes":1}}`, 200,
			wire.Reading{Usage: &meter.Usage{meter.Pages: 3}, RawUsage: []byte(`{"pages_processed":3,"doc_size_bytes":1}`), Model: "m", Terminal: true}},
		{`{"pages":[{"markdown":"message"}],"model":"m"}`, 200, wire.Reading{Model: "m", Terminal: true}},
		{`{"pages":[{`, 200, wire.Reading{}},
		{`{"detail":[{"loc":["body"],"msg":"field required"}]}`, 422, wire.Reading{Failure: "field required", Terminal: true}},
		{`{"object":"error","message":"Unauthorized"}`, 401, wire.Reading{Failure: "Unauthorized", Terminal: true}},
	} {
		for seed := range uint64(5) {
			got := wiretest.Read(t, ocr{}, &wire.Request{}, wiretest.Response{Status: c.status, Body: []byte(c.body)}, seed)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s: %s", c.body, diff)
				break
			}
		}
	}
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	_, got := ocr{}.Refuse(wire.Refusal{Status: 429, Code: "budget_exceeded", Message: "no", DecisionID: "d1"})
	if want := `{"object":"error","message":"no","type":"budget_exceeded","param":null,"code":"budget_exceeded","keel":{"decision_id":"d1"}}` + "\n"; string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func FuzzReadRequest(f *testing.F) {
	f.Add(`{"model":"m","document":{"document_url":"data:application/pdf;base64,AAAA"}}`)
	f.Add(`{"model":"m","document":{"image_url":{"url":"data:image/png;base64,AAAA"}}}`)
	f.Fuzz(func(t *testing.T, body string) {
		if _, err := (ocr{}).ReadRequest("/v1/ocr", []byte(body)); err == nil {
			wiretest.Rewrite(t, ocr{}, "/v1/ocr", []byte(body))
		}
	})
}

func FuzzReader(f *testing.F) {
	f.Add(`{"usage_info":{"pages_processed":3}}`, uint64(3))
	f.Fuzz(func(t *testing.T, body string, seed uint64) {
		wiretest.Fuzz(t, ocr{}, &wire.Request{}, 200, []byte(body), seed)
	})
}
