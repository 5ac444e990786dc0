// Package policy compiles and evaluates the conditions of request rules: CEL
// expressions over who calls (subject), what is asked and what it would cost
// (request), how far budgets are used (budgets["name"]), which route takes the call
// (route) and when it came (now).
//
//	subject.team == "interns" && request.model.startsWith("claude-opus")
//
// A condition is typed: an unknown field, a comparison of unlike things or a
// result that is no bool is an error with line and column when it is loaded,
// never when a call is waiting. A label that a call does not carry reads "",
// so that subject.team == "x" can't fail; has(subject.team) and "team" in
// subject tell whether it is there.
//
// What a condition costs at most is bounded when it is compiled. Parts that compare
// something with a constant are looked at first, so that of many policies few are evaluated.
//
// The package asks nobody: no clock, no ledger. All that changes between two looks comes with
// the Input, and the same Input is always answered the same way. What a matching policy does is the business of package budget.
package policy
