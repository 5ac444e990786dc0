// Package budget decides what happens to a call before a provider sees it:
// allow, constrain, substitute or deny. It owns the config documents (budgets,
// routes, policies, prices, subjects, settings), their windows, the decision
// and the interface of the ledger that keeps holds and closeouts.
//
// Read it in the order in which a call passes:
//
//	document.go  what an operator writes        read.go, write.go, diff.go: as YAML and JSON
//	validate.go  what a document may say        compile.go, match.go: as an immutable Config
//	call → decide.go → rules.go → candidates.go → estimate.go → hold.go → refuse.go, offline.go → decision
//	closeout.go  what the call cost in the end
//
// It refuses to know Envoy, wire formats and databases, to look at a clock
// (a call carries its time), to use a float for money, and to allow what it
// can't check: an enforced budget denies a call that has no price.
package budget
