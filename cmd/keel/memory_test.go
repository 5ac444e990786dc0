package main

import "testing"

func TestRoomForGarbage(t *testing.T) {
	const mb = 1 << 20
	for _, tt := range []struct {
		name                  string
		live, others, streams int64
		percent               int
	}{
		{"few calls: there is room", 24 * mb, 0, 0, 200},
		{"more is live than that: as Go does", 128 * mb, 0, 0, 100},
		{"what open streams keep comes out of the room", 40 * mb, 0, 2000, 56},
		{"a small heap is not collected all the time", 8 * mb, 0, 0, 400},
		{"nothing is known yet", 0, 0, 0, 400},
		{"stacks are looked at, too, and are no reason for more garbage", 80 * mb, 40 * mb, 0, 66},
		{"what open streams keep is no reason for more garbage", 70 * mb, 40 * mb, 5000, 23},
		{"many budgets are", 200 * mb, 0, 0, 100},
		{"a hundred thousand streams", 1000 * mb, 800 * mb, 100_000, 10},
	} {
		if got := percentFor(tt.live, tt.others, tt.streams); got != tt.percent {
			t.Errorf("%s: %d %%, want %d", tt.name, got, tt.percent)
		}
	}
}
