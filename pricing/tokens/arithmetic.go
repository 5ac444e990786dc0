package tokens

import (
	"math"
	"math/bits"
)

// add and mul stay at the largest number instead of overflowing, and take a
// negative size for zero: sizes come from outside.
func add(a, b int64) int64 {
	a, b = max(a, 0), max(b, 0)
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

func mul(a, b int64) int64 {
	a, b = max(a, 0), max(b, 0)
	if b != 0 && a > math.MaxInt64/b {
		return math.MaxInt64
	}
	return a * b
}

// milli is n × thousandths, rounded up.
func milli(n, thousandths int64) int64 { return scale(n, thousandths, 1000) }

// scale is n × numerator / denominator, rounded up; the denominator is above 0.
func scale(n, numerator, denominator int64) int64 {
	high, low := bits.Mul64(uint64(max(n, 0)), uint64(max(numerator, 0)))
	low, carry := bits.Add64(low, uint64(denominator-1), 0)
	high += carry
	if high >= uint64(denominator) {
		return math.MaxInt64
	}
	quotient, _ := bits.Div64(high, low, uint64(denominator))
	return int64(min(quotient, math.MaxInt64))
}

// tiles is how many pieces of a size cover n, at least one.
func tiles(n, size int64) int64 { return max((n+size-1)/size, 1) }
