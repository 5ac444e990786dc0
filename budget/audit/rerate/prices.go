package rerate

import (
	"context"
	"fmt"

	"keel/budget"
	"keel/pricing"
)

// History is where documents of the past are: the config database.
type History interface {
	Revisions(ctx context.Context, org string, kinds ...budget.Kind) ([]int64, error)
	At(ctx context.Context, org string, revision int64, kinds ...budget.Kind) (budget.Documents, error)
	Get(ctx context.Context, org string, kind budget.Kind, name string) (budget.Documents, error)
}

var priceKinds = []budget.Kind{budget.KindPrice, budget.KindExchangeRate}

// Current is the book of an org as it is configured now.
func Current(ctx context.Context, from History, org string) (*pricing.Book, error) {
	docs, err := from.Get(ctx, org, "", "")
	if err != nil {
		return nil, err
	}
	return bookOf(docs, org)
}

// List is the catalogue alone, with the org's exchange rates.
func List(ctx context.Context, from History, org string) (*pricing.Book, error) {
	docs, err := from.Get(ctx, org, budget.KindExchangeRate, "")
	if err != nil {
		return nil, err
	}
	return bookOf(docs, org)
}

// Proposed is a book of the prices of documents in place of the org's own, over the catalogue; exchange rates that
// they do not have are the org's.
func Proposed(ctx context.Context, from History, org string, docs budget.Documents) (*pricing.Book, error) {
	own, err := from.Get(ctx, org, budget.KindExchangeRate, "")
	if err != nil {
		return nil, err
	}
	proposed := budget.Documents{Prices: docs.Prices, ExchangeRates: docs.ExchangeRates}
	for i := range proposed.Prices {
		proposed.Prices[i].Org = org
	}
	for i := range proposed.ExchangeRates {
		proposed.ExchangeRates[i].Org = org
	}
	return bookOf(own.Over(proposed), org)
}

// Version is the book of a version, as records name it: built again from the history of the org's prices.
func Version(ctx context.Context, from History, org, version string) (*pricing.Book, error) {
	if list := pricing.Catalog(); list.Version() == version {
		return list, nil
	}
	revisions, err := from.Revisions(ctx, org, priceKinds...)
	if err != nil {
		return nil, err
	}
	for _, revision := range revisions {
		docs, err := from.At(ctx, org, revision, priceKinds...)
		if err != nil {
			return nil, err
		}
		book, err := bookOf(docs, org)
		if err == nil && book.Version() == version {
			return book, nil
		}
	}
	return nil, fmt.Errorf("no price book of org %s has version %q: it needs this binary's catalogue (%s) and prices of the org's history; records name versions as price_version",
		org, version, pricing.Catalog().Version())
}

func bookOf(docs budget.Documents, org string) (*pricing.Book, error) {
	config, err := budget.Compile(budget.Documents{Prices: docs.Prices, ExchangeRates: docs.ExchangeRates}, pricing.Catalog())
	if err != nil {
		return nil, err
	}
	return config.Book(org), nil
}
