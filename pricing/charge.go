package pricing

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"keel/pricing/meter"
)

// Metered is what one call used.
type Metered struct {
	// Usage is the total that the provider states. It is priced where Parts is nil.
	Usage meter.Usage
	// Parts is what is billed, by model, where that is not simply Usage.
	Parts []meter.Part
	// Models are names of the call's model, the best first: as reported, then as asked
	// for. The first one that has a price is taken; empty names are skipped.
	Models []string
}

// ErrNoPrice says that the book has no price for a model on the terms of a call.
var ErrNoPrice = errors.New("no price")

// Charge returns what provider charges for m on terms t. Each part is priced at
// its own model and rounded by itself, because it is a bill of its own. A quantity without a rate is named in
// Cost.Unpriced. The error wraps ErrNoPrice where a model has no price at all,
// and is ErrOverflow or names the quantity where the usage can't be true.
func (b *Book) Charge(provider string, m Metered, t Terms) (Cost, error) {
	if m.Parts == nil {
		rates, err := b.ratesOf(provider, m.Models, t)
		if err != nil {
			return Cost{}, err
		}
		return rates.Cost(&m.Usage)
	}
	var total Cost
	for i := range m.Parts {
		part := &m.Parts[i]
		models := m.Models
		if part.Model != "" {
			models = []string{part.Model}
		}
		rates, err := b.ratesOf(provider, models, t)
		if err != nil {
			return Cost{}, err
		}
		cost, err := rates.Cost(&part.Usage)
		if err != nil {
			return Cost{}, err
		}
		if err := total.add(&cost); err != nil {
			return Cost{}, err
		}
	}
	return total, nil
}

// ratesOf returns the rates of the first of models that has some.
func (b *Book) ratesOf(provider string, models []string, t Terms) (*Rates, error) {
	for _, model := range models {
		if model == "" {
			continue
		}
		if rates, ok := b.Rates(provider, model, t); ok {
			return rates, nil
		}
	}
	return nil, fmt.Errorf("%w in the book for %s", ErrNoPrice, said(provider, models, t))
}

// said tells people what has no price: xai/grok-9 or xai/grok-9-latest on 2026-01-02, service tier flex.
func said(provider string, models []string, t Terms) string {
	var names []string
	for _, model := range models {
		if name := provider + "/" + model; model != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if names == nil {
		names = []string{provider + ", as no model was named,"}
	}
	text := strings.Join(names, " or ") + " on " + t.At.UTC().Format(time.DateOnly)
	for _, term := range [][2]string{{"service tier", t.ServiceTier}, {"speed", t.Speed}, {"region", t.Region}, {"contract", t.Contract}} {
		if term[1] != "" {
			text += ", " + term[0] + " " + term[1]
		}
	}
	return text
}
