package source

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"keel/pricing"
)

// Format names a kind of price list.
type Format string

// The formats that can be read.
const (
	GenAI   Format = "genai-prices" // pydantic/genai-prices, prices/new_data/v2/data.json
	LiteLLM Format = "litellm"      // BerriAI/litellm, model_prices_and_context_window.json
)

// Formats are all of them.
var Formats = []Format{GenAI, LiteLLM}

// Imported is what a list says, ordered by provider, model and terms.
type Imported struct {
	Prices  []pricing.Price // no two for the same provider, model, terms and time
	Skipped []Skip
}

// Skip is something in a list that is not in Prices.
type Skip struct {
	Provider, Model string
	Key             string // the key or rule that is the reason, "" for the whole entry
	Reason          string
	Whole           bool // the model goes without a price; else the rest of its price was taken
}

// String is Skip as a line of text.
func (s Skip) String() string {
	name := s.Provider + "/" + s.Model
	if s.Key != "" {
		name += ": " + s.Key
	}
	if s.Whole {
		return name + ": " + s.Reason + " (no price)"
	}
	return name + ": " + s.Reason
}

// maxSize is how large a list may be, in bytes. Those of 2026 have three to four million.
const maxSize = 256 << 20

// Import reads a list. The format "" is told from the content. The error says what
// makes the list as a whole unreadable.
func Import(r io.Reader, format Format) (*Imported, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxSize {
		return nil, fmt.Errorf("price list is longer than %d bytes", maxSize)
	}
	if format == "" {
		if format, err = detect(text); err != nil {
			return nil, err
		}
	}
	var in Imported
	switch format {
	case GenAI:
		err = in.genAI(text)
	case LiteLLM:
		err = in.liteLLM(text)
	default:
		return nil, fmt.Errorf("price list format %q: it is one of %v", format, Formats)
	}
	if err != nil {
		return nil, fmt.Errorf("price list as %s: %w", format, err)
	}
	in.order()
	return &in, nil
}

// detect tells the format by the first byte: genai-prices is an array of
// providers, LiteLLM an object of models.
func detect(text []byte) (Format, error) {
	switch trimmed := bytes.TrimLeft(text, " \t\r\n"); {
	case bytes.HasPrefix(trimmed, []byte("[")):
		return GenAI, nil
	case bytes.HasPrefix(trimmed, []byte("{")):
		return LiteLLM, nil
	}
	return "", errors.New("price list: neither a JSON array as genai-prices writes nor a JSON object as LiteLLM does")
}

func (in *Imported) skip(provider, model, key, format string, args ...any) {
	in.Skipped = append(in.Skipped, Skip{Provider: provider, Model: model, Key: key, Reason: fmt.Sprintf(format, args...)})
}

func (in *Imported) skipWhole(provider, model, key, format string, args ...any) {
	in.skip(provider, model, key, format, args...)
	in.Skipped[len(in.Skipped)-1].Whole = true
}

// order sorts, and drops what says again what an earlier row said.
func (in *Imported) order() {
	slices.SortStableFunc(in.Prices, func(a, b pricing.Price) int { return comparePrices(&a, &b) })
	kept := in.Prices[:0]
	for i := range in.Prices {
		p := &in.Prices[i]
		if n := len(kept); n > 0 && comparePrices(&kept[n-1], p) == 0 {
			if !slices.EqualFunc(kept[n-1].Tiers, p.Tiers, equalSteps) {
				in.skip(p.Provider, p.Model, "", "stated twice with different rates%s: the first is taken", terms(p))
			}
			continue
		}
		kept = append(kept, *p)
	}
	in.Prices = kept
	slices.SortStableFunc(in.Skipped, func(a, b Skip) int {
		return cmp.Or(cmp.Compare(a.Provider, b.Provider), cmp.Compare(a.Model, b.Model), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Reason, b.Reason))
	})
	in.Skipped = slices.Compact(in.Skipped)
}

// comparePrices orders prices by what they are for.
func comparePrices(a, b *pricing.Price) int {
	return cmp.Or(
		cmp.Compare(a.Provider, b.Provider), cmp.Compare(a.Model, b.Model), cmp.Compare(a.Contract, b.Contract),
		cmp.Compare(a.ServiceTier, b.ServiceTier), cmp.Compare(a.Region, b.Region), cmp.Compare(a.SearchContext, b.SearchContext),
		a.EffectiveFrom.Compare(b.EffectiveFrom), cmp.Compare(a.Daily.String(), b.Daily.String()),
	)
}
