package pricing

import (
	"slices"

	"keel/pricing/meter"
)

// Rates are what one provider charges for one model on given terms. They are
// immutable.
//
// A meter without a rate of its own is billed by these rules, which follow how
// the providers of the catalogue bill, and else go for more:
//
//   - reasoning at the output rate: reasoning tokens are output tokens to every provider here.
//   - cached input at the input rate, cached audio at the audio rate: a cache never makes a token dearer.
//   - cache writes of the default time at the input rate where the price lists
//     no cache-write rate at all and the provider is known not to bill writes
//     apart (OpenAI, Azure OpenAI, xAI, DeepSeek, Groq, Mistral, Google);
//     else, and for writes of an hour, not at all: Unpriced.
//   - input images at the input rate, video at the image rate: vision models state them as input tokens.
//   - cached images at the rate of images where those have one apart, else at that of cached input.
//   - what a provider counts and does not bill (meter.UnbilledInput, …) costs nothing, whatever a price says.
//   - everything else (audio, output images, searches, calls, pages, seconds, …) has no price
//     without a rate and is named in Cost.Unpriced when its quantity is not zero.
//
// A model with a rate for calls is billed at least one call.
type Rates struct {
	// ID names the row of the price book, as decisions record it: layer,
	// provider, model or glob, and where they apply contract, service tier and date.
	ID string
	// Provider and Model are as the row names them; Model can be a glob.
	Provider, Model string
	// ServiceTier is the one that was priced, "" for the standard one. It differs from the one asked
	// for where a discounted tier has no rates of its own.
	ServiceTier string

	steps    []step
	exchange *Exchange // nil: the rates are in USD
}

// Rate returns the rate of a meter for a call with so many input tokens in all.
func (r *Rates) Rate(kind meter.Kind, inputTokens int64) (PicoUSD, bool) {
	t := r.at(inputTokens)
	if int(kind) >= meter.NumKinds || !t.has(kind) {
		return 0, false
	}
	return t.rates[kind], true
}

// step is a Step with the rules of Rates applied.
type step struct {
	above   int64
	stated  table // what the price says
	table         // with the rules of Rates applied
	dearest table // for HoldCost
}

// at returns the rates of a call with so many input tokens. A negative number is a
// sum that overflowed: more than any step.
func (r *Rates) at(inputTokens int64) *table {
	if inputTokens < 0 {
		return &r.steps[len(r.steps)-1].table
	}
	found := &r.steps[0]
	for i := 1; i < len(r.steps) && inputTokens > r.steps[i].above; i++ {
		found = &r.steps[i]
	}
	return &found.table
}

// table is a rate for each of the meters that have one.
type table struct {
	rates [meter.NumKinds]PicoUSD
	known uint32 // bit per meter
}

const _ = uint32(1 << (meter.NumKinds - 1)) // known has a bit for each

func (t *table) has(kind meter.Kind) bool { return t.known&(1<<kind) != 0 }

func (t *table) set(kind meter.Kind, rate PicoUSD) {
	t.rates[kind] = rate
	t.known |= 1 << kind
}

// inherit gives kind the rate of from where it has none of its own.
func (t *table) inherit(kind, from meter.Kind) {
	if !t.has(kind) && t.has(from) {
		t.set(kind, t.rates[from])
	}
}

// raise takes the dearer of both rates for every meter.
func (t *table) raise(other *table) {
	for kind := range meter.Kind(meter.NumKinds) {
		if other.has(kind) && (!t.has(kind) || other.rates[kind] > t.rates[kind]) {
			t.set(kind, other.rates[kind])
		}
	}
}

// freeCacheWrites are the providers that bill writing to a cache as plain
// input, if their price says nothing else (their prompt caching pages).
var freeCacheWrites = map[string]bool{
	"openai": true, "azure": true, "xai": true, "deepseek": true, "groq": true, "mistral": true, "google": true,
}

func newRates(id string, p *Price) *Rates {
	r := &Rates{ID: id, Provider: p.Provider, Model: p.Model, ServiceTier: p.ServiceTier}
	r.steps = make([]step, len(p.Tiers))
	for i, s := range p.Tiers {
		r.steps[i].above = s.Above
		for kind, rate := range s.Rates {
			r.steps[i].stated.set(kind, rate)
		}
	}
	r.complete()
	return r
}

// complete applies the rules of Rates to what the steps state.
func (r *Rates) complete() {
	for i := range r.steps {
		t := r.steps[i].stated
		billsWrites := t.has(meter.CacheWrite5m) || t.has(meter.CacheWrite1h)
		if !billsWrites && freeCacheWrites[r.Provider] {
			t.inherit(meter.CacheWrite5m, meter.Input)
		}
		t.inherit(meter.CachedInputImage, meter.InputImage) // only where images have a rate of their own
		t.inherit(meter.CachedInput, meter.Input)
		t.inherit(meter.CachedInputImage, meter.CachedInput)
		t.inherit(meter.CachedInputAudio, meter.InputAudio)
		t.inherit(meter.InputImage, meter.Input)
		t.inherit(meter.InputVideo, meter.InputImage)
		t.inherit(meter.Reasoning, meter.Output)
		r.steps[i].table, r.steps[i].dearest = t, dearest(&t)
	}
}

// changed returns a copy of r whose stated rates went through change.
func (r *Rates) changed(change func(*table)) *Rates {
	c := *r
	c.steps = slices.Clone(r.steps)
	for i := range c.steps {
		change(&c.steps[i].stated)
	}
	c.complete()
	return &c
}

// dearest is t with every meter that a token can turn out to be at its dearest.
func dearest(t *table) table {
	d := *t
	collect := func(into meter.Kind, kinds ...meter.Kind) {
		for _, kind := range kinds {
			if d.has(into) && t.has(kind) {
				d.rates[into] = max(d.rates[into], t.rates[kind])
			}
		}
	}
	collect(meter.Input, heldAsInput...)
	collect(meter.Output, heldAsOutput...)
	return d
}

// What a token can turn out to be, when all that is known is that it goes in or out.
var (
	heldAsInput  = []meter.Kind{meter.CachedInput, meter.CacheWrite5m, meter.CacheWrite1h, meter.InputImage, meter.CachedInputImage, meter.InputVideo}
	heldAsOutput = []meter.Kind{meter.Reasoning, meter.OutputAudio, meter.OutputImage, meter.OutputVideo}
)

// ByMillion reports whether people state the rate of a meter by the million
// units, as providers' pages do for tokens and characters; else it is by the unit.
func ByMillion(kind meter.Kind) bool {
	return isToken(kind) || kind == meter.Characters || kind == meter.CacheStorage
}

// isToken reports whether a meter counts tokens.
func isToken(kind meter.Kind) bool { return kind <= meter.UnbilledOutput }

const _ = uint(meter.WebSearch - meter.UnbilledOutput - 1) // the meters of tokens come first
