package e2e

import (
	"math/big"
	"testing"
)

// Dollars are compared exactly, whatever zeros they are written with.

func sameDecimal(t *testing.T, a, b string) bool {
	t.Helper()
	return decimal(t, a).Cmp(decimal(t, b)) == 0
}

func atMost(t *testing.T, a, b string) bool {
	t.Helper()
	return decimal(t, a).Cmp(decimal(t, b)) <= 0
}

func decimal(t *testing.T, text string) *big.Rat {
	t.Helper()
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		t.Fatalf("not a decimal: %q", text)
	}
	return r
}
