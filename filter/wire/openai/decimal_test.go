package openai

import (
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestDecimal(t *testing.T) {
	t.Parallel()
	for number, want := range map[string]string{
		"0": "0", "0.0": "0", "0e5": "0", "12": "12", "12.50": "12.5", "1.4e-7": "0.00000014", "6e-8": "0.00000006", "2.8E-08": "0.000000028",
		"0.00637625": "0.00637625", "1.5e2": "150", "120e-1": "12", "1E+2": "100", `"0.00425"`: "0.00425", "0.000000028": "0.000000028",
		"-1": "", "1e65": "", "1e-65": "", "abc": "", "": "", ".5": "", "1.2.3": "", "true": "", "null": "", strings.Repeat("9", 65): "", "1e": "",
	} {
		d, ok := readDecimal([]byte(number))
		if ok != (want != "") || ok && d.String() != want {
			t.Errorf("%s reads as %q %v, want %q", number, d, ok, want)
		}
	}
}

// TestDecimalIsExact holds it against math/big.
func TestDecimalIsExact(t *testing.T) {
	t.Parallel()
	number := rapid.StringMatching(`(0|[1-9][0-9]{0,8})(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := number.Draw(t, "a"), number.Draw(t, "b")
		x, okX := readDecimal([]byte(a))
		y, okY := readDecimal([]byte(b))
		if !okX || !okY {
			return // an exponent beyond what is read
		}
		exactX, _ := new(big.Rat).SetString(a)
		exactY, _ := new(big.Rat).SetString(b)
		for _, c := range []struct {
			got  decimal
			want *big.Rat
		}{{x, exactX}, {x.plus(y), new(big.Rat).Add(exactX, exactY)}, {y.plus(x), new(big.Rat).Add(exactX, exactY)}} {
			got, ok := new(big.Rat).SetString(c.got.String())
			if !ok || got.Cmp(c.want) != 0 || strings.ContainsAny(c.got.String(), "eE") {
				t.Fatalf("%s and %s: %q is not %s", a, b, c.got, c.want.RatString())
			}
		}
		const limit = 1 << 40
		if n, ok := x.ceil(limit); ok {
			up := new(big.Rat).SetInt64(n)
			if up.Cmp(exactX) < 0 || new(big.Rat).Sub(up, exactX).Cmp(big.NewRat(1, 1)) >= 0 {
				t.Fatalf("%s rounds up to %d", a, n)
			}
		} else if exactX.Cmp(big.NewRat(limit-1, 1)) < 0 {
			t.Fatalf("%s does not round up", a)
		}
	})
}
