// Package metering prices one recorded exchange offline, with the same readers,
// estimator and prices that a call through Envoy meets: what keel meter prints
// and docs/accuracy.md counts.
//
// It decides nothing: there are no budgets, policies and routes here. It refuses
// to guess: what a provider did not report has no usage, and what has no price
// has no cost, and both are said.
package metering

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"time"

	"keel/filter/wire"
	"keel/filter/wire/apis"
	"keel/filter/wire/recording"
	"keel/pricing"
	"keel/pricing/tokens"
)

// A Meter prices exchanges. It is safe for concurrent use.
type Meter struct {
	Book      *pricing.Book
	Estimator *tokens.Estimator
	At        time.Time // the price date of an exchange that tells none itself
}

// Result is what one exchange was expected to use, what it used, and what that
// costs. Nil and empty mean that nobody knows, never zero.
type Result struct {
	API      wire.API
	Provider string
	Model    string // as reported if that has a price, else as requested
	At       time.Time
	Terminal bool // the response said by itself that it is whole

	Request *wire.Request // nil where the request could not be read
	Input   tokens.Input
	Output  tokens.Output
	// Expected and Bound price the estimate; nil where the book has no price for it.
	Expected, Bound *pricing.NanoUSD

	PriceVersion string // of the book

	Reading wire.Reading
	Cost    pricing.Cost
	Priced  bool // Cost is the cost of all that was metered

	// Err is why the exchange could not be read, as far as it could not; Note is
	// what a reader of the result should know.
	Err  error
	Note string
}

// Meter prices x. There is a result whatever x is: what could not be read is in its Err.
func (m *Meter) Meter(x *recording.Exchange) (r *Result) {
	defer func() {
		if fault := recover(); fault != nil { // a mistake of ours in one exchange must not cost the others their results
			r = &Result{Provider: x.Provider, Err: fmt.Errorf("keel failed to read the exchange, please report it: %v", fault)}
		}
	}()
	r, codec := m.find(x)
	if codec == nil {
		return r
	}
	r.Err = errors.Join(m.estimate(r, codec, x), m.read(r, codec, x))
	return r
}

// Estimate prices what x asks for, at m.At, without a look at its response.
func (m *Meter) Estimate(x *recording.Exchange) *Result {
	r, codec := m.find(x)
	if codec == nil {
		return r
	}
	if r.Err = m.estimate(r, codec, x); r.Err != nil {
		return r
	}
	r.At = m.At
	m.priceEstimate(r, termsOf(r.Request, r.At))
	if r.Expected == nil {
		r.note(unpriced(fmt.Sprintf("the book has no price for %s/%s", r.Provider, r.Model)))
	}
	return r
}

// find names the API and the provider of x. The codec is nil where it is unknown traffic.
func (m *Meter) find(x *recording.Exchange) (*Result, wire.Codec) {
	r := &Result{Provider: x.Provider, PriceVersion: m.Book.Version()}
	if r.Provider == "" {
		r.Provider = apis.ProviderOf(x.Host)
	}
	codec, ok := apis.Match(r.Provider, x.Method, x.Path)
	if !ok {
		r.Err = fmt.Errorf("%s %s is not an API that Keel can read; a call to it is unmetered", x.Method, x.Path)
		return r, nil
	}
	r.API = codec.API()
	if r.Provider == "" {
		r.Provider = apis.Maker(r.API)
	}
	return r, codec
}

// estimate fills what is known before the call. It sees the request alone.
func (m *Meter) estimate(r *Result, codec wire.Codec, x *recording.Exchange) error {
	body, err := x.Request()
	if err != nil {
		return err
	}
	request, err := codec.ReadRequest(x.Path, body)
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	r.Request, r.Model = request, request.Model
	r.Input = m.Estimator.Input(r.Provider, request.Model, &request.Prompt)
	r.Output = m.Estimator.Output(r.Provider, request.Model, &request.Prompt, request.MaxOutputTokens, request.Choices)
	return nil
}

// read fills what the response told, and prices both sides at its date.
func (m *Meter) read(r *Result, codec wire.Codec, x *recording.Exchange) error {
	body, err := x.Response()
	request := r.Request
	if request == nil {
		request = &wire.Request{API: r.API, Choices: 1, Stream: x.Stream}
	}
	header := recording.Header(x.ResponseHeaders)
	if err == nil {
		reader := codec.NewReader(request, x.Status, header)
		reader.Feed(body, true)
		r.Reading = reader.Reading()
		r.Terminal = r.Reading.Terminal
	}
	r.At = m.date(header, &r.Reading)
	terms := termsOf(request, r.At)
	m.priceEstimate(r, terms)
	if err != nil {
		return fmt.Errorf("response: %w", err)
	}
	switch {
	case r.Reading.Usage != nil || r.Reading.Parts != nil:
		m.priceReading(r, terms)
	case x.Status < http.StatusBadRequest:
		r.noteUnmetered(request)
	}
	if r.Reading.Failure != "" {
		return fmt.Errorf("provider: %s", r.Reading.Failure)
	}
	if x.Status >= http.StatusBadRequest {
		return fmt.Errorf("provider: status %d: %.200s", x.Status, bytes.TrimSpace(body))
	}
	return nil
}

// date is the time whose prices apply: of the response, else of the body, else m.At.
func (m *Meter) date(header http.Header, reading *wire.Reading) time.Time {
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		return date
	}
	if reading.Created > 0 {
		return time.Unix(reading.Created, 0).UTC()
	}
	return m.At
}
