// Package forecast says what a budget's window may come to: the review pages show it, and alerts go by it.
//
// It knows no database and no calendar: it is told when a window began and ends. A forecast is not a record, and
// nothing is decided by it.
package forecast

import (
	"fmt"
	"math/big"
	"time"
)

// Of carries the average of a window so far on to its end, in nano-dollars, rounded up; what is spent and held is its
// least. How says how it was made, or why amount is nil. start and end are nil where the window has none. A forecast is
// made once a twentieth of the window is over: before, one call would be a trend.
func Of(spent, held *big.Int, start, end *time.Time, now time.Time) (amount *big.Int, how string) {
	switch {
	case start == nil:
		return nil, "a lifetime has no end"
	case end == nil:
		return nil, "a rolling window has no end"
	}
	elapsed, length := now.Sub(*start), end.Sub(*start)
	if elapsed <= 0 || elapsed < length/20 {
		return nil, fmt.Sprintf("too early: %s of %s are over", inWords(elapsed), inWords(length))
	}
	// ⌈spent × length ÷ elapsed⌉, in microseconds as the database counts.
	amount = new(big.Int).Mul(spent, big.NewInt(length.Microseconds()))
	by := big.NewInt(elapsed.Microseconds())
	amount.Add(amount, new(big.Int).Sub(by, big.NewInt(1)))
	amount.Div(amount, by)
	if least := new(big.Int).Add(spent, held); least.Cmp(amount) > 0 {
		return least, "spent and held"
	}
	return amount, fmt.Sprintf("spent ÷ %s × %s", inWords(elapsed), inWords(length))
}

// inWords is a time as people say it.
func inWords(d time.Duration) string {
	if d >= 48*time.Hour {
		return fmt.Sprintf("%d.%d days", d/(24*time.Hour), d%(24*time.Hour)*10/(24*time.Hour))
	}
	if d >= 2*time.Hour {
		return fmt.Sprintf("%d.%d hours", d/time.Hour, d%time.Hour*10/time.Hour)
	}
	return fmt.Sprintf("%d minutes", max(0, d)/time.Minute)
}
