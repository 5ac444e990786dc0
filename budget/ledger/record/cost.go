package record

import (
	"cmp"
	"slices"

	"keel/pricing"
	"keel/pricing/meter"
)

// Meters are written by name: their numbers may differ in another version of
// the program.

// byName are all meters in the order of their names, in which a usage is written.
var byName = func() (kinds [meter.NumKinds]meter.Kind) {
	for k := range kinds {
		kinds[k] = meter.Kind(k)
	}
	slices.SortFunc(kinds[:], func(a, b meter.Kind) int { return cmp.Compare(a.String(), b.String()) })
	return kinds
}()

func appendUsage(b []byte, u *meter.Usage) []byte {
	metered := 0
	for _, n := range u {
		if n != 0 {
			metered++
		}
	}
	b = appendCount(b, metered)
	for _, kind := range byName {
		if n := u[kind]; n != 0 {
			b = appendInt(appendText(b, kind.String()), n)
		}
	}
	return b
}

// readUsage reads into a usage that is zero.
func readUsage(r *reader, u *meter.Usage) {
	before := ""
	for i := range r.count("usage", 2) {
		r.group, r.index = "usage", i
		at := r.at
		kind := readMeter(r, "meter")
		if r.err == nil && kind.String() <= before {
			r.fail("meter", at, "%s does not follow %s in order", kind, before)
		}
		before = kind.String()
		if u[kind] = r.int64("quantity"); r.err == nil && u[kind] == 0 {
			r.fail("quantity", at, "0 is not written")
		}
		if r.err != nil {
			return
		}
	}
	r.in("")
}

func readMeter(r *reader, field string) meter.Kind {
	at := r.at
	name := r.text(field)
	if r.err != nil {
		return 0
	}
	kind, err := meter.ParseKind(name)
	if err != nil {
		r.fail(field, at, "%v: read it with the version of keel that wrote it", err)
	}
	return kind
}

// The fewest bytes that an element of a list takes; a test has them.
const (
	minLine     = 10 // the shortest name of a meter is "input", "pages" or "calls"
	minUnpriced = 6
)

func appendCost(b []byte, c *pricing.Cost) []byte {
	b = appendInt(b, int64(c.Total))
	b = appendCount(b, len(c.Lines))
	for i := range c.Lines {
		b = appendLine(b, &c.Lines[i])
	}
	b = appendCount(b, len(c.Unpriced))
	for _, kind := range c.Unpriced {
		b = appendText(b, kind.String())
	}
	b = appendBool(b, c.Exchange != nil)
	if c.Exchange != nil {
		b = appendExchange(b, c.Exchange)
	}
	return b
}

func readCost(r *reader, c *pricing.Cost) {
	r.in("cost")
	c.Total = pricing.NanoUSD(r.int64("total"))
	c.Lines = list(r, &r.memory.lines, "cost.lines", minLine, readLine)
	c.Unpriced = list(r, nil, "cost.unpriced", minUnpriced, func(r *reader, kind *meter.Kind) { *kind = readMeter(r, "meter") })
	if r.bool("has an exchange rate") {
		c.Exchange = new(pricing.Exchange)
		readExchange(r, c.Exchange)
	}
	r.in("")
}

func appendLine(b []byte, l *pricing.Line) []byte {
	b = appendText(b, l.Meter.String())
	b = appendInt(b, l.Quantity)
	b = appendInt(b, int64(l.Rate))
	b = appendInt(b, int64(l.Amount))
	return appendText(b, l.Price)
}

func readLine(r *reader, l *pricing.Line) {
	l.Meter = readMeter(r, "meter")
	l.Quantity = r.int64("quantity")
	l.Rate = pricing.PicoUSD(r.int64("rate"))
	l.Amount = pricing.NanoUSD(r.int64("amount"))
	l.Price = r.text("price")
}

func appendExchange(b []byte, x *pricing.Exchange) []byte {
	b = appendText(b, x.From)
	b = appendText(b, x.To)
	b = appendInt(b, x.Rate.Digits)
	b = append(b, x.Rate.Places)
	return appendTime(b, x.EffectiveFrom)
}

func readExchange(r *reader, x *pricing.Exchange) {
	r.in("cost.exchange")
	x.From = r.text("from")
	x.To = r.text("to")
	x.Rate.Digits = r.int64("rate digits")
	x.Rate.Places = r.byte("rate places")
	x.EffectiveFrom = r.time("effective from")
}
