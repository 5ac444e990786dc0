//go:build mutants

package ledger

import "os"

// testMutant is which mistake to make, in a binary that is built to be caught.
func testMutant() mutant {
	m := os.Getenv("KEEL_TEST_MUTANT")
	return mutant{noDedupe: m == "no-dedupe", noOrphans: m == "no-orphans", subselect: m == "subselect"}
}
