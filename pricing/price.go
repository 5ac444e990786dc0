package pricing

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"keel/pricing/meter"
)

// Price is a set of rates for one model, in force from a time on: one row of a price book.
//
// A row is the whole price: what it does not state is not looked up in a row
// below it, but falls under the rules of Rates.
type Price struct {
	Provider      string
	Model         string    // exact name or glob ("gpt-5-2*"); an exact name also means its dated snapshots ("gpt-5-2025-08-07")
	EffectiveFrom time.Time // zero: always
	Contract      string    // overrides list prices when set
	ServiceTier   string    // "" for the standard one
	Tiers         []Step    // ascending by Above; the first has Above 0
}

// Step is the rates that apply to the whole call once its input exceeds Above tokens (cliff semantics, as providers bill).
type Step struct {
	Above int64
	Rates map[meter.Kind]PicoUSD
}

// Check says what is wrong with p, if anything.
func (p *Price) Check() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("price of %s/%s: "+format, append([]any{p.Provider, p.Model}, args...)...)
	}
	switch {
	case strings.TrimSpace(p.Provider) == "":
		return errors.New("price without a provider: name one, like openai")
	case strings.TrimSpace(p.Model) == "":
		return fmt.Errorf("price of provider %s without a model: name one, or a glob like \"gpt-5-2*\"", p.Provider)
	case p.Contract == ListPrices:
		return fail("contract %q is a reserved name: choose another", p.Contract)
	case len(p.Tiers) == 0:
		return fail("no rates: state at least input and output per million")
	case p.Tiers[0].Above != 0:
		return fail("the first step starts above %d tokens: it must start at 0", p.Tiers[0].Above)
	}
	for i, step := range p.Tiers {
		if i > 0 && step.Above <= p.Tiers[i-1].Above {
			return fail("step %d starts above %d tokens, not more than the step before: order steps by their start", i+1, step.Above)
		}
		if len(step.Rates) == 0 {
			return fail("step %d has no rates", i+1)
		}
		for kind, rate := range step.Rates {
			if int(kind) >= meter.NumKinds {
				return fail("step %d: unknown meter %v", i+1, kind)
			}
			if rate < 0 {
				return fail("step %d: the rate of %v is negative", i+1, kind)
			}
		}
	}
	return nil
}

// ListPrices, as Terms.Contract, asks for list prices whatever contracts the book holds.
const ListPrices = "list"

// Terms are what a rate depends on besides provider, model and meter.
type Terms struct {
	// At is the time whose rates apply. The zero time finds only rows that were always in force.
	At time.Time
	// ServiceTier as reported, else as requested. "", "default", "standard",
	// "auto" and what providers call the same are the standard one.
	ServiceTier string
	// Contract names the contract whose rows override list prices; "" lets every
	// contract row of the book apply, and ListPrices none.
	Contract string
}
