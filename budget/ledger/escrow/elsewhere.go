package escrow

import (
	"time"

	"github.com/google/uuid"

	"keel/budget/ledger/record"
	"keel/pricing"
)

// A call may be closed by another process: its end may come with the access log, which goes to any replica, or be
// presumed by a sweeper. What it holds in the memory of the replica that permitted it is then free, and
// that one has to ask.

// askAfter is for how long a call is open before it is asked for the first time.
const askAfter = time.Second

// Unsure returns open calls, by org, that are due to be asked for: each after a second, and then whenever it
// has been open for a quarter longer, so that a long call costs little.
func (r *Replica) Unsure(now time.Time, most int) map[string][]uuid.UUID {
	due := make(map[string][]uuid.UUID)
	for i := range r.open {
		shard := &r.open[i]
		shard.mu.Lock()
		for id, c := range shard.calls {
			if now.Before(c.askAt) || most <= 0 {
				continue
			}
			c.askAt = now.Add(max(askAfter, now.Sub(c.opened)/4))
			due[c.org] = append(due[c.org], id)
			most--
		}
		shard.mu.Unlock()
	}
	return due
}

// ClosedElsewhere forgets a call that the bank has closed, and frees what that did not charge. charges are in the
// order of the call's holds. What is settled the bank knows already.
func (r *Replica) ClosedElsewhere(id uuid.UUID, charges []record.Charge) {
	c := r.open.take(id)
	if c == nil {
		return
	}
	c.close()
	for i, t := range c.takes {
		if !t.leased {
			continue
		}
		charge := t.amount // what the bank does not say is not free
		if len(charges) == len(c.takes) && KeyOf(&charges[i].Account) == t.account.key {
			charge = charges[i].Amount
		}
		if t.account.free(t.amount - pricing.NanoUSD(charge)); t.account.returning() {
			r.giveBack(c.epoch, t.account)
		}
	}
}
