// Package ledger keeps budgets' accounts, decisions and config documents in
// Postgres, in the schema keel. It implements budget.Ledger.
//
// A permit is one transaction of two round trips: a conditional UPDATE for
// every hold, whose condition is on the updated row itself, then the decision
// and COMMIT. All holds are taken or none. Everything after the permit
// (closeouts, denials, access log lines) goes through a bounded outbox in
// memory, from which one goroutine writes batches. Each statement of a batch
// is idempotent by decision id, so a batch whose answer was lost is written
// again. A process that dies loses its outbox; what it had permitted stays in
// keel.open_decisions and is closed at the full hold by the sweeper of any
// replica, and a real closeout that comes later replaces that.
//
// Spend is a sum over (budget, window): no job ever resets a counter.
//
// Every amount is an int64 of nano-dollars. Commits use the server's
// synchronous_commit: a permit that was answered survives a crash of Postgres,
// because a lost hold could be spent twice. An operator with a synchronous
// standby gets its guarantee by the server's setting.
//
// The package does not decide, does not price, and does not compile config
// documents: it refuses rows that no document could have, and hands on the rest.
package ledger
