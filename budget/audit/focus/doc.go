// Package focus writes records as the FinOps Open Cost and Usage Specification has
// them: the columns of FOCUS 1.2, with the provider names of 1.3, and a few of Keel's own, which
// begin with x_. https://focus.finops.org/focus-specification/v1-2/
//
// There is one row a meter: tokens are tokens, and a unit is never "Requests". The
// effective costs of the rows of a call sum to its recorded cost, to the nano-dollar. What was
// charged as bound or hold, because nobody metered it, is a row of its own with
// the unit "Holds".
//
// ListCost and ContractedCost are exactly unit price times quantity, as the
// specification asks; EffectiveCost is the line as it was rounded.
//
// Accepted true-ups are rows of their own behind those of the calls, with ChargeCategory "Adjustment".
//
// It refuses to invent an invoice: BilledCost, which may not be null, is 0, InvoiceId is
// null, and x_BilledCostKnown says false. Where no list price is known, ListUnitPrice is the
// contracted one, and x_ListPriceKnown says false. A call that cost nothing and used nothing has no row.
package focus
