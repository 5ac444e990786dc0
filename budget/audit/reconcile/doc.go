// Package reconcile compares what providers say that was used and billed with what
// was recorded, by day, model, account and meter, as fine as the statement is, and says why they differ.
//
// Readers turn a provider's export into a Statement; the sources of their formats are named with
// them. Compare explains each difference by causes whose amounts sum to it exactly; what has no known
// cause is called unexplained. Accepted differences become adjustments: entries that refer to
// the cell that they correct.
//
// It refuses to change a record or a budget, to use a float for money, to add amounts in a
// currency without a rate, and to read on where a file is not what it should be: the error names the place.
package reconcile
