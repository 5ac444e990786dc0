// Package ledger keeps budgets' accounts, decisions and config documents in
// Postgres, in the schema keel. Ledger is a budget.Ledger: a replica's escrow
// (package escrow), whose Bank is this package's.
//
// For every account, one window of one budget for one value of its labels, Postgres
// keeps settled + leased ≤ ceiling + forced. A slice is leased by one UPDATE whose
// condition is on the row that it changes; the limit in force is a row of its own, which
// the lease locks, so that every lease is before or after an edit. Journals are settled in
// batches, each in one transaction, exactly once: by numbers without gap for each
// org and epoch, and by decision id.
//
// Spend is a sum over (budget, window): no job ever resets a counter. Every
// amount is an int64 of nano-dollars. Commits use the server's synchronous_commit: a
// lease that was answered survives a crash of Postgres, because a lost one could be
// spent twice.
//
// The package does not decide, does not price, and does not compile config
// documents: it refuses rows that no document could have, and hands on the rest.
package ledger
