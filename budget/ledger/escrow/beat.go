package escrow

import (
	"context"
	"time"

	"keel/budget"
)

// beatLoop tells the bank that this replica lives, and learns how the whole is.
func (r *Replica) beatLoop(ctx context.Context) {
	every(ctx, r.o.BeatEvery, func(ctx context.Context) {
		e := r.current.Load()
		if e == nil {
			return
		}
		err := r.beat(ctx, e)
		if ctx.Err() == nil {
			r.answered(err)
		}
	})
}

func (r *Replica) beat(ctx context.Context, e *epoch) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	sent := time.Now()
	fleet, err := r.bank.Beat(ctx, Member{Epoch: e.id, Host: r.o.Host, Now: sent})
	if err != nil {
		return err
	}
	// The bank read its clock somewhere in between.
	r.skew.Store(int64(sent.Add(time.Since(sent) / 2).Sub(fleet.Now)))
	before := r.fleet.Swap(&fleet)
	switch {
	case before == nil:
		r.verifyFinished() // the database may have failed over while nobody was here
	case before.Timeline != fleet.Timeline:
		r.log.Warn("ledger: the database failed over; re-asserting leases and settling the journal again", "was", before.Timeline, "is", fleet.Timeline)
		r.databaseForgot(e)
		r.verifyFinished()
	}
	if e.forgotten.CompareAndSwap(true, false) {
		if err := r.bank.Reassert(ctx, e.id, e.granted()); err != nil {
			e.forgotten.Store(true)
			return err
		}
	}
	return nil
}

// databaseForgot is told that the newest transactions are gone: what was leased is
// claimed again with the next heartbeat, before others get it, and the journal is settled again.
func (r *Replica) databaseForgot(e *epoch) {
	if !e.forgotten.Swap(true) {
		r.counts.forgotten.Add(1)
	}
	e.upload.again()
}

// verifyFinished settles the journals that are kept of finished epochs once
// more: the bank skips what it still has.
func (r *Replica) verifyFinished() {
	kept, err := r.folder.FinishedJournals()
	if err != nil {
		r.log.Error("ledger: journals of finished epochs can't be read to settle them again", "error", err)
		return
	}
	for _, j := range kept {
		e := newEpoch(j)
		e.upload.again()
		r.background(func() { r.recover(r.run, e) })
	}
}

// tickLoop measures how fast accounts are spent, gives back slices that nobody uses, and deletes old journals.
func (r *Replica) tickLoop(ctx context.Context) {
	last, pruned, next := time.Now(), time.Time{}, time.Time{}
	every(ctx, r.o.TickEvery, func(context.Context) {
		now := time.Now()
		if now.Before(next) {
			return
		}
		if e := r.current.Load(); e != nil {
			for _, a := range e.accounts.all() {
				r.tick(e, a, now, now.Sub(last))
			}
		}
		last = now
		next = now.Add(20 * time.Since(now)) // a million accounts may take a twentieth of a core, not more
		if r.unkept.waiting() > 0 {
			r.keepNow()
		}
		if now.Sub(pruned) > time.Minute {
			pruned = now
			if err := r.folder.Prune(now); err != nil {
				r.log.Warn("ledger: old journals can't be deleted", "error", err)
			}
		}
	})
}

func (r *Replica) tick(e *epoch, a *account, now time.Time, elapsed time.Duration) {
	if a.measure(elapsed) {
		a.low.Store(int64(a.ahead(r.o.Horizon, 0) / 2))
	}
	r.makeSure(e, a)
	unused := a.idleFor(now) > r.o.IdleAfter
	if ended := a.ended(now); a.avail.Load() > 0 && (ended || unused || a.returning()) {
		r.giveBack(e, a)
	} else if ended {
		e.accounts.forget(a, now)
	}
}

// readLoop keeps the standings of accounts in use at most a second old.
func (r *Replica) readLoop(ctx context.Context) {
	ticker := time.NewTicker(r.o.ReadEvery)
	defer ticker.Stop()
	for {
		var unread <-chan struct{}
		e := r.current.Load()
		if e != nil {
			unread = e.accounts.unread
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-unread:
		}
		if e != nil {
			if err := r.readStandings(ctx, e); err != nil {
				sleep(ctx, r.o.ReadEvery)
			}
		}
	}
}

func (r *Replica) readStandings(ctx context.Context, e *epoch) error {
	now := time.Now()
	var keys []Key
	for _, a := range e.accounts.all() {
		if a.idleFor(now) < 10*time.Second && len(keys) < r.o.MaxRead {
			keys = append(keys, a.key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	read, err := r.bank.Standings(ctx, keys)
	if ctx.Err() == nil || err != nil {
		r.answered(err)
	}
	for _, s := range read {
		if a := e.accounts.find(s.Key); a != nil {
			a.know(budget.Standing{Settled: s.Settled, Held: s.Held}, now)
		}
	}
	return err
}
