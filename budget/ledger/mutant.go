//go:build !mutants

package ledger

// testMutant is which mistake to make: none.
func testMutant() mutant { return mutant{} }
