package openai

import (
	"bytes"
	"strconv"
	"strings"
)

// decimal is a number that is not negative, held exactly: digits times ten to
// the power of -scale. Money is read with it, so no value passes through a
// float.
type decimal struct {
	digits string // without leading zeros; "" is zero
	scale  int    // may be negative
}

// maxScale bounds exponents and lengths: beyond it a number is no price but an attempt to have zeros written.
const maxScale = 64

// readDecimal reads a JSON number, with or without quotes around it.
func readDecimal(number []byte) (d decimal, ok bool) {
	number = bytes.Trim(number, `"`)
	mantissa, exponent := number, 0
	if i := bytes.IndexAny(number, "eE"); i >= 0 {
		n, err := strconv.Atoi(string(number[i+1:]))
		if err != nil || n < -maxScale || n > maxScale {
			return decimal{}, false
		}
		mantissa, exponent = number[:i], n
	}
	whole, fraction, _ := bytes.Cut(mantissa, []byte{'.'})
	if len(whole) == 0 || len(whole)+len(fraction) > maxScale {
		return decimal{}, false
	}
	digits := string(whole) + string(fraction)
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return decimal{}, false
		}
	}
	return decimal{digits: strings.TrimLeft(digits, "0"), scale: len(fraction) - exponent}, true
}

// String renders d in plain notation, without an exponent and without zeros
// that say nothing: "0.000123", "12", "0".
func (d decimal) String() string {
	digits := d.digits
	if digits == "" {
		return "0"
	}
	if d.scale <= 0 {
		return digits + strings.Repeat("0", -d.scale)
	}
	if missing := d.scale + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	point := len(digits) - d.scale
	whole, fraction := digits[:point], strings.TrimRight(digits[point:], "0")
	if fraction == "" {
		return whole
	}
	return whole + "." + fraction
}

// plus is the exact sum of d and e.
func (d decimal) plus(e decimal) decimal {
	scale := max(d.scale, e.scale, 0)
	a, b := d.digits+strings.Repeat("0", scale-d.scale), e.digits+strings.Repeat("0", scale-e.scale)
	if len(a) < len(b) {
		a, b = b, a
	}
	b = strings.Repeat("0", len(a)-len(b)) + b
	sum, carry := make([]byte, len(a)+1), byte(0)
	for i := len(a) - 1; i >= 0; i-- {
		n := a[i] - '0' + b[i] - '0' + carry
		sum[i+1], carry = '0'+n%10, n/10
	}
	sum[0] = '0' + carry
	return decimal{digits: strings.TrimLeft(string(sum), "0"), scale: scale}
}

// ceil is d rounded up to a whole number; ok is false where that is not below limit.
func (d decimal) ceil(limit int64) (n int64, ok bool) {
	whole, fraction, _ := strings.Cut(d.String(), ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n >= limit {
		return 0, false
	}
	if fraction != "" {
		n++
	}
	return n, true
}
