package pricing

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// NanoUSD is an amount of money in nano-dollars (1e-9 USD): ±9.2 billion dollars.
type NanoUSD int64

// PicoUSD is a rate in pico-dollars (1e-12 USD) per unit of a meter, so that
// $1 per million tokens is 1 000 000.
type PicoUSD int64

const (
	nanoPlaces = 9  // decimals of a dollar that a NanoUSD can hold
	ratePlaces = 6  // decimals of dollars per million that a PicoUSD can hold
	unitPlaces = 12 // decimals of dollars per unit that a PicoUSD can hold
)

// ErrOverflow says that an amount does not fit: more than about 9.2 billion dollars.
var ErrOverflow = errors.New("amount is too large for 64-bit nano-dollars")

// ParseUSD reads a plain decimal amount of dollars without a currency:
// "2500", "0.000123", "-1.5". At most nine decimals; no exponent, sign "+",
// separators or symbol. It is for places where dollars are agreed, such as a
// column named limit_usd; documents that people write go through ParseMoney.
func ParseUSD(s string) (NanoUSD, error) {
	n, err := parseDecimal(s, nanoPlaces)
	if err != nil {
		return 0, fmt.Errorf("amount of dollars %q: %w", s, err)
	}
	return NanoUSD(n), nil
}

// ParseMoney reads an amount with its ISO 4217 currency: "2500 USD". Only USD
// is accepted; for others there is ParseAmount, and Book.USD to exchange them.
func ParseMoney(s string) (NanoUSD, error) {
	a, err := ParseAmount(s)
	if err != nil {
		return 0, err
	}
	if err := checkCurrency(a.Currency); err != nil {
		return 0, fmt.Errorf("money %q: %w", s, err)
	}
	return NanoUSD(a.Nano), nil
}

// ParsePerMillion reads a rate in dollars per million units: "1.25" or "10 USD".
// At most six decimals, which is one pico-dollar a unit; a negative rate is an error.
func ParsePerMillion(s string) (PicoUSD, error) {
	rate, currency, err := ParseRate(s, ratePlaces)
	if err == nil {
		err = checkCurrency(currency)
	}
	if err != nil {
		return 0, fmt.Errorf("price per million %q: %w", s, err)
	}
	return rate, nil
}

// ParsePerUnit reads a rate in dollars per unit: "0.005" or "0.01 USD". At most
// twelve decimals, which is one pico-dollar; a negative rate is an error.
func ParsePerUnit(s string) (PicoUSD, error) {
	rate, currency, err := ParseRate(s, unitPlaces)
	if err == nil {
		err = checkCurrency(currency)
	}
	if err != nil {
		return 0, fmt.Errorf("price per unit %q: %w", s, err)
	}
	return rate, nil
}

// Scales of ParseRate.
const (
	PerMillion = ratePlaces
	PerUnit    = unitPlaces
)

// ParseRate reads a rate with or without its currency, "9.5 EUR": PerMillion units or
// PerUnit. Without one the currency is USD. The rate is in 1e-12 of the currency a unit.
func ParseRate(s string, scale int) (rate PicoUSD, currency string, err error) {
	number, currency, found := strings.Cut(strings.TrimSpace(s), " ")
	currency = strings.TrimSpace(currency)
	if !found {
		currency = USD
	}
	if !isCurrency(currency) {
		return 0, "", fmt.Errorf("%q is not an ISO 4217 code like USD or EUR", currency)
	}
	n, err := parseDecimal(number, scale)
	if err != nil {
		return 0, "", err
	}
	if n < 0 {
		return 0, "", errors.New("a price can't be negative")
	}
	return PicoUSD(n), currency, nil
}

// String returns the exact amount in dollars, without trailing zeros: "0.000123".
func (n NanoUSD) String() string { return formatDecimal(int64(n), nanoPlaces) }

// Append appends String to b.
func (n NanoUSD) Append(b []byte) []byte { return appendDecimal(b, int64(n), nanoPlaces) }

// MarshalText is String: JSON and YAML carry money as a decimal string.
func (n NanoUSD) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText is ParseUSD.
func (n *NanoUSD) UnmarshalText(text []byte) error {
	v, err := ParseUSD(string(text))
	if err == nil {
		*n = v
	}
	return err
}

// Add returns n + m, or ErrOverflow.
func (n NanoUSD) Add(m NanoUSD) (NanoUSD, error) {
	sum := n + m
	if (m > 0 && sum < n) || (m < 0 && sum > n) {
		return 0, ErrOverflow
	}
	return sum, nil
}

// Percent returns percent hundredths of n, rounded down towards zero:
// the threshold of a tier. percent must be in 0..1000000; ErrOverflow if the result does not fit.
func (n NanoUSD) Percent(percent int) (NanoUSD, error) {
	if percent < 0 || percent > 1_000_000 {
		return 0, fmt.Errorf("percentage %d is not in 0..1000000", percent)
	}
	magnitude := uint64(n)
	if n < 0 {
		magnitude = -magnitude
	}
	hi, lo := bits.Mul64(magnitude, uint64(percent))
	if hi >= 100 {
		return 0, ErrOverflow
	}
	q, _ := bits.Div64(hi, lo, 100)
	if q > math.MaxInt64 {
		return 0, ErrOverflow
	}
	if n < 0 {
		return -NanoUSD(q), nil
	}
	return NanoUSD(q), nil
}

// PerMillion returns the exact rate in dollars per million units: "1.25".
func (p PicoUSD) PerMillion() string { return formatDecimal(int64(p), ratePlaces) }

// AppendPerMillion appends PerMillion to b.
func (p PicoUSD) AppendPerMillion(b []byte) []byte { return appendDecimal(b, int64(p), ratePlaces) }

// PerUnit returns the exact rate in dollars per unit: "0.00000125".
func (p PicoUSD) PerUnit() string { return formatDecimal(int64(p), unitPlaces) }

// String returns the rate as people read it: "1.25 USD/million".
func (p PicoUSD) String() string { return p.PerMillion() + " USD/million" }

func checkCurrency(currency string) error {
	if currency == USD {
		return nil
	}
	return fmt.Errorf("currency %q is not supported here: state it in USD", currency)
}

// parseDecimal reads -?digits[.digits] with at most places decimals as an
// integer of 10^-places.
func parseDecimal(s string, places int) (int64, error) {
	digits, negative := strings.CutPrefix(s, "-")
	whole, fraction, dotted := strings.Cut(digits, ".")
	if !allDigits(whole) || (dotted && !allDigits(fraction)) {
		return 0, errors.New("not a decimal number like 12 or 12.50 (no exponent, separators or symbols)")
	}
	// Trailing zeros say nothing about precision: 1.2500000000 is exact.
	fraction = strings.TrimRight(fraction, "0")
	if len(fraction) > places {
		return 0, fmt.Errorf("more than %d decimals: it can't be kept exactly", places)
	}
	all := strings.TrimLeft(whole+fraction+strings.Repeat("0", places-len(fraction)), "0")
	if all == "" {
		return 0, nil
	}
	if negative {
		all = "-" + all
	}
	n, err := strconv.ParseInt(all, 10, 64)
	if err != nil {
		return 0, ErrOverflow // the only error left for digits
	}
	return n, nil
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func formatDecimal(n int64, places int) string {
	var room [maxPlaces + 24]byte
	return string(appendDecimal(room[:0], n, places))
}

func appendDecimal(b []byte, n int64, places int) []byte {
	magnitude := uint64(n)
	if n < 0 {
		magnitude = -magnitude
		b = append(b, '-')
	}
	var room [20]byte
	digits := strconv.AppendUint(room[:0], magnitude, 10)
	whole := max(len(digits)-places, 0)
	if whole == 0 {
		b = append(b, '0')
	}
	b = append(b, digits[:whole]...)
	fraction := bytes.TrimRight(digits[whole:], "0")
	if len(fraction) == 0 {
		return b
	}
	b = append(b, '.')
	for range places - (len(digits) - whole) {
		b = append(b, '0')
	}
	return append(b, fraction...)
}
