//go:build race

package filter

const stackBytes = 16 << 10 // frames are larger under the race detector
