package main

import (
	"bytes"
	"encoding/json"

	"keel/filter/metering"
	"keel/filter/wire/recording"
	"keel/pricing"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

// resultFields are one line of keel meter, in the order of the contract.
type resultFields struct {
	ID       string          `json:"id"`
	Provider string          `json:"provider"`
	API      string          `json:"api,omitempty"`
	Model    string          `json:"model"`
	Estimate *estimateFields `json:"estimate"`
	Usage    *usageFields    `json:"usage"`
	Parts    []partFields    `json:"parts,omitempty"` // what is billed, by model, where that is not simply usage

	Cost           *string `json:"cost_usd"`
	ProviderCost   *string `json:"provider_cost_usd,omitempty"`
	CostDifference *string `json:"cost_difference_usd,omitempty"` // ours less the provider's
	Complete       bool    `json:"complete"`
	Error          *string `json:"error"`
	Note           string  `json:"note,omitempty"`

	PriceDate    string       `json:"price_date,omitempty"`
	PriceVersion string       `json:"price_version,omitempty"`
	CostLines    []costFields `json:"cost_lines,omitempty"`
	Exchange     string       `json:"exchange_rate,omitempty"`

	RawUsage json.RawMessage `json:"raw_usage,omitempty"`
}

type estimateFields struct {
	InputTokens       int64            `json:"input_tokens"`
	OutputTokens      int64            `json:"output_tokens"`
	InputTokensBound  int64            `json:"input_tokens_bound"`
	OutputTokensBound int64            `json:"output_tokens_bound"`
	Expected          *string          `json:"expected_usd"`
	Bound             *string          `json:"bound_usd"`
	BoundKind         tokens.BoundKind `json:"bound_kind"` // of the input
	OutputKind        tokens.BoundKind `json:"bound_kind_output"`
	Class             string           `json:"class"`
	Family            string           `json:"family"` // "" for a model that is not known
	OutputP50         int64            `json:"output_tokens_p50"`
	OutputP90         int64            `json:"output_tokens_p90"`
	Method            string           `json:"method"`
}

// usageFields is a meter.Usage: the five totals, then every other meter that counted.
type usageFields meter.Usage

// totals are the meters that the five totals say all about.
var totals = map[meter.Kind]bool{
	meter.Input: true, meter.CachedInput: true, meter.CacheWrite5m: true, meter.Output: true, meter.Reasoning: true,
}

// MarshalJSON writes the totals always, and in this order.
func (f usageFields) MarshalJSON() ([]byte, error) {
	u := meter.Usage(f)
	var b bytes.Buffer
	write := func(name string, n int64) {
		if b.Len() == 0 {
			b.WriteByte('{')
		} else {
			b.WriteByte(',')
		}
		text, _ := json.Marshal(n)
		b.WriteString(`"` + name + `":`)
		b.Write(text)
	}
	write("input_tokens", u.InputTokens())
	write("cached_input_tokens", u.CachedInputTokens())
	write("cache_write_tokens", u.CacheWriteTokens())
	write("output_tokens", u.OutputTokens())
	write("reasoning_tokens", u.ReasoningTokens())
	for k, n := range u {
		if kind := meter.Kind(k); n != 0 && !totals[kind] {
			write(kind.String(), n)
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

type partFields struct {
	Model string       `json:"model"`
	Usage *usageFields `json:"usage"`
}

type costFields struct {
	Meter      meter.Kind `json:"meter"`
	Quantity   int64      `json:"quantity"`
	PerMillion string     `json:"rate_per_million"`
	Amount     string     `json:"amount_usd"`
	Price      string     `json:"price"` // row of the price book
}

// resultLine renders a result; lines asks for the lines of its cost and the provider's usage object.
func resultLine(id string, r *metering.Result, lines bool) ([]byte, error) {
	f := resultFields{
		ID: id, Provider: r.Provider, API: string(r.API), Model: r.Model, Estimate: estimateOf(r),
		Complete: r.Terminal, Note: r.Note,
	}
	if r.Err != nil {
		text := r.Err.Error()
		f.Error = &text
	}
	if u := r.Reading.Usage; u != nil {
		f.Usage = (*usageFields)(u)
	}
	for i := range r.Reading.Parts {
		part := &r.Reading.Parts[i]
		f.Parts = append(f.Parts, partFields{part.Model, (*usageFields)(&part.Usage)})
	}
	if r.Priced {
		f.Cost = decimal(&r.Cost.Total)
	}
	if said := r.Reading.ReportedCost; said != "" {
		f.ProviderCost = &said
		if difference, ok := pricing.Compare(r.Cost, said); ok && r.Priced {
			f.CostDifference = decimal(&difference.Nano)
		}
	}
	if lines {
		f.addLines(r)
	}
	line, err := json.Marshal(f)
	return append(line, '\n'), err
}

func (f *resultFields) addLines(r *metering.Result) {
	if !r.At.IsZero() {
		f.PriceDate = r.At.UTC().Format("2006-01-02T15:04:05Z")
	}
	f.PriceVersion = r.PriceVersion
	if r.Cost.Exchange != nil {
		f.Exchange = r.Cost.Exchange.String()
	}
	for _, l := range r.Cost.Lines {
		f.CostLines = append(f.CostLines, costFields{l.Meter, l.Quantity, l.Rate.PerMillion(), l.Amount.String(), l.Price})
	}
	if json.Valid(r.Reading.RawUsage) {
		f.RawUsage = r.Reading.RawUsage
	}
}

func estimateOf(r *metering.Result) *estimateFields {
	if r.Request == nil {
		return nil
	}
	return &estimateFields{
		InputTokens: r.Input.Expected, OutputTokens: r.Output.Expected, InputTokensBound: r.Input.Bound, OutputTokensBound: r.Output.Bound,
		Expected: decimal(r.Expected), Bound: decimal(r.Bound), BoundKind: r.Input.Kind, OutputKind: r.Output.Kind,
		Class: string(r.Input.Key.Class), Family: r.Input.Key.Family, OutputP50: r.Output.P50, OutputP90: r.Output.P90, Method: r.Input.Method,
	}
}

func decimal(n *pricing.NanoUSD) *string {
	if n == nil {
		return nil
	}
	s := n.String()
	return &s
}

// badLine is the result for a line that is no exchange.
func badLine(bad *recording.LineError) []byte {
	text := bad.Error()
	line, _ := json.Marshal(resultFields{ID: bad.ID, Error: &text}) // strings always marshal
	return append(line, '\n')
}
