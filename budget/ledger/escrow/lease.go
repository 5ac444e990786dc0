package escrow

import (
	"context"
	"time"

	"keel/budget"
	"keel/pricing"
)

const (
	aheadHolds = 40 // calls of the last size that a slice covers at least
	largest    = 4  // one grant is at most the ceiling by this
)

// refill leases ahead when a slice runs low, behind the calls.
func (r *Replica) refill(e *epoch, a *account) {
	last := a.last.Load()
	if a.avail.Load() >= max(last, a.low.Load()) || a.noneAhead(time.Now()) || !a.kicked.CompareAndSwap(false, true) {
		return
	}
	begun := r.background(func() {
		defer a.kicked.Store(false)
		ctx, cancel := context.WithTimeout(r.run, r.o.PermitLimit)
		defer cancel()
		select {
		case a.turn <- struct{}{}:
			defer func() { <-a.turn }()
			_, _ = r.lease(ctx, e, a, pricing.NanoUSD(max(last, 1)), a.ahead(r.o.Horizon, 0))
		default: // somebody leases already
		}
	})
	if !begun {
		a.kicked.Store(false)
	}
}

// ahead is how large a slice should be: what is spent within the horizon, or
// some calls' worth, but no large part of the whole. A hold that waits for it counts as a call: before the first of
// an account there is no other.
func (a *account) ahead(horizon time.Duration, waiting pricing.NanoUSD) pricing.NanoUSD {
	a.mu.Lock()
	defer a.mu.Unlock()
	call := max(a.last.Load(), int64(waiting))
	want := max(a.rate/int64(time.Second/time.Millisecond)*int64(horizon/time.Millisecond), aheadHolds*min(call, 1<<55))
	if a.ceiling > 0 {
		want = min(want, max(int64(a.ceiling)/largest, call))
	}
	return pricing.NanoUSD(max(want, 1))
}

// atEdge says whether the account is so full that slices only go to calls that wait for them.
func (a *account) atEdge(now time.Time) bool { return now.UnixNano() < a.edge.Load() }

// noneAhead says whether nothing is leased ahead: at the edge, and in a window that is
// over, where only calls that run on need more.
func (a *account) noneAhead(now time.Time) bool { return a.atEdge(now) || a.ended(now) }

// returning says whether what is not used goes back at once.
func (a *account) returning() bool { return time.Now().UnixNano() < a.recalled.Load() }

// lease asks the bank once. The caller has the account's turn.
func (r *Replica) lease(ctx context.Context, e *epoch, a *account, least, want pricing.NanoUSD) (Lease, error) {
	fleet := r.fleet.Load()
	if fleet == nil {
		fleet = &Fleet{Live: 1}
	}
	if skew := time.Duration(r.skew.Load()); a.key.Rolling > 0 && (skew > r.o.MaxSkew || -skew > r.o.MaxSkew) {
		return Lease{}, unavailable("this replica's clock is %s off the database's: rolling budget %s can't be enforced; set the clock", skew.Round(time.Millisecond), a.key.Budget)
	}
	share := int64(2 * max(fleet.Live, 1))
	a.mu.Lock()
	if a.ceiling == 0 { // the first, which no part of a ceiling bounds
		share = max(share, largest)
	}
	a.mu.Unlock()
	answer, err := r.bank.Lease(ctx, LeaseRequest{
		Epoch: e.id, Key: a.key, Want: max(want, least), Min: least, Share: share,
		Owed: pricing.NanoUSD(a.debt.Load()), Timeline: fleet.Timeline,
	})
	r.answered(err)
	a.unsure.Store(err != nil)
	if err != nil {
		return answer, err
	}
	r.counts.leases.Add(1)
	a.mu.Lock()
	a.ceiling = answer.Ceiling
	forgot := answer.Granted < a.granted
	a.mu.Unlock()
	if forgot {
		r.databaseForgot(e)
	}
	a.credit(answer.Granted)
	a.low.Store(int64(a.ahead(r.o.Horizon, 0) / 2))
	if answer.Given == 0 && least > 0 {
		a.edge.Store(time.Now().Add(r.o.EdgeLasts).UnixNano())
	}
	return answer, nil
}

// makeSure asks what was granted where an answer was lost: what this replica does
// not know that it has, it can't give back.
func (r *Replica) makeSure(e *epoch, a *account) {
	if !a.unsure.Load() {
		return
	}
	r.background(func() {
		select {
		case a.turn <- struct{}{}:
			defer func() { <-a.turn }()
		default:
			return // whoever has the turn will know
		}
		ctx, cancel := context.WithTimeout(r.run, r.o.PermitLimit)
		defer cancel()
		if _, err := r.lease(ctx, e, a, 0, 0); err == nil && a.returning() {
			r.giveBack(e, a)
		}
	})
}

// inForce notes the limit that a lease answered with for one hold of a call, and
// returns the hold with it.
type inForce func(hold int, l Lease) budget.Hold

// reserveSlowly leases what holds lack until all can be taken.
func (r *Replica) reserveSlowly(ctx context.Context, e *epoch, takes []take, lacking int, noted inForce) error {
	r.counts.slow.Add(1)
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.o.PermitLimit)
		defer cancel()
	}
	for ; lacking >= 0; lacking = reserve(takes) {
		if err := r.obtain(ctx, e, takes, lacking, noted); err != nil {
			return err
		}
	}
	return nil
}

// obtain brings money for the hold that lacks it, so that it is worth trying
// again; or it says why there will be none: a *budget.Refused, or ErrUnavailable.
//
// Near the limit, money that other replicas leased and do not use is waited for, and
// asked back. When all that is leased is known to be held, there is nothing to wait for.
func (r *Replica) obtain(ctx context.Context, e *epoch, takes []take, lacking int, noted inForce) error {
	t := &takes[lacking]
	a := t.account
	a.waiting.Add(int64(t.amount))
	defer a.waiting.Add(-int64(t.amount))
	patience := time.Now().Add(r.o.EdgeWait)
	for {
		changed := a.change()
		answer, enough, err := r.bring(ctx, e, t)
		if answer.Given > 0 {
			noted(lacking, answer)
		}
		if enough || err != nil {
			return err
		}
		if answer.Refused != NoRoom {
			return unavailable("no lease of budget %s: %s", a.key.Budget, answer.Refused)
		}
		now := time.Now()
		if a.avail.Load() >= int64(t.amount) {
			return nil // it came back while the bank was asked
		}
		if answer.Idle <= 0 || now.UnixNano() < a.stuck.Load() {
			return r.refused(noted(lacking, answer), answer)
		}
		if now.After(patience) {
			a.stuck.Store(now.Add(2 * r.o.EdgeWait).UnixNano())
			r.log.Warn("ledger: refused a call although slices are idle: their replicas do not answer a recall",
				"org", a.key.Org, "budget", a.key.Budget, "account", a.key.Account, "idle_nano_usd", int64(answer.Idle))
			return r.refused(noted(lacking, answer), answer)
		}
		r.counts.recalls.Add(1)
		if err := r.bank.Recall(ctx, []Key{a.key}); err != nil {
			return unavailable("recall slices of budget %s: %w", a.key.Budget, err)
		}
		wait := time.NewTimer(r.o.RecallEvery)
		select {
		case <-changed:
		case <-wait.C:
		case <-ctx.Done():
		}
		wait.Stop()
		if ctx.Err() != nil {
			return unavailable("no time left to lease from budget %s: %w", a.key.Budget, ctx.Err())
		}
	}
}

// bring leases for a hold, unless another call has brought enough meanwhile. One call an account asks at a time.
func (r *Replica) bring(ctx context.Context, e *epoch, t *take) (answer Lease, enough bool, err error) {
	a := t.account
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return answer, false, unavailable("no time left to lease from budget %s: %w", a.key.Budget, ctx.Err())
	}
	for {
		avail := a.avail.Load()
		if avail >= int64(t.amount) {
			return answer, true, nil
		}
		least := t.amount - pricing.NanoUSD(avail) // what is left of the slice is used up, too
		want := max(pricing.NanoUSD(a.waiting.Load()), least)
		if !a.noneAhead(time.Now()) {
			want = max(want, a.ahead(r.o.Horizon, t.amount))
		}
		answer, err = r.lease(ctx, e, a, least, want)
		if err != nil {
			return answer, false, unavailable("lease from budget %s: %w", a.key.Budget, err)
		}
		if answer.Given > 0 {
			return answer, true, nil
		}
		if answer.Refused != NoRoom || a.avail.Load() <= avail {
			return answer, false, nil
		}
		// The answer made good what calls had cost beyond their holds, or something came back: less is enough now.
	}
}

func (r *Replica) refused(h budget.Hold, answer Lease) error {
	r.counts.refusals.Add(1)
	return &budget.Refused{Hold: h, Standing: budget.Standing{Settled: answer.Settled, Held: answer.Leased}}
}
