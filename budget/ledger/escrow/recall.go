package escrow

import (
	"context"
	"time"

	"keel/budget/ledger/record"
)

// recallLoop returns what others ask for.
func (r *Replica) recallLoop(ctx context.Context) {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		began := time.Now()
		_ = r.bank.Recalls(ctx, r.recalled) // what it fails of the heartbeat reports
		if time.Since(began) > time.Second {
			attempt = 0
		}
		sleep(ctx, backoff(attempt))
	}
}

// recalled gives back what is idle of an account, and for a while what becomes
// idle; and it settles at once, so that the bank sees what is held.
func (r *Replica) recalled(key Key) {
	e := r.current.Load()
	if e == nil {
		return
	}
	a := e.accounts.find(key)
	if a == nil {
		return
	}
	until := time.Now().Add(r.o.EdgeLasts).UnixNano()
	a.edge.Store(until)
	a.recalled.Store(until)
	r.makeSure(e, a)
	r.giveBack(e, a) // also where calls wait here: what they lack they ask the bank for
	e.upload.hurry()
}

// giveBack returns what no call holds.
func (r *Replica) giveBack(e *epoch, a *account) {
	n := a.idle()
	if n == 0 {
		return
	}
	back := &record.Return{Account: a.account, Amount: n}
	if _, err := e.append(record.KindReturn, a.account.Org, func(b []byte) []byte { return record.AppendReturn(b, back) }); err != nil {
		a.avail.Add(int64(n)) // stays ours
		r.reopen(e)
		return
	}
	r.counts.returns.Add(1)
	e.upload.hurry()
}
