// Package pages shows what the ledger knows to people who may read it: budgets, statements,
// decisions, routing pressure, the history of the configuration, reconciliation and verification.
//
// Every page is one read-only snapshot of the database, of one organisation, and plain HTML: no script, no build
// step, figures drawn on the server. Amounts are exact numbers, from the row to the page; none is ever a float. A
// viewer sees the organisations that the sign-in gives them, and of others not even whether they exist.
//
// It refuses to change anything, to decide anything, and to fill in what the ledger does not know.
package pages
