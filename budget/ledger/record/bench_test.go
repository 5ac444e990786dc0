package record

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/pricing"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

// intent is a decision as large as they come every day: six holds, ten rules, five labels.
func intent() *budget.Decision {
	at := time.Date(2026, 11, 24, 10, 30, 12, 345_678_901, time.UTC)
	key := tokens.Key{Provider: "openai", Family: "o200k", Class: tokens.ClassTools}
	d := &budget.Decision{
		Call: budget.Call{
			ID: uuid.Must(uuid.NewV7()), Org: "acme", At: at, API: "openai.chat", Provider: "openai", Model: "gpt-5", Path: "/v1/chat/completions",
			Subject: budget.Subject{"team": "research", "user": "ada@acme.example", "app": "ide", "env": "production", "key": "key-00017"},
			Stream:  true, MaxOutputTokens: 4096, Choices: 1,
		},
		Action: budget.Allow, Reason: "within every budget", RoutedProvider: "openai", RoutedModel: "gpt-5", PriceVersion: "2026-11-01",
		Shape: tokens.Shape{Task: "generate", Messages: 12, Bytes: map[string]int64{"text": 18_230, "tool_schema": 4_100}, Tools: 7},
		Estimate: budget.Estimate{
			InputTokens: 5_600, InputTokensBound: 7_400, OutputTokens: 610, OutputTokensBound: 4096, Expected: 13_100_000, Bound: 50_210_000,
			BoundKind: tokens.Calibrated, Method: "tokens/3",
			Input:  tokens.Input{Expected: 5_600, Bound: 7_400, Kind: tokens.Calibrated, Method: "tokens/3", Key: key, Uncorrected: 5_500, Shipped: 8_000},
			Output: tokens.Output{Expected: 610, P50: 400, P90: 1_500, P99: 4_000, Bound: 4096, Kind: tokens.Provable, Method: "tokens/3", Key: key, Choices: 1},
		},
	}
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for _, name := range []string{"research-month", "research-day", "ada-month", "ide-month", "company-year", "production-hour"} {
		d.Holds = append(d.Holds, budget.Hold{
			Account: budget.Account{Org: "acme", Budget: name, Key: "user=ada@acme.example", WindowStart: start, WindowEnd: start.AddDate(0, 1, 0)},
			Amount:  50_210_000, Ceiling: 2_500_000_000_000, Limit: 2_500_000_000_000, Mode: budget.Enforce, Version: 17,
		})
		d.Rules = append(d.Rules, budget.Rule{Kind: budget.KindBudget, Name: name, Version: 17, Effect: "held", Saw: "1880.5 of 2500 USD"})
	}
	for _, name := range []string{"chat-large", "no-preview", "night-cap", "eu-only"} {
		d.Rules = append(d.Rules, budget.Rule{Kind: budget.KindPolicy, Name: name, Version: 3})
	}
	return d
}

func ending(d *budget.Decision) *Closeout {
	c := &Closeout{Known: true, Lease: d.ID, Closeout: budget.Closeout{
		ID: d.ID, Org: d.Org, At: d.At.Add(4 * time.Second), Outcome: budget.Complete, Metered: budget.ByProvider,
		Usage:    &meter.Usage{meter.Input: 5_312, meter.CachedInput: 1_024, meter.Output: 402, meter.Reasoning: 128},
		RawUsage: []byte(`{"prompt_tokens":6336,"completion_tokens":530,"prompt_tokens_details":{"cached_tokens":1024},"completion_tokens_details":{"reasoning_tokens":128}}`),
		Cost: pricing.Cost{Total: 12_340_000, Lines: []pricing.Line{
			{Meter: meter.Input, Quantity: 5_312, Rate: 1_250_000, Amount: 6_640_000, Price: "openai/gpt-5@2026-08-07"},
			{Meter: meter.CachedInput, Quantity: 1_024, Rate: 125_000, Amount: 128_000, Price: "openai/gpt-5@2026-08-07"},
			{Meter: meter.Output, Quantity: 530, Rate: 10_000_000, Amount: 5_300_000, Price: "openai/gpt-5@2026-08-07"},
		}},
		CostKnown: true, Attempts: 1, HTTPStatus: 200, Model: "gpt-5-2026-08-07", ResponseID: "chatcmpl-9d1f0c",
	}}
	for _, h := range d.Holds {
		c.Charges = append(c.Charges, Charge{Account: h.Account, Held: h.Amount, Amount: 12_340_000, Leased: true})
	}
	return c
}

func BenchmarkAppendDecision(b *testing.B) { benchAppend(b, AppendDecision, intent()) }
func BenchmarkAppendCloseout(b *testing.B) { benchAppend(b, AppendCloseout, ending(intent())) }

func BenchmarkAppendExtension(b *testing.B) {
	d := intent()
	x := &Extension{ID: d.ID, Org: d.Org, At: d.At}
	for _, h := range d.Holds {
		x.More = append(x.More, More{Account: h.Account, Amount: 10_000_000, Leased: true})
	}
	benchAppend(b, AppendExtension, x)
}

func benchAppend[T any](b *testing.B, encode func([]byte, *T) []byte, v *T) {
	buffer := encode(nil, v)
	b.ReportAllocs()
	for b.Loop() {
		buffer = encode(buffer[:0], v)
	}
	b.ReportMetric(float64(len(buffer)), "bytes")
}

func BenchmarkDecodeDecision(b *testing.B) {
	benchDecode(b, AppendDecision(nil, intent()), DecodeDecision)
}

func BenchmarkDecodeCloseout(b *testing.B) {
	benchDecode(b, AppendCloseout(nil, ending(intent())), DecodeCloseout)
}

func benchDecode[T any](b *testing.B, record []byte, decode func([]byte) (*T, error)) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode(record); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecoder decodes what a call writes, many times in one memory.
func BenchmarkDecoder(b *testing.B) {
	d := intent()
	decision, closeout := AppendDecision(nil, d), AppendCloseout(nil, ending(d))
	var decoder Decoder
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%500 == 0 {
			decoder.Reset()
		}
		if _, err := decoder.Decision(decision); err != nil {
			b.Fatal(err)
		}
		if _, err := decoder.Closeout(closeout); err != nil {
			b.Fatal(err)
		}
	}
}
