package metering

import (
	"strings"
	"testing"
	"time"

	"keel/filter/wire/recording"
	"keel/pricing"
	"keel/pricing/tokens"
)

// TestNotes: whoever reads a result learns why there is no usage, or no cost.
func TestNotes(t *testing.T) {
	t.Parallel()
	m := Meter{Book: pricing.Catalog(), Estimator: tokens.New(), At: time.Date(2026, 8, 22, 0, 0, 0, 0, time.UTC)}
	for _, test := range []struct{ name, path, request, response, note string }{
		{"no usage", "/v1/chat/completions", `{"model":"gpt-4o-mini","messages":[]}`, `{"choices":[]}`, "unmetered: the response tells no usage"},
		{"cut", "/v1/chat/completions", `{"model":"gpt-4o-mini","messages":[]}`, `{"choices":[`, "unmetered: the response was cut"},
		{"background", "/v1/responses", `{"model":"gpt-5","background":true,"input":"x"}`, `{"id":"resp_1","status":"queued","usage":null}`, "unmetered: the job goes on in the background"},
		{"no price", "/v1/chat/completions", `{"model":"nobody-sells","messages":[]}`, `{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`, "unpriced: "},
		{"all is well", "/v1/chat/completions", `{"model":"gpt-4o-mini","messages":[]}`, `{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`, ""},
	} {
		r := m.Meter(&recording.Exchange{Method: "POST", Path: test.path, Status: 200, RequestText: &test.request, ResponseText: &test.response})
		if r.Err != nil || !strings.HasPrefix(r.Note, test.note) || (test.note == "") != (r.Note == "") {
			t.Errorf("%s: note %q, error %v; want %q", test.name, r.Note, r.Err, test.note)
		}
		if r.Provider != "openai" || r.Request == nil || r.Input.Bound < r.Input.Expected {
			t.Errorf("%s: %+v", test.name, r)
		}
		if r.Expected != nil && *r.Bound < *r.Expected {
			t.Errorf("%s: expected %s above the bound %s", test.name, r.Expected, r.Bound)
		}
	}
}

// TestPanic: a mistake of ours in one exchange is an error of its result.
func TestPanic(t *testing.T) {
	t.Parallel()
	m := Meter{Book: pricing.Catalog()} // no estimator
	body := `{"model":"gpt-4o-mini","messages":[]}`
	r := m.Meter(&recording.Exchange{Provider: "openai", Method: "POST", Path: "/v1/chat/completions", RequestText: &body})
	if r.Err == nil || !strings.Contains(r.Err.Error(), "please report it") || r.Provider != "openai" {
		t.Errorf("%+v", r)
	}
}
