// Package rerate computes what recorded calls cost under other prices, with the one
// function that prices calls when they close: pricing.Book.Charge.
//
// A record keeps its bills: what was used, by meter and model, on which terms, at which time, for the answer and each attempt before it. They are
// charged again. Records of before have no bills; they have what was used in all, and the row of the price book that each line was
// priced by. From these the facts of the price are read: the model, the service tier, region and
// search context that its row was for. Before a call is rated anew, its recorded lines are checked
// against its usage; and where the other prices depend on a fact that the record does not have, the call
// is rated under every value of it, and left out where the results differ.
//
// It refuses to guess: a call that can't be rated is left as it is, counted, and the report says why. It never
// changes a record: what is booked are adjustments that name the decision they correct.
package rerate
