package pricing

import (
	"bytes"
	_ "embed"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"keel/pricing/meter"
)

// The overlay is kept by hand: what the providers document, or recorded
// traffic shows, and the catalogue's source does not have.
//
//go:embed catalog/overlay.json
var overlaid []byte

// amendment adds to or changes the list prices of some models of a provider
// while it is in force.
type amendment struct {
	provider       string
	models, except []string // globs over canonical names
	from, until    time.Time
	checked        time.Time // when its source was looked at
	tier           string    // a service tier that the catalogue does not list: the standard rates by factor; with replace, one that it lists; "" for all that it lists
	region         []string  // globs; nil: any, also none
	search         []string  // "" for a call that states none; nil: any
	replace        bool      // rates override those of the catalogue; else they fill in what it lacks
	missing        bool      // rates are the whole price of a model that the catalogue does not have; else they need one
	rates          table
	factor         *Decimal // of every rate of a token meter; nil: 1
}

// amendmentFile is one row as it is written. Each says where it is from and when
// that was looked at.
type amendmentFile struct {
	Provider   string            `json:"provider"`
	Models     []string          `json:"models"`
	Except     []string          `json:"except"`
	From       string            `json:"from"`  // date, UTC
	Until      string            `json:"until"` // date, UTC, exclusive
	Tier       string            `json:"tier"`
	Region     []string          `json:"region"`
	Search     []string          `json:"search_context"`
	Replace    bool              `json:"replace"`
	Missing    bool              `json:"missing"`
	PerMillion map[string]string `json:"per_million"` // dollars
	PerUnit    map[string]string `json:"per_unit"`    // dollars
	Factor     string            `json:"factor"`
	Source     string            `json:"source"`
	Checked    string            `json:"checked"` // date
}

func parseOverlay(text []byte) ([]amendment, error) {
	var file struct {
		Amendments []amendmentFile `json:"amendments"`
	}
	if err := json.UnmarshalRead(bytes.NewReader(text), &file, json.RejectUnknownMembers(true)); err != nil {
		return nil, err
	}
	amendments := make([]amendment, 0, len(file.Amendments))
	for i := range file.Amendments {
		a, err := file.Amendments[i].amendment()
		if err != nil {
			return nil, fmt.Errorf("overlay row %d, %s %v: %w", i+1, file.Amendments[i].Provider, file.Amendments[i].Models, err)
		}
		amendments = append(amendments, a)
	}
	return amendments, nil
}

func (f *amendmentFile) amendment() (amendment, error) {
	a := amendment{provider: f.Provider, models: f.Models, except: f.Except, tier: f.Tier, region: f.Region, search: f.Search, replace: f.Replace, missing: f.Missing}
	for text, into := range map[*string]*time.Time{&f.From: &a.from, &f.Until: &a.until, &f.Checked: &a.checked} {
		if *text == "" {
			continue
		}
		day, err := time.Parse(time.DateOnly, *text)
		if err != nil {
			return a, err
		}
		*into = day
	}
	if f.Provider == "" || len(f.Models) == 0 || f.Source == "" || a.checked.IsZero() {
		return a, fmt.Errorf("provider, models, source and checked are needed")
	}
	for _, group := range []struct {
		rates map[string]string
		parse func(string) (PicoUSD, error)
	}{{f.PerMillion, ParsePerMillion}, {f.PerUnit, ParsePerUnit}} {
		for name, text := range group.rates {
			kind, err := meter.ParseKind(name)
			if err != nil {
				return a, err
			}
			rate, err := group.parse(text)
			if err != nil {
				return a, err
			}
			a.rates.set(kind, rate)
		}
	}
	if f.Factor != "" {
		factor, err := ParseDecimal(f.Factor)
		if err != nil {
			return a, err
		}
		a.factor = &factor
	}
	if (a.rates.known == 0) == (a.factor == nil) {
		return a, fmt.Errorf("state either rates or a factor")
	}
	return a, nil
}

// conditions are the terms of a call that choose amendments, in canonical form.
type conditions struct{ region, search string }

func (a *amendment) applies(provider, name string, on conditions) bool {
	matches := func(globs []string, s string) bool {
		return slices.ContainsFunc(globs, func(glob string) bool { return matchGlob(glob, s) })
	}
	return a.provider == provider && matches(a.models, name) && !matches(a.except, name) &&
		(a.region == nil || matches(a.region, on.region)) && (a.search == nil || slices.Contains(a.search, on.search))
}

// amend applies what the overlay says of a model to its rows. A row is split
// where an amendment begins or ends.
func (c *catalogue) amend(rows []planned, provider, name, tier string, on conditions) []planned {
	var found []*amendment
	for i := range c.amendments {
		a := &c.amendments[i]
		switch {
		case !a.applies(provider, name, on), a.missing && len(rows) > 0, a.tier != "" && (a.tier != tier || len(rows) > 0 && !a.replace):
		default:
			found = append(found, a)
		}
	}
	if len(rows) == 0 && slices.ContainsFunc(found, func(a *amendment) bool { return a.tier != "" }) {
		rows = inTier(c.listed(provider, name, ""), tier)
	}
	if len(rows) == 0 && (tier == "" || discounted[tier]) {
		rows = whole(found, provider, name)
	}
	return split(rows, found)
}

// inTier returns standard rows as rows of a tier, for an amendment to raise.
func inTier(rows []planned, tier string) []planned {
	renamed := slices.Clone(rows)
	for i := range renamed {
		r := *renamed[i].rates
		r.ServiceTier = tier
		r.ID += ";tier=" + tier
		renamed[i].rates = &r
	}
	return renamed
}

// surcharge applies only the factors of a region, which hold for the company's own rates too.
func (c *catalogue) surcharge(row planned, provider, name string, on conditions) []planned {
	var found []*amendment
	for i := range c.amendments {
		if a := &c.amendments[i]; a.factor != nil && a.region != nil && a.tier == "" && a.applies(provider, name, on) {
			found = append(found, a)
		}
	}
	return split([]planned{row}, found)
}

// whole returns the empty row that an amendment of a missing model fills, if there is one.
func whole(found []*amendment, provider, name string) []planned {
	for _, a := range found {
		if a.missing {
			id := "list:" + provider + "/" + name + idTerms("", a.from, Hours{})
			return []planned{{rates: newRates(id, &Price{Provider: provider, Model: name, Tiers: []Step{{}}}), from: a.from}}
		}
	}
	return nil
}

func split(rows []planned, by []*amendment) []planned {
	if len(by) == 0 {
		return rows
	}
	var result []planned
	for _, row := range rows {
		starts := []time.Time{row.from}
		for _, a := range by {
			for _, day := range []time.Time{a.from, a.until} {
				if day.After(row.from) {
					starts = append(starts, day)
				}
			}
		}
		slices.SortFunc(starts, func(a, b time.Time) int { return b.Compare(a) })
		for _, start := range slices.CompactFunc(starts, time.Time.Equal) {
			result = append(result, planned{rates: row.rates.amended(by, start), from: start, daily: row.daily})
		}
	}
	return result
}

// amended returns r with what is in force at a time.
func (r *Rates) amended(by []*amendment, at time.Time) *Rates {
	if r == nil {
		return nil
	}
	changed := *r
	result := &changed
	for _, a := range by {
		if at.Before(a.from) || !a.until.IsZero() && !at.Before(a.until) {
			continue
		}
		result = result.changed(func(t *table) { a.change(t, r.ServiceTier) })
	}
	if result != &changed {
		result.ID += ";amended"
	}
	return result
}

// change amends the stated rates of a row. Tokens of a service tier keep the rates that the tier lists.
func (a *amendment) change(t *table, tier string) {
	for kind := range meter.Kind(meter.NumKinds) {
		replace := a.replace && (tier == "" || !isToken(kind))
		if a.rates.has(kind) && (replace || !t.has(kind)) {
			t.set(kind, a.rates.rates[kind])
		}
		if a.factor != nil && t.has(kind) && isToken(kind) {
			t.set(kind, times(t.rates[kind], a.factor))
		}
	}
}

// times returns rate × factor, rounded up to the pico-dollar.
func times(rate PicoUSD, factor *Decimal) PicoUSD {
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(factor.Places)), nil)
	product := new(big.Int).Mul(big.NewInt(int64(rate)), big.NewInt(factor.Digits))
	return PicoUSD(limited(divide(product, scale, up), 1<<63-1))
}

// conditions returns the canonical form of what t says.
func (t *Terms) conditions() conditions {
	on := conditions{strings.ToLower(t.Region), strings.ToLower(t.SearchContext)}
	if on.region == "not_available" || on.region == "global" {
		on.region = ""
	}
	return on
}
