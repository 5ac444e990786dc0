package pricing

import (
	"errors"
	"fmt"
	"slices"
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
	ServiceTier   string    // batch, flex, priority, fast, …; "" for the standard one
	Region        string    // where the work is done, as Terms.Region has it; "" for any, see Terms
	SearchContext string    // low, medium or high; "" for any
	Daily         Hours     // the time of day when the price applies; zero: all day
	Currency      string    // ISO 4217; "" for USD. Another one needs an Exchange in the book
	Tiers         []Step    // ascending by Above; the first has Above 0
}

// Step is the rates that apply to the whole call once its input exceeds Above tokens (cliff semantics, as providers bill).
type Step struct {
	Above int64
	Rates map[meter.Kind]PicoUSD // in the currency of the price: 1e-12 of it a unit
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
	case p.Currency != "" && !isCurrency(p.Currency):
		return fail("currency %q is not an ISO 4217 code like USD or EUR", p.Currency)
	case p.SearchContext != "" && !slices.Contains(searchContexts, p.SearchContext):
		return fail("search context %q is none of %v", p.SearchContext, searchContexts)
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

// Terms are what a rate depends on besides provider, model and meter. Strings are
// as reported by the provider, else as requested, in any case of letters.
type Terms struct {
	// At is the time whose rates apply. The zero time finds only rows that were always in force.
	At time.Time
	// ServiceTier: "", "default", "standard", "auto" and what providers call the
	// same are the standard one.
	ServiceTier string
	// Speed is "fast" where a faster mode than the normal one was used. It is priced
	// as the service tier "fast"; "" and "standard" change nothing.
	Speed string
	// Region is where the work was done (Anthropic inference_geo: "us"). Of own rows, one
	// for the region wins over one for any, and what the provider charges more in the
	// region comes on top of a row for any. A region that the catalogue does not know changes nothing.
	Region string
	// SearchContext is the size of context that hosted search was asked for: low,
	// medium, high; "" is the provider's default.
	SearchContext string
	// Contract names the contract whose rows override list prices; "" lets every
	// contract row of the book apply, and ListPrices none.
	Contract string
}

var searchContexts = []string{"low", "medium", "high"}
