package pages

import (
	"fmt"
	"html/template"
	"math/big"
	"strings"
)

// usd is an amount of nano-dollars, or none: what nobody knows. It is read from whole numbers as text.
type usd struct{ n *big.Int }

// Scan implements sql.Scanner.
func (u *usd) Scan(from any) error {
	switch v := from.(type) {
	case nil:
		u.n = nil
		return nil
	case string:
		n, ok := new(big.Int).SetString(v, 10)
		if !ok {
			return fmt.Errorf("%q is no number of nano-dollars", v)
		}
		u.n = n
		return nil
	}
	return fmt.Errorf("%T is no number of nano-dollars", from)
}

// Known says whether there is an amount.
func (u usd) Known() bool { return u.n != nil }

// Positive is false for what nobody knows.
func (u usd) Positive() bool { return u.n != nil && u.n.Sign() > 0 }

func (u usd) above(v usd) bool { return u.n != nil && v.n != nil && u.n.Cmp(v.n) > 0 }

func (u usd) plus(v usd) usd {
	if u.n == nil || v.n == nil {
		return usd{}
	}
	return usd{new(big.Int).Add(u.n, v.n)}
}

// permille is the share of u in all, rounded down, from 0 to 1000.
func (u usd) permille(all usd) int64 {
	if !u.Positive() || !all.Positive() {
		return 0
	}
	share := new(big.Int).Mul(u.n, big.NewInt(1000))
	share.Div(share, all.n)
	if share.Cmp(big.NewInt(1000)) > 0 {
		return 1000
	}
	return share.Int64()
}

// parts are the whole dollars with separators, and the fraction: the digits that count, at least two, and the zeros behind them.
func (u usd) parts() (sign, whole, fraction, zeros string) {
	digits := new(big.Int).Abs(u.n).String()
	if len(digits) < 10 {
		digits = strings.Repeat("0", 10-len(digits)) + digits
	}
	whole, fraction = digits[:len(digits)-9], digits[len(digits)-9:]
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	kept := max(2, len(strings.TrimRight(fraction, "0")))
	if u.n.Sign() < 0 {
		sign = "−"
	}
	return sign, whole, fraction[:kept], fraction[kept:]
}

// String is the amount with all the digits that count.
func (u usd) String() string {
	if u.n == nil {
		return "unknown"
	}
	sign, whole, fraction, _ := u.parts()
	return sign + "$" + whole + "." + fraction
}

// HTML is the amount for a column: always nine decimals, so that points stand below each other; the zeros at the end are faint.
func (u usd) HTML() template.HTML {
	if u.n == nil {
		return `<span class="unknown">unknown</span>`
	}
	sign, whole, fraction, zeros := u.parts() // digits, commas and a sign: nothing to escape
	if zeros != "" {
		zeros = "<i>" + zeros + "</i>"
	}
	return template.HTML("<data>" + sign + whole + "." + fraction + zeros + "</data>")
}

// grouped puts separators into a whole number that is text.
func grouped(digits string) string {
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "−", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// orZero is a sum that nothing was added to yet.
func orZero(u usd) usd {
	if u.n == nil {
		return usd{new(big.Int)}
	}
	return u
}

// addNumbers adds decimal numbers, exactly.
func addNumbers(numbers []string) (string, error) {
	sum := new(big.Rat)
	places := 0
	for _, text := range numbers {
		n, ok := new(big.Rat).SetString(text)
		if !ok {
			return "", fmt.Errorf("%q is no number", text)
		}
		sum.Add(sum, n)
		if _, fraction, found := strings.Cut(text, "."); found {
			places = max(places, len(fraction))
		}
	}
	return sum.FloatString(places), nil
}

// dollars reads a decimal number of dollars, to a billionth.
func dollars(text string) (usd, error) {
	n, ok := new(big.Rat).SetString(text)
	if !ok {
		return usd{}, fmt.Errorf("%q is no amount", text)
	}
	n.Mul(n, big.NewRat(1_000_000_000, 1))
	if !n.IsInt() {
		return usd{}, fmt.Errorf("%q is no whole number of billionths of a dollar", text)
	}
	return usd{n.Num()}, nil
}
