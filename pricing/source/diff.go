package source

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"

	"keel/pricing"
	"keel/pricing/meter"
)

// Change is one difference between two sets of prices: a row that only one has,
// or one rate of a row that both have.
type Change struct {
	Op       Op
	Price    pricing.Price // the row, without its rates
	Above    int64         // input tokens above which the rate applies; 0 for a whole row
	Meter    string        // "" for a whole row
	Old, New *pricing.PicoUSD
	Percent  string         // New − Old in percent of Old, exact to two decimals, half away from zero; "" where Old is none or 0
	Rates    []pricing.Step // of a row that was added or removed
}

// Op is what happened to a price.
type Op string

// What happens to prices.
const (
	Added   Op = "added"
	Removed Op = "removed"
	Changed Op = "changed"
)

// Diff returns what makes before into after, ordered by provider, model, terms,
// step and meter. Rows are the same where all but their rates and their names in other
// lists is: provider, model, terms, date and time of day.
func Diff(before, after []pricing.Price) []Change {
	before, after = sorted(before), sorted(after)
	var changes []Change
	for len(before)+len(after) > 0 {
		switch order := compareHeads(before, after); {
		case order < 0:
			changes = append(changes, Change{Op: Removed, Price: head(&before[0]), Rates: before[0].Tiers})
			before = before[1:]
		case order > 0:
			changes = append(changes, Change{Op: Added, Price: head(&after[0]), Rates: after[0].Tiers})
			after = after[1:]
		default:
			changes = append(changes, rateChanges(&before[0], &after[0])...)
			before, after = before[1:], after[1:]
		}
	}
	return changes
}

func sorted(prices []pricing.Price) []pricing.Price {
	prices = slices.Clone(prices)
	slices.SortStableFunc(prices, func(a, b pricing.Price) int { return comparePrices(&a, &b) })
	return prices
}

func compareHeads(before, after []pricing.Price) int {
	switch {
	case len(before) == 0:
		return 1
	case len(after) == 0:
		return -1
	}
	return cmp.Or(comparePrices(&before[0], &after[0]), cmp.Compare(currency(&before[0]), currency(&after[0])))
}

func currency(p *pricing.Price) string { return cmp.Or(p.Currency, pricing.USD) }

func head(p *pricing.Price) pricing.Price {
	h := *p
	h.Tiers = nil
	return h
}

// rateChanges compares at every step that either has: a rate holds until the next step.
func rateChanges(before, after *pricing.Price) []Change {
	var starts []int64
	for _, s := range slices.Concat(before.Tiers, after.Tiers) {
		starts = append(starts, s.Above)
	}
	slices.Sort(starts)
	var changes []Change
	for _, above := range slices.Compact(starts) {
		a, b := ratesAt(before.Tiers, above), ratesAt(after.Tiers, above)
		for kind := range meter.Kind(meter.NumKinds) {
			from, had := a[kind]
			to, has := b[kind]
			if had == has && from == to {
				continue
			}
			c := Change{Op: Changed, Price: head(after), Above: above, Meter: kind.String()}
			if had {
				c.Old = &from
			}
			if has {
				c.New = &to
			}
			if had && has && from != 0 {
				c.Percent = percent(from, to)
			}
			changes = append(changes, c)
		}
	}
	return changes
}

func ratesAt(steps []pricing.Step, above int64) map[meter.Kind]pricing.PicoUSD {
	var rates map[meter.Kind]pricing.PicoUSD
	for _, s := range steps {
		if s.Above <= above {
			rates = s.Rates
		}
	}
	return rates
}

func equalSteps(a, b pricing.Step) bool {
	if a.Above != b.Above || len(a.Rates) != len(b.Rates) {
		return false
	}
	for kind, rate := range a.Rates {
		if other, ok := b.Rates[kind]; !ok || other != rate {
			return false
		}
	}
	return true
}

func percent(from, to pricing.PicoUSD) string {
	difference := new(big.Int).Sub(big.NewInt(int64(to)), big.NewInt(int64(from)))
	r := new(big.Rat).SetFrac(difference.Mul(difference, big.NewInt(100)), big.NewInt(int64(from)))
	return r.FloatString(2)
}

// WriteText writes changes for people, a line each.
func WriteText(w io.Writer, changes []Change) error {
	for i := range changes {
		c := &changes[i]
		name := c.Price.Provider + "/" + c.Price.Model + terms(&c.Price)
		var err error
		switch {
		case c.Op == Added:
			_, err = fmt.Fprintf(w, "+ %s: %s\n", name, list(c.Rates, &c.Price))
		case c.Op == Removed:
			_, err = fmt.Fprintf(w, "- %s: %s\n", name, list(c.Rates, &c.Price))
		default:
			step := ""
			if c.Above > 0 {
				step = fmt.Sprintf(" above %d tokens", c.Above)
			}
			share := ""
			if c.Percent != "" {
				share = " (" + sign(c.Percent) + " %)"
			}
			_, err = fmt.Fprintf(w, "~ %s: %s%s %s -> %s%s\n", name, c.Meter, step, show(c.Meter, c.Old, &c.Price), show(c.Meter, c.New, &c.Price), share)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func sign(percent string) string {
	if strings.HasPrefix(percent, "-") {
		return percent
	}
	return "+" + percent
}

// terms is what a row says besides provider and model, with a space before each.
func terms(p *pricing.Price) string {
	var b strings.Builder
	for _, term := range []struct{ name, value string }{
		{"contract", p.Contract}, {"tier", p.ServiceTier}, {"region", p.Region}, {"search", p.SearchContext}, {"daily", p.Daily.String()}, {"in", p.Currency},
	} {
		if term.value != "" {
			fmt.Fprintf(&b, " %s=%s", term.name, term.value)
		}
	}
	if !p.EffectiveFrom.IsZero() {
		fmt.Fprintf(&b, " from=%s", p.EffectiveFrom.UTC().Format("2006-01-02"))
	}
	return b.String()
}

func list(steps []pricing.Step, p *pricing.Price) string {
	var parts []string
	for _, s := range steps {
		for kind := range meter.Kind(meter.NumKinds) {
			rate, ok := s.Rates[kind]
			if !ok {
				continue
			}
			part := kind.String() + " " + show(kind.String(), &rate, p)
			if s.Above > 0 {
				part += fmt.Sprintf(" above %d", s.Above)
			}
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ", ")
}

// show writes a rate as documents have it: by the million for tokens and characters, else by the unit.
func show(name string, rate *pricing.PicoUSD, p *pricing.Price) string {
	if rate == nil {
		return "none"
	}
	if kind, err := meter.ParseKind(name); err == nil && !pricing.ByMillion(kind) {
		return rate.PerUnit() + " " + currency(p)
	}
	return rate.PerMillion() + " " + currency(p) + "/million"
}

// WriteJSON writes changes as a JSON array. Rates are decimal strings of the
// currency by the unit of the meter.
func WriteJSON(w io.Writer, changes []Change) error {
	type row struct {
		Op            Op                          `json:"op"`
		Provider      string                      `json:"provider"`
		Model         string                      `json:"model"`
		Contract      string                      `json:"contract,omitempty"`
		ServiceTier   string                      `json:"service_tier,omitempty"`
		Region        string                      `json:"region,omitempty"`
		SearchContext string                      `json:"search_context,omitempty"`
		Daily         string                      `json:"daily,omitempty"`
		EffectiveFrom string                      `json:"effective_from,omitempty"`
		Currency      string                      `json:"currency"`
		Above         int64                       `json:"above"`
		Meter         string                      `json:"meter,omitempty"`
		Old           *string                     `json:"old,omitempty"`
		New           *string                     `json:"new,omitempty"`
		Percent       string                      `json:"percent,omitempty"`
		Rates         map[int64]map[string]string `json:"rates,omitempty"` // by the tokens above which they apply
	}
	rows := make([]row, 0, len(changes))
	for i := range changes {
		c := &changes[i]
		p := &c.Price
		r := row{
			Op: c.Op, Provider: p.Provider, Model: p.Model, Contract: p.Contract, ServiceTier: p.ServiceTier, Region: p.Region,
			SearchContext: p.SearchContext, Daily: p.Daily.String(), Currency: currency(p), Above: c.Above, Meter: c.Meter, Percent: c.Percent,
		}
		if !p.EffectiveFrom.IsZero() {
			r.EffectiveFrom = p.EffectiveFrom.UTC().Format("2006-01-02")
		}
		for from, into := range map[*pricing.PicoUSD]**string{c.Old: &r.Old, c.New: &r.New} {
			if from != nil {
				s := from.PerUnit()
				*into = &s
			}
		}
		for _, s := range c.Rates {
			if r.Rates == nil {
				r.Rates = map[int64]map[string]string{}
			}
			r.Rates[s.Above] = map[string]string{}
			for kind, rate := range s.Rates {
				r.Rates[s.Above][kind.String()] = rate.PerUnit()
			}
		}
		rows = append(rows, r)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(rows)
}
