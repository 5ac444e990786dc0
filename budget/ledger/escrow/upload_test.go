package escrow

import (
	"testing"
	"time"
)

// One call alone is told at once, many come together, and a backlog waits for nothing.
func TestPace(t *testing.T) {
	var p pace
	few, many, backlog := round{records: 2}, round{records: 40}, round{records: 900, full: true}
	for i, step := range []struct {
		done round
		want time.Duration
	}{
		{few, leastPause}, {round{}, leastPause}, {many, 2 * leastPause}, {many, 4 * leastPause}, {few, 2 * leastPause},
		{many, 4 * leastPause}, {many, 8 * leastPause}, {many, 16 * leastPause}, {many, mostPause}, {many, mostPause},
		{backlog, 0}, {many, mostPause}, {few, mostPause / 2}, {round{}, mostPause / 4},
	} {
		if got := p.after(step.done); got != step.want {
			t.Errorf("pause %d: %v, want %v", i, got, step.want)
		}
	}
}
