// Package pricing turns quantities into money: exact amounts, rates in force at
// a time, the price book that holds them, and the cost of a call's usage.
//
// The same Rates price an estimate before a call and its usage after it, so
// that a budget is never held at one rate and settled at another.
//
// A price comes from, in this order: contract rows, own rows, and the vendored
// catalogue with its overlay. Where a provider sells the models of others, the
// maker's price is found by the name (resale.go).
//
// Costs are in US dollars. A price can be in another currency; the exchange rate in
// force turns its cost into dollars, and the cost names the rate that was used.
//
// It refuses floats and guesses: a quantity without a rate is named in
// Cost.Unpriced and never counted as zero, and a model that the book does not
// know, or whose currency has no exchange rate, has no rates.
package pricing
