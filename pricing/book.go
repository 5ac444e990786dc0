package pricing

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"keel/pricing/meter"
)

// Book is a price book: rows of the company's own over the vendored catalogue.
// It is immutable and safe for concurrent use.
//
// For a model and terms, the first of these that is in force is taken:
// contract rows, own list rows, the catalogue. Within own rows an exact model
// name wins over its name with a snapshot date behind it, that over a longer glob, that over
// a shorter one, and then the latest EffectiveFrom that is not after Terms.At.
//
// Service tiers: a tier that providers sell below the standard one (batch, flex)
// and for which a layer has no rates is priced at that layer's standard rates, which is
// dearer. Any other tier without rates has no price: it could cost more than
// the book says.
type Book struct {
	catalogue *catalogue
	own       []ownRow   // as selection wants them: most specific first, latest first
	exchange  []Exchange // by currency, the latest first
	version   string
	plans     *memo
}

type ownRow struct {
	*Price
	rates                   *Rates
	provider, pattern, tier string // canonical; the pattern of a glob is in lower case
	glob                    bool
}

// conditions counts those that a call must meet besides model and tier.
func (row *ownRow) conditions() int {
	n := 0
	for _, condition := range []bool{row.Region != "", row.SearchContext != "", row.Daily != Hours{}} {
		if condition {
			n++
		}
	}
	return n
}

// With returns a book whose own rows are prices, in place of the own rows of b. The
// error names the row that is wrong or that is there twice.
func (b *Book) With(prices []Price) (*Book, error) { return b.catalogue.book(prices, b.exchange) }

// book returns a book over c. Exchange rates are sorted as Book wants them.
func (c *catalogue) book(prices []Price, exchange []Exchange) (*Book, error) {
	b := &Book{catalogue: c, exchange: exchange, version: c.version, plans: newMemo()}
	for i := range prices {
		p := clonePrice(&prices[i])
		if err := p.Check(); err != nil {
			return nil, err
		}
		if p.Currency == USD {
			p.Currency = ""
		}
		if p.Currency != "" && b.exchanges(p.Currency) == nil {
			return nil, fmt.Errorf("price of %s/%s is in %s, which has no exchange rate: add one to USD", p.Provider, p.Model, p.Currency)
		}
		row := ownRow{Price: p, provider: canonicalProvider(p.Provider), pattern: strings.ToLower(p.Model), glob: strings.ContainsAny(p.Model, "*?")}
		if !row.glob {
			row.pattern = canonicalModel(row.provider, p.Model)
		}
		row.tier = canonicalTier(row.provider, p.ServiceTier, "")
		row.rates = newRates(ownID(p), p)
		b.own = append(b.own, row)
	}
	slices.SortFunc(b.own, compareOwn)
	for i := 1; i < len(b.own); i++ {
		if row := b.own[i]; row.rates.ID == b.own[i-1].rates.ID {
			return nil, fmt.Errorf("price of %s/%s is there twice (%s): delete one or give it another effective_from", row.Provider, row.Model, row.rates.ID)
		}
	}
	if len(b.own) > 0 || len(exchange) > 0 {
		b.version += "+" + digestOwn(b.own, exchange)
	}
	return b, nil
}

// Version names everything that the book's answers depend on: package, version
// and content hash of the catalogue, and a hash of the own rows, if any.
func (b *Book) Version() string { return b.version }

// Checked is the day on which the vendored list prices were last compared with what providers publish.
func (b *Book) Checked() (day time.Time) {
	for i := range b.catalogue.amendments {
		if checked := b.catalogue.amendments[i].checked; checked.After(day) {
			day = checked
		}
	}
	return day
}

// Rates returns what provider charges for model on terms t, and whether the
// book knows. Model may be as asked for or as the provider reported it.
// After the first call for a model it does not allocate.
func (b *Book) Rates(provider, model string, t Terms) (*Rates, bool) {
	plan := b.plan(provider, model, t)
	for i := range plan {
		if plan[i].inForce(t.At) {
			return plan[i].rates, plan[i].rates != nil
		}
	}
	return nil, false
}

// planned is one row that can answer a key, at the times when it is in force.
type planned struct {
	rates *Rates // nil: in force, but its currency has no exchange rate then
	from  time.Time
	daily Hours
}

func (p *planned) inForce(at time.Time) bool { return !at.Before(p.from) && p.daily.Contain(at) }

// plan returns every row that can answer, in the order of preference. It does not depend on
// the time, so it is worth keeping.
func (b *Book) plan(provider, model string, t Terms) []planned {
	key := planKey{provider, model, t.ServiceTier, t.Speed, t.Region, t.SearchContext, t.Contract}
	if plan, ok := b.plans.get(key); ok {
		return plan
	}
	plan := b.makePlan(canonicalProvider(provider), model, t)
	b.plans.put(key, plan)
	return plan
}

func (b *Book) makePlan(provider, model string, t Terms) []planned {
	var plan []planned
	tier := canonicalTier(provider, t.ServiceTier, t.Speed)
	name := canonicalModel(provider, model)
	on := t.conditions()
	ownPlan := func(contract bool, tier string) {
		for _, group := range ownMatches(b.own, provider, name) {
			for _, row := range group {
				if (row.Contract != "") != contract || row.tier != tier || !row.on(on) {
					continue
				}
				if contract && (t.Contract == ListPrices || (t.Contract != "" && t.Contract != row.Contract)) {
					continue
				}
				for _, p := range b.exchanged(row) {
					if row.Region == "" {
						plan = append(plan, b.catalogue.surcharge(p, provider, name, on)...)
					} else {
						plan = append(plan, p)
					}
				}
			}
		}
	}
	for _, contract := range []bool{true, false} {
		ownPlan(contract, tier)
		if discounted[tier] {
			ownPlan(contract, "")
		}
	}
	return append(plan, b.catalogue.plan(provider, name, tier, on)...)
}

// on reports whether a row applies where a call says this of region and search.
func (row *ownRow) on(on conditions) bool {
	return (row.Region == "" || strings.EqualFold(row.Region, on.region)) && (row.SearchContext == "" || row.SearchContext == on.search)
}

// exchanged returns a row in USD: one part for each exchange rate, and one without
// rates for the time before the first, when the price is not known.
func (b *Book) exchanged(row ownRow) []planned {
	if row.Currency == "" {
		return []planned{{rates: row.rates, from: row.EffectiveFrom, daily: row.Daily}}
	}
	var parts []planned
	rates := b.exchanges(row.Currency)
	for i := range rates {
		r := *row.rates
		r.exchange = &rates[i]
		r.ID += ";" + rates[i].String()
		from := row.EffectiveFrom
		if rates[i].EffectiveFrom.After(from) {
			from = rates[i].EffectiveFrom
		}
		parts = append(parts, planned{rates: &r, from: from, daily: row.Daily})
	}
	return append(parts, planned{from: row.EffectiveFrom, daily: row.Daily})
}

// ownMatches returns the rows for a model: exact, dated, and globs.
func ownMatches(own []ownRow, provider, name string) [3][]ownRow {
	var groups [3][]ownRow
	undated := trimDate(name)
	for _, row := range own {
		switch {
		case row.provider != provider:
		case row.glob:
			if matchGlob(row.pattern, name) {
				groups[2] = append(groups[2], row)
			}
		case row.pattern == name:
			groups[0] = append(groups[0], row)
		case row.pattern == undated:
			groups[1] = append(groups[1], row)
		}
	}
	return groups
}

// compareOwn orders longer patterns first, then rows with more conditions, then
// later rows; the rest only makes the order independent of the input.
func compareOwn(a, b ownRow) int {
	if d := len(b.Model) - len(a.Model); d != 0 {
		return d
	}
	if d := b.conditions() - a.conditions(); d != 0 {
		return d
	}
	if d := b.EffectiveFrom.Compare(a.EffectiveFrom); d != 0 {
		return d
	}
	return strings.Compare(a.rates.ID, b.rates.ID)
}

func ownID(p *Price) string {
	id := "own:" + p.Provider + "/" + p.Model
	if p.Contract != "" {
		id += ";contract=" + p.Contract
	}
	for _, condition := range []struct{ name, value string }{{"region", p.Region}, {"search", p.SearchContext}, {"in", p.Currency}} {
		if condition.value != "" {
			id += ";" + condition.name + "=" + condition.value
		}
	}
	return id + idTerms(p.ServiceTier, p.EffectiveFrom, p.Daily)
}

// idTerms is the part of a Rates.ID behind the model.
func idTerms(tier string, from time.Time, daily Hours) string {
	s := ""
	if tier != "" {
		s += ";tier=" + tier
	}
	if !from.IsZero() {
		s += ";from=" + from.UTC().Format(time.RFC3339)
	}
	if daily != (Hours{}) {
		s += ";daily=" + daily.String() + "Z"
	}
	return s
}

// Condition reads one of the conditions of a row out of its Rates.ID: "tier", "region", "search", "in", "daily",
// "contract" or "from"; "" where the row has none of that name.
func Condition(id, name string) string {
	_, rest, _ := strings.Cut(id, ";"+name+"=")
	value, _, _ := strings.Cut(rest, ";")
	return value
}

func digestOwn(own []ownRow, exchange []Exchange) string {
	h := sha256.New()
	for i := range exchange {
		fmt.Fprintf(h, "%s\n", &exchange[i])
	}
	for _, row := range own {
		fmt.Fprintf(h, "%s\n", row.rates.ID)
		for _, step := range row.Tiers {
			fmt.Fprintf(h, "above %d\n", step.Above)
			for kind := range meter.Kind(meter.NumKinds) {
				if rate, ok := step.Rates[kind]; ok {
					fmt.Fprintf(h, "%v %d\n", kind, rate)
				}
			}
		}
	}
	return fmt.Sprintf("own.%d.%s", len(own), hex.EncodeToString(h.Sum(nil))[:12])
}

func clonePrice(p *Price) *Price {
	q := *p
	q.Tiers = make([]Step, len(p.Tiers))
	for i, step := range p.Tiers {
		q.Tiers[i] = Step{Above: step.Above, Rates: make(map[meter.Kind]PicoUSD, len(step.Rates))}
		for kind, rate := range step.Rates {
			q.Tiers[i].Rates[kind] = rate
		}
	}
	return &q
}
