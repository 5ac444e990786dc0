package escrow

import (
	"testing"
	"time"
)

// One call alone is told at once, many come together, and a backlog waits for nothing.
func TestPace(t *testing.T) {
	const few, many, backlog = 2, 3, 900
	var p Pace
	for i, step := range []struct {
		done int
		want time.Duration
	}{
		{few, leastPause}, {0, leastPause}, {many, 2 * leastPause}, {many, 4 * leastPause}, {few, 2 * leastPause},
		{many, 4 * leastPause}, {many, 8 * leastPause}, {many, 16 * leastPause}, {many, mostPause}, {many, mostPause},
		{backlog, 0}, {many, mostPause}, {few, mostPause / 2}, {0, mostPause / 4},
	} {
		if got := p.After(step.done, step.done == backlog); got != step.want {
			t.Errorf("pause %d: %v, want %v", i, got, step.want)
		}
	}
}
