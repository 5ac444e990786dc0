package record

import (
	"fmt"
	"sync"

	"github.com/google/uuid"

	"keel/budget"
	"keel/pricing"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

// format is the version of every record's layout: its first byte.
const format = 1

// AppendDecision appends the record of a decision to b. What only matters while it is
// made is left out: the prompt, and what a dry run fills.
func AppendDecision(b []byte, d *budget.Decision) []byte { return write(b, d, decision) }

// AppendCloseout appends the record of a closeout to b.
func AppendCloseout(b []byte, c *Closeout) []byte { return write(b, c, known) }

// AppendReturn appends the record of a returned slice to b.
func AppendReturn(b []byte, r *Return) []byte { return write(b, r, returned) }

// AppendResponse appends the record of a response's closeout to b.
func AppendResponse(b []byte, c *budget.Closeout) []byte { return write(b, c, closeout) }

// DecodeDecision reads what AppendDecision wrote, and refuses anything else.
func DecodeDecision(b []byte) (*budget.Decision, error) { return read(b, decision, "decision") }

// DecodeCloseout reads what AppendCloseout wrote, and refuses anything else.
func DecodeCloseout(b []byte) (*Closeout, error) { return read(b, known, "closeout") }

// DecodeReturn reads what AppendReturn wrote, and refuses anything else.
func DecodeReturn(b []byte) (*Return, error) { return read(b, returned, "returned slice") }

// DecodeResponse reads what AppendResponse wrote, and refuses anything else.
func DecodeResponse(b []byte) (*budget.Closeout, error) {
	return read(b, closeout, "closeout of a response")
}

// writers are reused: an intent is written on the way of every call.
var writers = sync.Pool{New: func() any { return new(coder) }}

func write[T any](b []byte, v *T, fields func(*coder, *T)) []byte {
	c := writers.Get().(*coder)
	c.b = append(b, format)
	fields(c, v)
	b, c.b = c.b, nil
	clear(c.keys)
	writers.Put(c)
	return b
}

func read[T any](b []byte, fields func(*coder, *T), what string) (*T, error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("%s: empty record", what)
	}
	if b[0] != format {
		return nil, fmt.Errorf("%s: record format %d, this program reads %d: settle the journal with the keel that wrote it", what, b[0], format)
	}
	c := coder{b: b, at: 1, reading: true}
	v := new(T)
	if fields(&c, v); c.err == nil && c.at != len(b) {
		c.fail("%d bytes too many", len(b)-c.at)
	}
	if c.err != nil {
		return nil, fmt.Errorf("%s: %w", what, c.err)
	}
	return v, nil
}

func id(c *coder, v *uuid.UUID) { c.fixed((*[16]byte)(v)) }

func decision(c *coder, d *budget.Decision) {
	call(c, &d.Call)
	str(c, &d.Action)
	str(c, &d.Reason)
	shape(c, &d.Shape)
	str(c, &d.Route)
	str(c, &d.RoutedProvider)
	str(c, &d.RoutedModel)
	signed(c, &d.MaxOutputTokens)
	estimate(c, &d.Estimate)
	list(c, &d.Holds, hold)
	list(c, &d.Rules, rule)
	str(c, &d.PriceVersion)
	some(c, &d.Denial, denial)
	c.bool(&d.Unmetered)
	c.bool(&d.Debt)
}

func call(c *coder, v *budget.Call) {
	id(c, &v.ID)
	str(c, &v.Org)
	c.time(&v.At)
	c.texts((*map[string]string)(&v.Subject))
	str(c, &v.API)
	str(c, &v.Provider)
	str(c, &v.Model)
	str(c, &v.Path)
	c.bool(&v.Stream)
	signed(c, &v.MaxOutputTokens)
	signed(c, &v.Choices)
	str(c, &v.ServiceTier)
	str(c, &v.Speed)
	str(c, &v.Region)
	str(c, &v.SearchContext)
}

func shape(c *coder, s *tokens.Shape) {
	str(c, &s.Task)
	signed(c, &s.Messages)
	c.counts(&s.Bytes)
	signed(c, &s.Tools)
	c.bool(&s.ToolChoice)
	signed(c, &s.TokenIDs)
	list(c, &s.Images, func(c *coder, i *tokens.ImageShape) {
		signed(c, &i.Width)
		signed(c, &i.Height)
		str(c, &i.Detail)
		signed(c, &i.Bytes)
	})
	list(c, &s.Media, func(c *coder, m *tokens.MediaShape) {
		str(c, &m.Kind)
		signed(c, &m.Bytes)
		signed(c, &m.Pages)
		signed(c, &m.Millis)
	})
	c.bool(&s.Thinking)
	signed(c, &s.Citations)
	str(c, &s.Hosted)
}

func estimate(c *coder, e *budget.Estimate) {
	signed(c, &e.InputTokens)
	signed(c, &e.InputTokensBound)
	signed(c, &e.OutputTokens)
	signed(c, &e.OutputTokensBound)
	signed(c, &e.Expected)
	signed(c, &e.Bound)
	str(c, &e.BoundKind)
	str(c, &e.Method)
	in := &e.Input
	signed(c, &in.Expected)
	signed(c, &in.Bound)
	str(c, &in.Kind)
	str(c, &in.Method)
	key(c, &in.Key)
	signed(c, &in.Uncorrected)
	signed(c, &in.Shipped)
	out := &e.Output
	signed(c, &out.Expected)
	signed(c, &out.P50)
	signed(c, &out.P90)
	signed(c, &out.P99)
	signed(c, &out.Bound)
	str(c, &out.Kind)
	str(c, &out.Method)
	key(c, &out.Key)
	signed(c, &out.Choices)
	str(c, &e.Unpriced)
}

func key(c *coder, k *tokens.Key) {
	str(c, &k.Provider)
	str(c, &k.Family)
	str(c, &k.Class)
}

func account(c *coder, a *budget.Account) {
	str(c, &a.Org)
	str(c, &a.Budget)
	str(c, &a.Key)
	c.time(&a.WindowStart)
	c.time(&a.WindowEnd)
	signed(c, &a.Rolling)
}

func hold(c *coder, h *budget.Hold) {
	account(c, &h.Account)
	signed(c, &h.Amount)
	signed(c, &h.Ceiling)
	signed(c, &h.Limit)
	str(c, &h.Mode)
	signed(c, &h.Version)
	signed(c, &h.Debt)
}

func rule(c *coder, r *budget.Rule) {
	str(c, &r.Kind)
	str(c, &r.Name)
	signed(c, &r.Version)
	str(c, &r.Effect)
	str(c, &r.Saw)
}

func denial(c *coder, d *budget.Denial) {
	signed(c, &d.Status)
	str(c, &d.Code)
	str(c, &d.Message)
	signed(c, &d.RetryAfter)
	c.texts(&d.Details)
}

func known(c *coder, v *Closeout) {
	closeout(c, &v.Closeout)
	c.bool(&v.Known)
	id(c, &v.Lease)
	list(c, &v.Charges, charge)
}

func charge(c *coder, v *Charge) {
	account(c, &v.Account)
	signed(c, &v.Held)
	signed(c, &v.Amount)
	c.bool(&v.Leased)
}

func returned(c *coder, r *Return) {
	account(c, &r.Account)
	signed(c, &r.Amount)
}

func closeout(c *coder, v *budget.Closeout) {
	id(c, &v.ID)
	str(c, &v.Org)
	c.time(&v.At)
	str(c, &v.Outcome)
	str(c, &v.Metered)
	some(c, &v.Usage, usage)
	c.bytes(&v.RawUsage)
	cost(c, &v.Cost)
	c.bool(&v.CostKnown)
	signed(c, &v.Attempts)
	signed(c, &v.HTTPStatus)
	str(c, &v.Model)
	str(c, &v.Detail)
	str(c, &v.ProviderCost)
	str(c, &v.ResponseID)
	c.bool(&v.Awaited)
}

// usage keeps quantities by the names of their meters: the numbers of the kinds
// are this program's own, and another version may count them otherwise.
func usage(c *coder, u *meter.Usage) {
	var n uint64
	for _, quantity := range u {
		if quantity != 0 {
			n++
		}
	}
	unsigned(c, &n)
	if !c.reading {
		for i, quantity := range u {
			if quantity != 0 {
				kind := meter.Kind(i)
				meterKind(c, &kind)
				signed(c, &quantity)
			}
		}
		return
	}
	for ; n > 0 && c.err == nil; n-- {
		var kind meter.Kind
		var quantity int64
		meterKind(c, &kind)
		if signed(c, &quantity); c.err == nil {
			u[kind] = quantity
		}
	}
}

func meterKind(c *coder, k *meter.Kind) {
	var name string
	if !c.reading {
		name = k.String()
	}
	str(c, &name)
	if c.reading && c.err == nil {
		kind, err := meter.ParseKind(name)
		if err != nil {
			c.fail("%v", err)
		}
		*k = kind
	}
}

func cost(c *coder, v *pricing.Cost) {
	signed(c, &v.Total)
	list(c, &v.Lines, func(c *coder, l *pricing.Line) {
		meterKind(c, &l.Meter)
		signed(c, &l.Quantity)
		signed(c, &l.Rate)
		signed(c, &l.Amount)
		str(c, &l.Price)
	})
	list(c, &v.Unpriced, meterKind)
	some(c, &v.Exchange, func(c *coder, x *pricing.Exchange) {
		str(c, &x.From)
		str(c, &x.To)
		signed(c, &x.Rate.Digits)
		unsigned(c, &x.Rate.Places)
		c.time(&x.EffectiveFrom)
	})
}
