package budget

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"keel/pricing"
	"keel/pricing/meter"
)

// The two fields that rates stand in. Each meter belongs in one: pricing.ByMillion.
const (
	perMillion = "per_million"
	perUnit    = "per_unit"
)

// rateField is the field that the rate of a meter is written in.
func rateField(kind meter.Kind) string {
	if pricing.ByMillion(kind) {
		return perMillion
	}
	return perUnit
}

// checkRateField refuses a rate that is a million times what its writer thinks.
// Searches and calls are read by the million, too: they were before there was per_unit.
func checkRateField(field string, kind meter.Kind) error {
	want := rateField(kind)
	switch {
	case field == want, kind == meter.WebSearch, kind == meter.Calls:
		return nil
	case want == perMillion:
		return fmt.Errorf("the rate of %s is for a million: write it under %s", kind, perMillion)
	}
	return fmt.Errorf("the rate of %s is for one: write it under %s", kind, perUnit)
}

// A statedRate is where a rate stands, and the currency written with it, "" for none.
type statedRate struct {
	place
	path, currency string
}

func (r *documentReader) priceFields(p *Price) []field {
	var stated []statedRate
	rates := func(step func() *pricing.Step) []field {
		return []field{
			{perMillion, r.rates(step, perMillion, pricing.PerMillion, &stated)},
			{perUnit, r.rates(step, perUnit, pricing.PerUnit, &stated)},
		}
	}
	r.finish = func() { r.oneCurrency(p, stated) }
	p.Tiers = []pricing.Step{{Rates: map[meter.Kind]pricing.PicoUSD{}}}
	base := func() *pricing.Step { return &p.Tiers[0] }
	return append(rates(base),
		field{"provider", r.str(&p.Provider)}, field{"model", r.str(&p.Model)},
		field{"effective_from", parsed(r, &p.EffectiveFrom, parseDate)},
		field{"contract", r.str(&p.Contract)}, field{"service_tier", r.str(&p.ServiceTier)},
		field{"region", r.str(&p.Region)}, field{"search_context", r.str(&p.SearchContext)},
		field{"daily", parsed(r, &p.Daily, pricing.ParseHours)}, field{"currency", r.str(&p.Currency)},
		// A tier states all its rates: what it leaves out has no price there.
		field{"tiers", func(node ast.Node, path string) {
			for i, item := range r.items(node, path) {
				p.Tiers = append(p.Tiers, pricing.Step{Rates: map[meter.Kind]pricing.PicoUSD{}})
				step := &p.Tiers[len(p.Tiers)-1]
				r.fields(item, fmt.Sprintf("%s[%d]", path, i), append(
					rates(func() *pricing.Step { return step }), field{"above", parsed(r, &step.Above, parsePositive)}))
			}
		}},
	)
}

// rates fills the rates of a step from {meter: rate}.
func (r *documentReader) rates(step func() *pricing.Step, name string, scale int, stated *[]statedRate) func(ast.Node, string) {
	return func(node ast.Node, path string) {
		for _, pair := range r.pairs(node, path) {
			kind, err := meter.ParseKind(keyText(pair.Key))
			if err != nil {
				r.fail(r.at(pair.Key), "unknown meter %q", keyText(pair.Key))
				continue
			}
			if err := checkRateField(name, kind); err != nil {
				r.fail(r.at(pair.Key), "%v", err)
				continue
			}
			if _, twice := step().Rates[kind]; twice {
				r.fail(r.at(pair.Key), "%s has a rate already", kind)
			}
			at := join(path, kind.String())
			text, ok := r.text(pair.Value, at)
			if !ok {
				continue
			}
			rate, currency, err := pricing.ParseRate(text, scale)
			if err != nil {
				r.fail(r.at(pair.Value), "%s: %q: %v", at, text, err)
				continue
			}
			if !strings.Contains(strings.TrimSpace(text), " ") {
				currency = ""
			}
			*stated = append(*stated, statedRate{r.at(pair.Value), at, currency})
			step().Rates[kind] = rate
		}
	}
}

// oneCurrency finds the currency of a price: its field, else what is written with
// the rates, which then has to be written with all of them unless it is USD.
func (r *documentReader) oneCurrency(p *Price, rates []statedRate) {
	otherwise := cmp.Or(p.Currency, pricing.USD)
	if i := slices.IndexFunc(rates, func(s statedRate) bool { return s.currency != "" }); p.Currency == "" && i >= 0 {
		p.Currency = rates[i].currency
	}
	want := cmp.Or(p.Currency, pricing.USD)
	for _, s := range rates {
		switch {
		case cmp.Or(s.currency, otherwise) == want:
		case s.currency == "":
			r.fail(s.place, "%s has no currency, which is %s, and other rates are in %s: write currency: %s once, or a currency with every rate", s.path, otherwise, want, want)
		default:
			r.fail(s.place, "%s is in %s, and the price in %s: all rates of a price are in one currency", s.path, s.currency, want)
		}
	}
}

func (p *Price) setDefaults() {
	p.Meta.setDefaults()
	if p.Currency == pricing.USD {
		p.Currency = ""
	}
}

var currencyPattern = regexp.MustCompile("^[A-Z]{3}$")

func checkCurrency(f *faults, field, currency string) {
	if !currencyPattern.MatchString(currency) {
		f.addf(field, "%s %q: write an ISO 4217 code like EUR", field, currency)
	}
}

func (p *Price) check() faults {
	f := p.Meta.check()
	before := len(f)
	if p.Currency != "" {
		checkCurrency(&f, "currency", p.Currency)
	}
	if p.SearchContext != "" {
		oneOf(&f, "search_context", p.SearchContext, "low", "medium", "high")
	}
	if len(f) == before { // else it says the same again, without the field
		f.add("", p.Price.Check())
	}
	_, err := parseGlob(p.Model)
	f.add("model", err)
	return f
}

func (x *ExchangeRate) check() faults {
	f := x.Meta.check()
	before := len(f)
	checkCurrency(&f, "from", x.From)
	checkCurrency(&f, "to", x.To)
	if x.Rate.Digits <= 0 {
		f.addf("rate", "an exchange rate is more than 0, such as 1.0842")
	}
	if len(f) == before { // what is left is between from and to
		f.add("to", x.Exchange.Check())
	}
	return f
}

func (x *ExchangeRate) fields() (o object) {
	o.set("from", x.From)
	o.set("to", x.To)
	o.set("rate", literal(x.Rate.String()))
	o.set("effective_from", date(x.EffectiveFrom))
	return o
}

func (p *Price) fields() (o object) {
	o.set("provider", p.Provider)
	o.set("model", p.Model)
	o.set("effective_from", date(p.EffectiveFrom))
	o.set("contract", p.Contract)
	o.set("service_tier", p.ServiceTier)
	o.set("region", p.Region)
	o.set("search_context", p.SearchContext)
	o.set("daily", p.Daily.String())
	var tiers []any
	for i, step := range p.Tiers {
		million, unit := p.rateFields(step.Rates)
		if i == 0 && step.Above == 0 {
			o.set(perMillion, million)
			o.set(perUnit, unit)
			continue
		}
		tier := object{{"above", step.Above}}
		tier.set(perMillion, million)
		tier.set(perUnit, unit)
		tiers = append(tiers, tier)
	}
	o.set("tiers", tiers)
	return o
}

// rateFields writes the currency with every rate, so that none is read without it.
func (p *Price) rateFields(rates map[meter.Kind]pricing.PicoUSD) (million, unit object) {
	currency := cmp.Or(p.Currency, pricing.USD)
	for _, kind := range slices.Sorted(maps.Keys(rates)) {
		if rateField(kind) == perMillion {
			million.set(kind.String(), literal(rates[kind].PerMillion()+" "+currency))
		} else {
			unit.set(kind.String(), literal(rates[kind].PerUnit()+" "+currency))
		}
	}
	return million, unit
}
