// Package policy compiles and evaluates the conditions of request rules: CEL
// expressions over who calls (subject) and what is asked (request).
//
//	subject.team == "interns" && request.model.startsWith("claude-opus")
//
// A condition is typed: an unknown field, a comparison of unlike things or a
// result that is no bool is an error with line and column when it is loaded,
// never when a call is waiting. A label that a call does not carry reads "",
// so that subject.team == "x" can't fail; has(subject.team) and "team" in
// subject tell whether it is there.
//
// The package refuses to know money, clocks and anything that changes between
// two looks: the same call under the same policies is always answered the
// same way. What a matching policy does is the business of package budget.
package policy
