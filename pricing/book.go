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
	own       []ownRow // as selection wants them: contract rows first, most specific first, latest first
	version   string
	plans     *memo
}

type ownRow struct {
	*Price
	rates *Rates
	glob  bool
}

// With returns a book whose own rows are prices, in place of the own rows of b. The
// error names the row that is wrong or that is there twice.
func (b *Book) With(prices []Price) (*Book, error) {
	own := make([]ownRow, 0, len(prices))
	for i := range prices {
		p := clonePrice(&prices[i])
		if err := p.Check(); err != nil {
			return nil, err
		}
		own = append(own, ownRow{Price: p, rates: newRates(ownID(p), p, 0), glob: strings.ContainsAny(p.Model, "*?")})
	}
	slices.SortFunc(own, compareOwn)
	for i := 1; i < len(own); i++ {
		if own[i].rates.ID == own[i-1].rates.ID {
			return nil, fmt.Errorf("price of %s/%s is there twice (%s): delete one or give it another effective_from", own[i].Provider, own[i].Model, own[i].rates.ID)
		}
	}
	version := b.catalogue.version
	if len(own) > 0 {
		version += "+" + digestOwn(own)
	}
	return &Book{catalogue: b.catalogue, own: own, version: version, plans: newMemo()}, nil
}

// Version names everything that the book's answers depend on: package, version
// and content hash of the catalogue, and a hash of the own rows, if any.
func (b *Book) Version() string { return b.version }

// Rates returns what provider charges for model on terms t, and whether the
// book knows. Model may be as asked for or as the provider reported it.
// After the first call for a model it does not allocate.
func (b *Book) Rates(provider, model string, t Terms) (*Rates, bool) {
	plan := b.plan(provider, model, t)
	for i := range plan {
		if plan[i].inForce(t.At) {
			return plan[i].rates, true
		}
	}
	return nil, false
}

// planned is one row that can answer a key, at the times when it is in force.
type planned struct {
	rates *Rates
	from  time.Time
	daily hours
}

func (p *planned) inForce(at time.Time) bool { return !at.Before(p.from) && p.daily.contain(at) }

// plan returns every row that can answer, in the order of preference. It does not depend on
// the time, so it is worth keeping.
func (b *Book) plan(provider, model string, t Terms) []planned {
	key := planKey{provider, model, t.ServiceTier, t.Contract}
	if plan, ok := b.plans.get(key); ok {
		return plan
	}
	plan := b.makePlan(canonicalProvider(provider), model, t)
	b.plans.put(key, plan)
	return plan
}

func (b *Book) makePlan(provider, model string, t Terms) []planned {
	var plan []planned
	tier := canonicalTier(provider, t.ServiceTier)
	name := canonicalModel(provider, model)
	ownPlan := func(contract bool, tier string) {
		for _, group := range ownMatches(b.own, provider, name) {
			for _, row := range group {
				if (row.Contract != "") != contract || canonicalTier(provider, row.ServiceTier) != tier {
					continue
				}
				if contract && (t.Contract == ListPrices || (t.Contract != "" && t.Contract != row.Contract)) {
					continue
				}
				plan = append(plan, planned{rates: row.rates, from: row.EffectiveFrom})
			}
		}
	}
	for _, contract := range []bool{true, false} {
		ownPlan(contract, tier)
		if discounted[tier] {
			ownPlan(contract, "")
		}
	}
	return append(plan, b.catalogue.plan(provider, name, tier)...)
}

// ownMatches returns the rows for a model: exact, dated, and globs.
func ownMatches(own []ownRow, provider, name string) [3][]ownRow {
	var groups [3][]ownRow
	undated := trimDate(name)
	for _, row := range own {
		pattern := strings.ToLower(row.Model)
		switch {
		case canonicalProvider(row.Provider) != provider:
		case row.glob:
			if matchGlob(pattern, name) {
				groups[2] = append(groups[2], row)
			}
		case canonicalModel(provider, pattern) == name:
			groups[0] = append(groups[0], row)
		case canonicalModel(provider, pattern) == undated:
			groups[1] = append(groups[1], row)
		}
	}
	return groups
}

// compareOwn orders longer patterns first, then later rows; the rest only makes
// the order independent of the input.
func compareOwn(a, b ownRow) int {
	if d := len(b.Model) - len(a.Model); d != 0 {
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
	return id + idTerms(p.ServiceTier, p.EffectiveFrom, hours{})
}

// idTerms is the part of a Rates.ID behind the model.
func idTerms(tier string, from time.Time, daily hours) string {
	s := ""
	if tier != "" {
		s += ";tier=" + tier
	}
	if !from.IsZero() {
		s += ";from=" + from.UTC().Format(time.RFC3339)
	}
	if daily != (hours{}) {
		s += ";" + daily.String()
	}
	return s
}

func digestOwn(own []ownRow) string {
	h := sha256.New()
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
