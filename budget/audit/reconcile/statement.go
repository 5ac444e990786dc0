package reconcile

import (
	"cmp"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// Statement is what a provider says.
type Statement struct {
	Provider string
	Zone     *time.Location // of its days
	Lines    []Line
	LeftOut  []string // what of it is not compared, and why
}

// Line is one line of a statement. Strings are "" and numbers nil where it does not say.
type Line struct {
	At       time.Time // within its day
	Model    string    // as the provider calls it
	Account  string
	Meter    string   // as Keel calls it
	Quantity *big.Rat // in the meter's unit
	Cost     *big.Rat // dollars
	Places   int      // decimals of the cost as it was written
}

// has says what a statement tells at all: a comparison can't be finer.
type has struct{ model, account, meter, cost, quantity bool }

func (s *Statement) has() (h has) {
	for i := range s.Lines {
		l := &s.Lines[i]
		h.model = h.model || l.Model != ""
		h.account = h.account || l.Account != ""
		h.meter = h.meter || l.Meter != ""
		h.cost = h.cost || l.Cost != nil
		h.quantity = h.quantity || l.Quantity != nil && l.Meter != ""
	}
	return h
}

// reader collects the lines of a file.
type reader struct {
	*Options
	s     Statement
	total *big.Rat // of all costs, without their signs
	left  []left
	more  string // the next page, where the last one said that there is one
}

// left is what is not compared, for one reason.
type left struct {
	what  string
	lines int64
	cost  *big.Rat // nil where none was told
}

// maxDigits bounds a number of a file: beyond it is no amount, and no memory is spent on it.
const maxDigits = 40

// number reads a decimal, with an exponent where the file has one.
func number(text string) (*big.Rat, error) {
	text = strings.TrimSpace(text)
	mantissa, exponent, _ := strings.Cut(strings.ToLower(text), "e")
	if text == "" || len(mantissa) > maxDigits || len(strings.TrimLeft(exponent, "+-")) > 2 || strings.ContainsAny(text, "/_xXpPbBoO") {
		return nil, fmt.Errorf("%.60q is not a number", text)
	}
	n, ok := new(big.Rat).SetString(text)
	switch {
	case !ok:
		return nil, fmt.Errorf("%.60q is not a number", text)
	case new(big.Rat).Abs(n).Cmp(most) > 0:
		return nil, fmt.Errorf("%.60q is more than any bill", text)
	}
	return n, nil
}

// most is what a line may say, of dollars or of tokens.
var most = big.NewRat(1_000_000_000_000_000, 1)

func places(text string) int {
	mantissa, _, _ := strings.Cut(strings.ToLower(text), "e")
	_, fraction, _ := strings.Cut(mantissa, ".")
	return len(fraction)
}

// cost reads an amount in a currency, as dollars.
func (r *reader) cost(l *Line, text, currency string) error {
	n, err := number(text)
	if err != nil {
		return fmt.Errorf("cost: %w", err)
	}
	l.Places = places(text)
	if currency = strings.ToUpper(strings.TrimSpace(currency)); currency != "" && currency != "USD" {
		rate := r.Rates[currency]
		if rate == nil {
			return fmt.Errorf("cost in %s: say what one %s is worth in dollars with --rate %s=…", currency, currency, currency)
		}
		n.Mul(n, rate)
	}
	l.Cost = n
	if r.total == nil {
		r.total = new(big.Rat)
	}
	if r.total.Add(r.total, new(big.Rat).Abs(n)); r.total.Cmp(mostDollars) > 0 {
		return errors.New("the costs of the file are more than four billion dollars, which can't be counted in nano-dollars")
	}
	return nil
}

var mostDollars = big.NewRat(4_000_000_000, 1)

// add keeps a line, or several with one quantity each.
func (r *reader) add(l Line) { r.s.Lines = append(r.s.Lines, l) }

// quantities adds a line for every meter that counted.
func (r *reader) quantities(l Line, of map[string]int64) error {
	for _, meter := range sortedKeys(of) {
		if of[meter] < 0 {
			return fmt.Errorf("%s: %d is below zero", meter, of[meter])
		}
		if of[meter] == 0 {
			continue
		}
		line := l
		line.Meter, line.Quantity = meter, new(big.Rat).SetInt64(of[meter])
		r.add(line)
	}
	return nil
}

// leaveOut notes a line that is not compared, and its cost as it is written, "" for none.
func (r *reader) leaveOut(what, cost, currency string) {
	i := slices.IndexFunc(r.left, func(l left) bool { return l.what == what })
	if i < 0 {
		i, r.left = len(r.left), append(r.left, left{what: what})
	}
	l := &r.left[i]
	l.lines++
	var of Line
	if cost == "" || r.cost(&of, cost, currency) != nil { // in a currency without a rate it is not added up
		return
	}
	if l.cost == nil {
		l.cost = new(big.Rat)
	}
	l.cost.Add(l.cost, of.Cost)
}

// leftOut says what is not compared, for people.
func (r *reader) leftOut() (notes []string) {
	for _, l := range r.left {
		note := fmt.Sprintf("%s (%d)", l.what, l.lines)
		if l.cost != nil && l.cost.Sign() != 0 {
			note = fmt.Sprintf("%s (%d, %s USD)", l.what, l.lines, trimmed(l.cost.FloatString(9)))
		}
		notes = append(notes, note)
	}
	return notes
}

func trimmed(decimal string) string {
	return strings.TrimSuffix(strings.TrimRight(decimal, "0"), ".")
}

// page notes whether another page follows a page of an API.
func (r *reader) page(more bool, next string) {
	if r.more = ""; more {
		r.more = cmp.Or(next, "unnamed")
	}
}

// day reads a day or an instant.
func (r *reader) day(text string) (time.Time, error) {
	text = strings.TrimSpace(text)
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05 MST", "2006-01-02 15:04:05.999999 MST", "2006-01-02 15:04:05"} {
		if t, err := time.Parse(layout, text); err == nil {
			return inRange(t)
		}
	}
	for _, layout := range []string{time.DateOnly, "2006/01/02", "01/02/2006"} {
		if t, err := time.ParseInLocation(layout, text, r.s.Zone); err == nil {
			return inRange(t.Add(12 * time.Hour)) // noon is within the day, whatever its clocks did
		}
	}
	return time.Time{}, fmt.Errorf("%.60q is neither a day nor a time", text)
}

func inRange(t time.Time) (time.Time, error) {
	if t.Year() < 2015 || t.Year() > 2200 {
		return time.Time{}, fmt.Errorf("%s is not a time of a bill", t.Format(time.RFC3339))
	}
	return t, nil
}

// bucket checks that a bucket of a report is a day at most.
func bucket(start, end time.Time) error {
	if d := end.Sub(start); d <= 0 || d > 25*time.Hour {
		return fmt.Errorf("a bucket from %s to %s: days are compared, so ask the provider for buckets of a day or an hour", start.Format(time.RFC3339), end.Format(time.RFC3339))
	}
	return nil
}

var hundred = big.NewRat(100, 1)
