package source

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"keel/pricing"
)

// exact reads a JSON number as the decimal that it spells.
func exact(number string) (*big.Rat, error) {
	mantissa, exponent, found := strings.Cut(strings.ToLower(number), "e")
	if e, err := strconv.Atoi(exponent); len(mantissa) > 64 || found && (err != nil || e < -64 || e > 64) {
		return nil, fmt.Errorf("%.70s is no price", number)
	}
	r, ok := new(big.Rat).SetString(number)
	if !ok {
		return nil, fmt.Errorf("%.70s is no number", number)
	}
	if r.Sign() < 0 {
		return nil, fmt.Errorf("%s is less than nothing", number)
	}
	return r, nil
}

// noise is how much more than a whole pico-dollar is floating-point noise of the
// list: one millionth of it.
var noise = big.NewRat(1, 1_000_000)

// perUnit turns dollars for so many units into a rate, rounded up to the
// pico-dollar where a list is finer than that.
func perUnit(dollars *big.Rat, units int64) (pricing.PicoUSD, error) {
	r := new(big.Rat).Mul(dollars, big.NewRat(1_000_000_000_000, units))
	whole := new(big.Int).Quo(r.Num(), r.Denom())
	if rest := new(big.Rat).Sub(r, new(big.Rat).SetInt(whole)); rest.Cmp(noise) > 0 {
		whole.Add(whole, big.NewInt(1))
	}
	if !whole.IsInt64() {
		return 0, pricing.ErrOverflow
	}
	return pricing.PicoUSD(whole.Int64()), nil
}
