package ledger

import (
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/budget/ledger/escrow"
	"keel/budget/ledger/record"
	"keel/pricing/tokens"
)

var (
	copyDecisions   = copyInto(insertDecisions)
	decisionsFields = fieldsOf(insertDecisions)
)

// decision adds a row of keel.decisions, with the columns of insertDecisions in their order, and reports whether it
// could. What it writes is what decisionColumns.add does; every test that settles compares the two (witness.go).
func (r *rowBuffer) decision(org string, epoch uuid.UUID, seq uint64, digest *record.Digest, d *budget.Decision) bool {
	e := &d.Estimate
	r.begin(decisionsFields)
	r.Text(org)
	r.ID(epoch)
	r.ID(d.ID)
	r.Int8(int64(seq))
	r.Time(d.At)
	r.labels(d.Subject)
	r.Text(d.API)
	r.Text(d.Provider)
	r.Text(d.Model)
	r.Text(d.Path)
	r.Bool(d.Stream)
	r.Int8(d.Call.MaxOutputTokens)
	r.Int8(d.Choices)
	r.Text(d.ServiceTier)
	r.shape(&d.Shape)
	r.Text(string(d.Action))
	r.Text(d.Reason)
	r.Text(d.Route)
	r.Text(d.RoutedProvider)
	r.Text(d.RoutedModel)
	r.Int8(d.MaxOutputTokens)
	r.Int8(e.InputTokens)
	r.Int8(e.InputTokensBound)
	r.Int8(e.OutputTokens)
	r.Int8(e.OutputTokensBound)
	r.Int8(int64(e.Expected))
	r.Int8(int64(e.Bound))
	r.Text(string(e.BoundKind))
	r.Text(e.Method)
	r.Text(e.Unpriced)
	if held := largestHold(d); held != nil {
		r.Int8(*held)
	} else {
		r.Null()
	}
	column(r, d.Rules, (*rowBuffer).rule)
	r.Text(d.PriceVersion)
	r.denial(d.Denial)
	r.Bool(d.Unmetered)
	r.Bool(d.Debt)
	r.estimate(&e.Input, &e.Output)
	r.holds(d)
	r.envelope(&d.Envelope)
	filledColumn(r, d.RouteChoices, (*rowBuffer).choice)
	r.Bytes(digest[:])
	return r.End()
}

func (r *rowBuffer) labels(s map[string]string) {
	start := r.json()
	r.pairs(s)
	r.jsonEnds(start)
}

func (r *rowBuffer) pairs(m map[string]string) {
	start := r.object()
	for _, k := range inOrder(r, m) {
		r.member(start, k)
		r.quote(m[k])
	}
	r.raw("}")
}

func (r *rowBuffer) shape(s *tokens.Shape) {
	start := r.json()
	r.string(`{"task": `, s.Task)
	if len(s.Bytes) > 0 {
		r.raw(`, "bytes": `)
		object := r.object()
		for _, class := range inOrder(r, s.Bytes) {
			r.member(object, class)
			r.number("", s.Bytes[class])
		}
		r.raw("}")
	}
	if len(s.Media) > 0 {
		r.raw(`, "media": `)
		list(r, s.Media, (*rowBuffer).media)
	}
	r.nonzero(`, "tools": `, s.Tools)
	r.filled(`, "hosted": `, s.Hosted)
	if len(s.Images) > 0 {
		r.raw(`, "images": `)
		list(r, s.Images, (*rowBuffer).image)
	}
	r.number(`, "messages": `, s.Messages)
	r.true(`, "thinking": `, s.Thinking)
	r.nonzero(`, "citations": `, s.Citations)
	r.nonzero(`, "token_ids": `, s.TokenIDs)
	r.true(`, "tool_choice": `, s.ToolChoice)
	r.raw("}")
	r.jsonEnds(start)
}

func (r *rowBuffer) media(m *tokens.MediaShape) {
	r.string(`{"kind": `, m.Kind)
	r.number(`, "bytes": `, m.Bytes)
	r.nonzero(`, "pages": `, m.Pages)
	r.nonzero(`, "milliseconds": `, m.Millis)
	r.raw("}")
}

func (r *rowBuffer) image(i *tokens.ImageShape) {
	r.number(`{"bytes": `, i.Bytes)
	r.number(`, "width": `, i.Width)
	r.filled(`, "detail": `, i.Detail)
	r.number(`, "height": `, i.Height)
	r.raw("}")
}

func (r *rowBuffer) rule(rule *budget.Rule) {
	r.raw("{")
	if rule.Saw != "" {
		r.string(`"saw": `, rule.Saw)
		r.raw(", ")
	}
	r.string(`"kind": `, string(rule.Kind))
	r.string(`, "name": `, rule.Name)
	r.filled(`, "effect": `, rule.Effect)
	r.number(`, "version": `, rule.Version)
	r.raw("}")
}

func (r *rowBuffer) denial(d *budget.Denial) {
	if d == nil {
		r.Null()
		return
	}
	start := r.json()
	r.string(`{"code": `, d.Code)
	r.number(`, "status": `, int64(d.Status))
	if len(d.Details) > 0 {
		r.raw(`, "details": `)
		r.pairs(d.Details)
	}
	r.string(`, "message": `, d.Message)
	r.nonzero(`, "retry_after_seconds": `, int64((d.RetryAfter+time.Second-1)/time.Second))
	r.raw("}")
	r.jsonEnds(start)
}

func (r *rowBuffer) estimate(in *tokens.Input, out *tokens.Output) {
	start := r.json()
	r.raw(`{"input": `)
	r.key(&in.Key)
	r.string(`, "kind": `, string(in.Kind))
	r.number(`, "bound": `, in.Bound)
	r.string(`, "method": `, in.Method)
	r.number(`, "expected": `, in.Expected)
	r.number(`, "uncorrected": `, in.Uncorrected)
	r.number(`, "shipped_bound": `, in.Shipped)
	r.raw(`}, "output": `)
	r.key(&out.Key)
	r.number(`, "p50": `, out.P50)
	r.number(`, "p90": `, out.P90)
	r.number(`, "p99": `, out.P99)
	r.string(`, "kind": `, string(out.Kind))
	r.number(`, "bound": `, out.Bound)
	r.string(`, "method": `, out.Method)
	r.number(`, "choices": `, out.Choices)
	r.number(`, "expected": `, out.Expected)
	r.raw("}}")
	r.jsonEnds(start)
}

// key begins an object with the key of a correction.
func (r *rowBuffer) key(k *tokens.Key) {
	r.string(`{"key": {"class": `, string(k.Class))
	r.string(`, "family": `, k.Family)
	r.string(`, "provider": `, k.Provider)
	r.raw("}")
}

func (r *rowBuffer) holds(d *budget.Decision) {
	holds := d.Holds
	if d.Action == budget.Deny {
		holds = nil
	}
	column(r, holds, func(r *rowBuffer, h *budget.Hold) {
		k := escrow.KeyOf(&h.Account)
		r.window(&k)
		r.string(`, "mode": `, string(h.Mode))
		r.number(`, "limit": `, int64(h.Limit))
		r.bound(0, `, "start": `, k.Start)
		r.number(`, "amount": `, int64(h.Amount))
		r.string(`, "budget": `, k.Budget)
		r.flag(`, "leased": `, record.Leased(d, h))
		r.number(`, "ceiling": `, int64(h.Ceiling))
		r.number(`, "version": `, h.Version)
		r.number(`, "rolling_s": `, int64(h.Rolling/time.Second))
		r.raw("}")
	})
}

func (r *rowBuffer) envelope(v *budget.Envelope) {
	if *v == (budget.Envelope{}) {
		r.Null()
		return
	}
	start := r.json()
	r.string(`{"mode": `, string(v.Mode))
	r.string(`, "unknown": `, string(v.Unknown))
	r.money(`, "limit_usd": `, v.Limit)
	r.number(`, "max_attempts": `, v.Attempts)
	r.raw("}")
	r.jsonEnds(start)
}

func (r *rowBuffer) choice(c *budget.Choice) {
	r.string(`{"by": `, string(c.By))
	r.string(`, "model": `, c.Model)
	r.string(`, "provider": `, c.Provider)
	r.filled(`, "unpriced": `, c.Unpriced)
	r.money(`, "bound_usd": `, c.Bound)
	r.money(`, "expected_usd": `, c.Expected)
	r.raw("}")
}
