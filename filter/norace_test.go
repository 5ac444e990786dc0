//go:build !race

package filter

const stackBytes = 6 << 10
