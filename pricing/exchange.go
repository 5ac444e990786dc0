package pricing

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// USD is the currency that every cost is in.
const USD = "USD"

// Exchange is one row of exchange rates: one From is Rate To, from a time on.
type Exchange struct {
	From, To      string // ISO 4217; one of them is USD
	Rate          Decimal
	EffectiveFrom time.Time // zero: always
}

// Decimal is the exact number Digits ÷ 10^Places.
type Decimal struct {
	Digits int64
	Places uint8 // at most maxPlaces
}

const maxPlaces = 18 // 10^18 fits in 64 bits

// ParseDecimal reads a plain decimal such as "1.0842". At most 18 decimals; no
// exponent, sign "+", separators or symbol.
func ParseDecimal(s string) (Decimal, error) {
	_, fraction, _ := strings.Cut(s, ".")
	places := len(strings.TrimRight(fraction, "0"))
	if places > maxPlaces {
		return Decimal{}, fmt.Errorf("%q has more than %d decimals", s, maxPlaces)
	}
	digits, err := parseDecimal(s, places)
	if err != nil {
		return Decimal{}, fmt.Errorf("%q: %w", s, err)
	}
	return Decimal{digits, uint8(places)}, nil
}

// String is the inverse of ParseDecimal.
func (d Decimal) String() string { return formatDecimal(d.Digits, int(d.Places)) }

// Check says what is wrong with x, if anything.
func (x *Exchange) Check() error {
	switch {
	case !isCurrency(x.From) || !isCurrency(x.To):
		return fmt.Errorf("exchange rate from %q to %q: write ISO 4217 codes like EUR", x.From, x.To)
	case x.From == x.To:
		return fmt.Errorf("exchange rate from %s to itself", x.From)
	case x.From != USD && x.To != USD:
		return fmt.Errorf("exchange rate from %s to %s: one of them must be USD, which every cost is in", x.From, x.To)
	case x.Rate.Digits <= 0 || x.Rate.Places > maxPlaces:
		return fmt.Errorf("exchange rate from %s to %s is %s: it must be more than 0", x.From, x.To, x.Rate)
	}
	return nil
}

// currency is the one that x turns into USD.
func (x *Exchange) currency() string {
	if x.From == USD {
		return x.To
	}
	return x.From
}

// perUnit returns what one of x's currency is in USD, as a fraction.
func (x *Exchange) perUnit() (numerator, denominator *big.Int) {
	digits := big.NewInt(x.Rate.Digits)
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(x.Rate.Places)), nil)
	if x.From == USD {
		return scale, digits
	}
	return digits, scale
}

// String names x as a Rates.ID does.
func (x *Exchange) String() string {
	s := x.From + "/" + x.To + "=" + x.Rate.String()
	if !x.EffectiveFrom.IsZero() {
		s += "@" + x.EffectiveFrom.UTC().Format(time.RFC3339)
	}
	return s
}

// WithExchange returns a book with these exchange rates in place of those of b.
// The error names the row that is wrong or there twice, or an own price whose currency has no rate.
func (b *Book) WithExchange(rates []Exchange) (*Book, error) {
	sorted := slices.Clone(rates)
	for i := range sorted {
		if err := sorted[i].Check(); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(sorted, func(a, b Exchange) int {
		if d := strings.Compare(a.currency(), b.currency()); d != 0 {
			return d
		}
		return b.EffectiveFrom.Compare(a.EffectiveFrom)
	})
	for i := 1; i < len(sorted); i++ {
		if sorted[i].currency() == sorted[i-1].currency() && sorted[i].EffectiveFrom.Equal(sorted[i-1].EffectiveFrom) {
			return nil, fmt.Errorf("exchange rate between USD and %s from %s is there twice: delete one", sorted[i].currency(), sorted[i].EffectiveFrom.UTC().Format(time.RFC3339))
		}
	}
	prices := make([]Price, len(b.own))
	for i := range b.own {
		prices[i] = *b.own[i].Price
	}
	return b.catalogue.book(prices, sorted)
}

// exchanges returns the rates of a currency, the latest first.
func (b *Book) exchanges(currency string) []Exchange {
	first := slices.IndexFunc(b.exchange, func(x Exchange) bool { return x.currency() == currency })
	if first < 0 {
		return nil
	}
	n := slices.IndexFunc(b.exchange[first:], func(x Exchange) bool { return x.currency() != currency })
	if n < 0 {
		return b.exchange[first:]
	}
	return b.exchange[first : first+n]
}

// ErrNoExchange says that a book has no exchange rate for a currency at a time.
var ErrNoExchange = errors.New("no exchange rate")

// USD returns what a was worth at a time, rounded half-even, and the rate that was used: nil
// for an amount in USD. The error wraps ErrNoExchange, or is ErrOverflow.
func (b *Book) USD(a Amount, at time.Time) (NanoUSD, *Exchange, error) {
	if a.Currency == USD {
		return NanoUSD(a.Nano), nil, nil
	}
	for i, x := range b.exchanges(a.Currency) {
		if at.Before(x.EffectiveFrom) {
			continue
		}
		numerator, denominator := x.perUnit()
		n := divide(numerator.Mul(numerator, big.NewInt(a.Nano)), denominator, halfEven)
		if !n.IsInt64() {
			return 0, nil, ErrOverflow
		}
		return NanoUSD(n.Int64()), &b.exchanges(a.Currency)[i], nil
	}
	return 0, nil, fmt.Errorf("%w from %s to USD in force at %s", ErrNoExchange, a.Currency, at.UTC().Format(time.RFC3339))
}

// Amount is money in a currency.
type Amount struct {
	Nano     int64  // 1e-9 of the currency
	Currency string // ISO 4217
}

// ParseAmount reads an amount with its ISO 4217 currency: "10 USD", "9.5 EUR". At most nine decimals.
func ParseAmount(s string) (Amount, error) {
	number, currency, found := strings.Cut(strings.TrimSpace(s), " ")
	if !found {
		return Amount{}, fmt.Errorf("money %q has no currency: write it as %q", s, number+" USD")
	}
	currency = strings.TrimSpace(currency)
	if !isCurrency(currency) {
		return Amount{}, fmt.Errorf("money %q: %q is not an ISO 4217 code like USD or EUR", s, currency)
	}
	n, err := parseDecimal(number, nanoPlaces)
	if err != nil {
		return Amount{}, fmt.Errorf("money %q: %w", s, err)
	}
	return Amount{n, currency}, nil
}

// String is the inverse of ParseAmount.
func (a Amount) String() string { return formatDecimal(a.Nano, nanoPlaces) + " " + a.Currency }

func isCurrency(s string) bool {
	return len(s) == 3 && strings.IndexFunc(s, func(r rune) bool { return r < 'A' || r > 'Z' }) < 0
}

// divide returns n ÷ d rounded. d is positive.
func divide(n, d *big.Int, rounding rounding) *big.Int {
	quotient, rest := new(big.Int).DivMod(n, d, new(big.Int)) // rest is never negative
	half := new(big.Int).Lsh(rest, 1).Cmp(d)
	if (rounding == up && rest.Sign() > 0) || (rounding == halfEven && (half > 0 || half == 0 && quotient.Bit(0) == 1)) {
		quotient.Add(quotient, big.NewInt(1))
	}
	return quotient
}
