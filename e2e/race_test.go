//go:build race

package e2e

// Under the race detector the binary is built with it too.
var raceFlags = []string{"-race"}
