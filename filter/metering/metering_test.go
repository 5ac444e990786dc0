package metering

import (
	"strings"
	"testing"
	"time"

	"keel/filter/wire/recording"
	"keel/pricing"
	"keel/pricing/meter"
)

const (
	mini      = `{"model":"gpt-4o-mini","max_tokens":5,` + ask
	miniReply = `{"id":"c","object":"chat.completion","created":1735689600,"model":"gpt-4o-mini-2024-07-18","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}`
)

// TestDate: the prices of the response's date, else of the body's, else of the meter's.
func TestDate(t *testing.T) {
	t.Parallel()
	book, err := pricing.Catalog().With([]pricing.Price{
		row("gpt-4o-mini", time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), 1),
		row("gpt-4o-mini", time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC), 2),
		row("gpt-4o-mini", time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC), 3),
	})
	if err != nil {
		t.Fatal(err)
	}
	m := catalogMeter()
	m.Book = book
	x := exchange("openai", chatPath, mini, strings.Replace(miniReply, `"created":1735689600,`, "", 1))
	if r := m.Meter(x); !r.At.Equal(day) || r.Cost.Total.String() != "0.000033" {
		t.Errorf("neither tells a date: priced at %s, %s", r.At, r.Cost.Total)
	}
	x = exchange("openai", chatPath, mini, miniReply)
	if r := m.Meter(x); r.At.Format(time.DateOnly) != "2025-01-01" || r.Cost.Total.String() != "0.000011" {
		t.Errorf("the body tells its creation: priced at %s, %s", r.At, r.Cost.Total)
	}
	x.ResponseHeaders = map[string]string{"DATE": "Mon, 01 Sep 2025 10:00:00 GMT", "Content-Encoding": "br"}
	r := m.Meter(x)
	if r.At.Format(time.DateOnly) != "2025-09-01" || r.Cost.Total.String() != "0.000022" || r.Err != nil {
		t.Errorf("the header tells a date: priced at %s, %s, %v", r.At, r.Cost.Total, r.Err)
	}
	x.ResponseHeaders["DATE"] = "yesterday"
	if r := m.Meter(x); r.At.Format(time.DateOnly) != "2025-01-01" {
		t.Errorf("a date header that is none: priced at %s", r.At)
	}
}

func row(model string, from time.Time, dollars pricing.PicoUSD) pricing.Price {
	rate := dollars * 1_000_000 // a million pico-dollars a token is a dollar a million tokens
	return pricing.Price{Provider: "openai", Model: model, EffectiveFrom: from,
		Tiers: []pricing.Step{{Rates: map[meter.Kind]pricing.PicoUSD{meter.Input: rate, meter.Output: rate}}}}
}

// TestUnknown: what nobody knows is nil with a note or an error, never zero.
func TestUnknown(t *testing.T) {
	t.Parallel()
	broken, text := "%", "{}"
	for _, test := range []struct {
		name      string
		x         *recording.Exchange
		err, note string // parts; "" for none at all
		usage     bool
	}{
		{"a path of no API", &recording.Exchange{Provider: "openai", Method: "GET", Path: "/v1/models"}, "not an API that Keel can read", "", false},
		{"a request that can't be read", exchange("openai", chatPath, `{"model":1}`, miniReply), "request: ", "", true},
		{"request base64", &recording.Exchange{Provider: "openai", Method: "POST", Path: chatPath, RequestBase64: &broken, ResponseText: &text}, "request_body_b64", "unmetered", false},
		{"response base64", &recording.Exchange{Provider: "openai", Method: "POST", Path: chatPath, RequestText: &text, ResponseBase64: &broken}, "response_body_b64", "", false},
		{"two bodies", &recording.Exchange{Provider: "openai", Method: "POST", Path: chatPath, RequestText: &text, RequestBase64: &broken}, "give one", "unmetered", false},
		{"a model without a price", exchange("openai", chatPath, `{"model":"nobodys",`+ask, `{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}`), "", "unpriced: ", true},
		{"a meter without a price", exchange("mistral", "/v1/audio/transcriptions", `{"model":"voxtral-mini-latest","file_url":"x"}`,
			`{"model":"voxtral-mini-latest","text":"x","usage":{"prompt_audio_seconds":4,"prompt_tokens":3,"completion_tokens":9,"total_tokens":12}}`), "", "unpriced: ", true},
		{"no usage", exchange("openai", chatPath, mini, `{"id":"c","object":"chat.completion","model":"gpt-4o-mini","choices":[]}`), "", "unmetered: the response tells no usage", false},
		{"cut before any usage", exchange("openai", chatPath, mini, miniReply[:60]), "", "unmetered: the response was cut", false},
		{"a job in the background", exchange("openai", "/v1/responses", `{"model":"gpt-5","background":true,"input":"hi"}`,
			`{"id":"resp_1","object":"response","status":"queued","model":"gpt-5","output":[],"usage":null}`), "", "unmetered: the job goes on", false},
		{"no cached prompt told", exchange("ollama", "/api/chat", `{"model":"llama3",`+ask,
			`{"model":"llama3","created_at":"2025-01-01T00:00:00Z","message":{"role":"assistant","content":"x"},"done":true,"done_reason":"stop","eval_count":79}`), "", "told a part of the usage only", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := catalogMeter().Meter(test.x)
			if (r.Err == nil) != (test.err == "") || r.Err != nil && !strings.Contains(r.Err.Error(), test.err) {
				t.Errorf("error %v, want %q", r.Err, test.err)
			}
			if (r.Note == "") != (test.note == "") || !strings.Contains(r.Note, test.note) {
				t.Errorf("note %q, want %q", r.Note, test.note)
			}
			if (r.Reading.Usage != nil) != test.usage {
				t.Errorf("usage %v", r.Reading.Usage)
			}
			if strings.Contains(test.note, "unpriced") && r.Priced || r.Reading.Usage == nil && r.Priced {
				t.Errorf("it has a cost: %s", r.Cost.Total)
			}
		})
	}
}

// TestFailed: an error of the provider is told, is billed nothing that anybody knows, and its request is estimated like any other.
func TestFailed(t *testing.T) {
	t.Parallel()
	x := exchange("openai", chatPath, mini, `{"error":{"message":"slow down","type":"rate_limit","param":null,"code":null}}`)
	x.Status = 429
	r := catalogMeter().Meter(x)
	if r.Err == nil || !strings.Contains(r.Err.Error(), "slow down") || r.Reading.Usage != nil || r.Priced || r.Note != "" {
		t.Errorf("%v, %v, %v, %q", r.Err, r.Reading.Usage, r.Priced, r.Note)
	}
	if r.Input.Expected != 9 || r.Expected == nil || r.Bound == nil || *r.Bound < *r.Expected {
		t.Errorf("estimate %+v, %v, %v", r.Input, r.Expected, r.Bound)
	}
	gateway := "<html>bad gateway</html>"
	x.Status, x.ResponseText = 502, &gateway
	if r := catalogMeter().Meter(x); r.Err == nil || !strings.Contains(r.Err.Error(), "bad gateway") || r.Terminal {
		t.Errorf("%v, terminal %v", r.Err, r.Terminal)
	}
}

// TestModel: the reported name is taken where it has a price, because it says
// which snapshot answered.
func TestModel(t *testing.T) {
	t.Parallel()
	for reported, want := range map[string]string{"gpt-4o-mini-2024-07-18": "gpt-4o-mini-2024-07-18", "private-name": "gpt-4o-mini"} {
		r := catalogMeter().Meter(exchange("openai", chatPath, mini, strings.Replace(miniReply, "gpt-4o-mini-2024-07-18", reported, 1)))
		if r.Model != want || !r.Priced || r.Cost.Total.String() != "0.00000255" {
			t.Errorf("%s is reported: model %s, cost %s", reported, r.Model, r.Cost.Total)
		}
	}
}

// TestProvider: where the recorder does not name one, the host does, and else the API.
func TestProvider(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{"": "openai", "api.openai.com": "openai", "acme.openai.azure.com": "azure", "openrouter.ai:443": "openrouter"} {
		x := exchange("", chatPath, mini, miniReply)
		x.Host = host
		if r := catalogMeter().Meter(x); r.Provider != want {
			t.Errorf("host %q: provider %q, want %s", host, r.Provider, want)
		}
	}
}

// TestEstimate sees no response, and says when it has no price.
func TestEstimate(t *testing.T) {
	t.Parallel()
	r := catalogMeter().Estimate(exchange("openai", chatPath, mini, "nonsense"))
	if r.Err != nil || r.Expected == nil || r.Output.Bound != 5 || !r.At.Equal(day) {
		t.Errorf("%+v", r)
	}
	r = catalogMeter().Estimate(exchange("openai", chatPath, `{"model":"nobodys",`+ask, ""))
	if r.Err != nil || r.Expected != nil || r.Bound != nil || !strings.HasPrefix(r.Note, "unpriced: ") {
		t.Errorf("%+v", r)
	}
}

// TestFault: a mistake of ours is an error of its line.
func TestFault(t *testing.T) {
	t.Parallel()
	m := &Meter{Book: pricing.Catalog()} // no estimator
	if r := m.Meter(exchange("openai", chatPath, mini, miniReply)); r.Err == nil || !strings.Contains(r.Err.Error(), "please report") {
		t.Errorf("%+v", r)
	}
}
