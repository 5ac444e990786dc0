package ledger

import (
	"encoding/binary"
	"slices"

	"github.com/google/uuid"

	"keel/budget"
	"keel/budget/ledger/escrow"
	"keel/budget/ledger/record"
	"keel/pricing"
	"keel/pricing/meter"
)

var (
	copyCloseouts   = copyInto(insertCloseouts)
	closeoutsFields = fieldsOf(insertCloseouts)
)

// closeout adds a row of keel.closeouts, with the columns of insertCloseouts in their order, and reports whether it
// could. What it writes is what closeoutColumns.add does; every test that settles compares the two (witness.go).
func (r *rowBuffer) closeout(org string, epoch uuid.UUID, seq uint64, digest *record.Digest, end *record.Closeout) bool {
	r.begin(closeoutsFields)
	r.Text(org)
	r.ID(epoch)
	r.ID(end.ID)
	r.Int8(int64(seq))
	if end.Known {
		r.ID(end.Lease)
		column(r, end.Charges, (*rowBuffer).charge)
	} else {
		r.Null()
		r.Null()
	}
	r.Time(end.At)
	r.Text(string(end.Outcome))
	r.Text(string(end.Metered))
	r.Bool(end.Awaited || end.Outcome == budget.Orphaned)
	if u := end.Usage; u != nil {
		start := r.json()
		r.usage(u)
		r.jsonEnds(start)
		for _, n := range [...]int64{u.InputTokens(), u.CachedInputTokens(), u.CacheWriteTokens(), u.OutputTokens(), u.ReasoningTokens()} {
			r.Int8(n)
		}
	} else {
		for range 6 {
			r.Null()
		}
	}
	r.foreign(end.RawUsage)
	r.Int8(int64(end.Cost.Total))
	r.Bool(end.CostKnown)
	r.lines(&end.Cost)
	r.unpriced(end.Cost.Unpriced)
	r.Int8(int64(end.Attempts))
	r.Int4(int32(end.HTTPStatus))
	r.Text(end.Model)
	r.Text(end.Detail)
	r.Odd = r.Odd || end.ProviderCost != "" // numeric has a form of its own
	r.Null()
	r.Text(end.ResponseID)
	if x := end.Cost.Exchange; x != nil {
		r.Optional(x.String())
	} else {
		r.Null()
	}
	filledColumn(r, end.AttemptRows, (*rowBuffer).attempt)
	r.Bytes(digest[:])
	filledColumn(r, end.Bills, (*rowBuffer).bill)
	return r.End()
}

func (r *rowBuffer) charge(c *record.Charge) {
	k := escrow.KeyOf(&c.Account)
	r.window(&k)
	r.number(`, "held": `, int64(c.Held))
	r.bound(0, `, "start": `, k.Start)
	r.number(`, "amount": `, int64(c.Amount))
	r.string(`, "budget": `, k.Budget)
	r.flag(`, "leased": `, c.Leased)
	r.raw("}")
}

// metersBySize are the meters in the order in which jsonb keeps their names.
var metersBySize = func() (kinds [meter.NumKinds]meter.Kind) {
	for k := range kinds {
		kinds[k] = meter.Kind(k)
	}
	slices.SortFunc(kinds[:], func(a, b meter.Kind) int {
		return compareNames(a.String(), b.String())
	})
	return kinds
}()

func (r *rowBuffer) usage(u *meter.Usage) {
	start := r.object()
	for _, k := range metersBySize {
		if n := u[k]; n != 0 {
			r.member(start, k.String())
			r.number("", n)
		}
	}
	r.raw("}")
}

func (r *rowBuffer) lines(cost *pricing.Cost) {
	rate := `, "per_million_usd": "`
	if cost.Exchange != nil {
		rate = `, "per_million": "`
	}
	column(r, cost.Lines, func(r *rowBuffer, l *pricing.Line) {
		r.string(`{"meter": `, l.Meter.String())
		r.filled(`, "price": `, l.Price)
		r.number(`, "quantity": `, l.Quantity)
		r.money(`, "amount_usd": `, l.Amount)
		r.raw(rate)
		r.B = l.Rate.AppendPerMillion(r.B)
		r.raw(`"}`)
	})
}

// unpriced is an array of text.
func (r *rowBuffer) unpriced(kinds []meter.Kind) {
	r.Length(0)
	start := len(r.B)
	dimensions := min(len(kinds), 1)
	for _, n := range [...]uint32{uint32(dimensions), 0, oidText} {
		r.B = binary.BigEndian.AppendUint32(r.B, n)
	}
	if dimensions == 1 {
		r.Length(len(kinds))
		r.Length(1) // the first index
		for _, k := range kinds {
			r.Text(k.String())
		}
	}
	binary.BigEndian.PutUint32(r.B[start-4:], uint32(len(r.B)-start))
}

func (r *rowBuffer) attempt(a *budget.Attempt) {
	r.Odd = r.Odd || a.Bill != nil
	r.instant(`{"at": `, a.At)
	r.string(`, "basis": `, string(a.Basis))
	r.true(`, "broke": `, a.Broke)
	r.string(`, "ended": `, string(a.Ended))
	r.string(`, "model": `, a.Model)
	if a.Usage != nil {
		r.raw(`, "usage": `)
		r.usage(a.Usage)
	}
	r.filled(`, "detail": `, a.Detail)
	r.number(`, "number": `, int64(a.Number))
	r.nonzero(`, "status": `, int64(a.Status))
	r.filled(`, "address": `, a.Address)
	r.money(`, "cost_usd": `, a.Cost)
	r.string(`, "provider": `, a.Provider)
	r.money(`, "bound_usd": `, a.Bound)
	r.filled(`, "instead_of": `, a.InsteadOf)
	r.nonzero(`, "first_byte_ns": `, int64(a.FirstByte))
	if a.InsteadBound != 0 {
		r.money(`, "instead_bound_usd": `, a.InsteadBound)
	}
	r.raw("}")
}

func (r *rowBuffer) bill(b *budget.Bill) {
	r.instant(`{"at": `, b.At.UTC())
	r.filled(`, "sent": `, b.Sent)
	r.filled(`, "model": `, b.Model)
	if len(b.Parts) > 0 {
		r.raw(`, "parts": `)
		list(r, b.Parts, (*rowBuffer).part)
	}
	r.filled(`, "speed": `, b.Speed)
	r.raw(`, "usage": `)
	r.usage(&b.Usage)
	r.filled(`, "region": `, b.Region)
	r.money(`, "cost_usd": `, b.Cost)
	r.string(`, "provider": `, b.Provider)
	r.filled(`, "service_tier": `, b.ServiceTier)
	r.filled(`, "search_context": `, b.SearchContext)
	r.raw("}")
}

func (r *rowBuffer) part(p *meter.Part) {
	r.raw("{")
	if p.Model != "" {
		r.string(`"model": `, p.Model)
		r.raw(", ")
	}
	r.raw(`"usage": `)
	r.usage(&p.Usage)
	r.raw("}")
}
