// Package alert finds what somebody should know, writes it down once, and tells a webhook: tiers that budgets
// reached, forecasts beyond a limit, traffic that nobody metered, models without a price, and what reconciliation and
// verification report.
//
// What is found is a row of keel.alerts whose key says what it is about, so however many processors look, there is one.
// A webhook hears of each at least once, with an id that stays the same.
//
// It decides nothing: no call waits for an alert, and none is denied by one.
package alert
