package escrow

import "time"

const (
	leastPause = 20 * time.Millisecond
	mostPause  = 400 * time.Millisecond // a row is there within 2 s
	fewRecords = 2                      // those of one call
)

// Pace is how long one who writes to the bank pauses between transactions. What one costs, here and in Postgres, is for the
// most part not that of its records: where there are many it pays to let more of them come together, and where
// there are few a row need not wait.
type Pace struct{ pause time.Duration }

// After is the pause behind a transaction with so many records; none where there is a backlog.
func (p *Pace) After(records int, backlog bool) time.Duration {
	switch {
	case backlog:
		return 0
	case records > fewRecords:
		p.pause = min(2*p.pause, mostPause)
	default:
		p.pause /= 2
	}
	p.pause = max(p.pause, leastPause)
	return p.pause
}
