// Package pricing turns quantities into money: exact amounts, rates in force at
// a time, the price book that holds them, and the cost of a call's usage.
//
// The same Rates price an estimate before a call and its usage after it, so
// that a budget is never held at one rate and settled at another.
//
// It refuses floats, exchange rates and guesses: a quantity without a rate is
// named in Cost.Unpriced and never counted as zero, and a model that the book
// does not know has no rates.
package pricing
