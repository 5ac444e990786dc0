package escrow

import (
	"sync"
	"sync/atomic"
	"time"

	"keel/budget"
	"keel/pricing"
)

// account is one account as this epoch knows it. avail is all that a permit
// touches; the rest moves behind the calls.
type account struct {
	key     Key
	account budget.Account
	names   []*named // under which it is found; guarded by accounts.mu

	// avail is granted − returned − open holds − charges of closed ones: below zero
	// where a call cost more than its hold. Then the replica stops by itself.
	avail atomic.Int64
	debt  atomic.Int64 // holds owed that are not settled yet

	held atomic.Int64 // taken by permits since the start, to see the rate of spending
	last atomic.Int64 // the last hold
	low  atomic.Int64 // below this the slice is refilled

	asked atomic.Bool  // somebody asked for the account since idleFor was called
	used  atomic.Int64 // when that was last seen, Unix nanoseconds

	// What this epoch has in the journal that the bank has not settled yet.
	unsettled     atomic.Int64
	unsettledHeld atomic.Int64
	known         atomic.Pointer[budget.Standing] // as the bank last said, nil before; written with mu held
	heard         atomic.Bool                     // changed is not nil; written with mu held

	turn     chan struct{} // held by who leases: one request an account
	waiting  atomic.Int64  // holds of the calls that wait for one
	unsure   atomic.Bool   // the answer to a lease was lost
	kicked   atomic.Bool   // a refill is queued or under way
	edge     atomic.Int64  // until then only what calls need is leased, Unix nanoseconds
	recalled atomic.Int64  // until then what comes back is returned at once
	stuck    atomic.Int64  // until then idle slices elsewhere are not waited for: nobody answered

	mu      sync.Mutex
	granted pricing.NanoUSD // ever, as the bank says
	ceiling pricing.NanoUSD // as the bank last said
	counted int64           // of held, when the rate was last computed
	rate    int64           // nano-dollars a second, smoothed
	changed chan struct{}   // closed when avail rises; nil when nobody waits
	read    time.Time       // when known was asked
}

func newAccount(a budget.Account, key Key) *account {
	return &account{key: key, account: a, turn: make(chan struct{}, 1)}
}

// take is one hold of a decision in its account.
type take struct {
	account *account
	amount  pricing.NanoUSD
	leased  bool
}

// reserve takes every leased hold, or none and returns the index of one that
// has no room. Two that reserve at once may both fail where one would have
// fitted; never do both succeed where only one fits.
func reserve(takes []take) (lacking int) {
	for i := range takes {
		t := &takes[i]
		if t.leased && t.account.avail.Add(-int64(t.amount)) < 0 && t.amount > 0 {
			release(takes[:i+1])
			return i
		}
	}
	return -1
}

// release gives holds back that were reserved.
func release(takes []take) {
	for _, t := range takes {
		if t.leased {
			t.account.avail.Add(int64(t.amount))
		}
	}
}

// credit takes note of what the bank granted, once, however often it says so.
func (a *account) credit(granted pricing.NanoUSD) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if granted > a.granted {
		a.avail.Add(int64(granted - a.granted))
		a.granted = granted
		a.wake()
	}
}

// idle takes out all that no call holds, 0 if there is nothing.
func (a *account) idle() pricing.NanoUSD {
	n := a.avail.Swap(0)
	if n < 0 {
		a.avail.Add(n)
		return 0
	}
	return pricing.NanoUSD(n)
}

// free gives back what a closed call did not use. Whoever waits is either heard of here, or finds it: see change.
func (a *account) free(amount pricing.NanoUSD) {
	a.avail.Add(int64(amount))
	if !a.heard.Load() {
		return
	}
	a.mu.Lock()
	a.wake()
	a.mu.Unlock()
}

// wake tells those who wait that there may be more now. mu is held.
func (a *account) wake() {
	if a.changed != nil {
		close(a.changed)
		a.changed = nil
		a.heard.Store(false)
	}
}

// change returns a channel that is closed when avail has risen. Ask for it before looking at avail.
func (a *account) change() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.changed == nil {
		a.changed = make(chan struct{})
		a.heard.Store(true)
	}
	return a.changed
}

// measure updates the rate of spending, elapsed after the last time, and
// reports whether it changed.
func (a *account) measure(elapsed time.Duration) bool {
	held := a.held.Load()
	a.mu.Lock()
	defer a.mu.Unlock()
	if held == a.counted && a.rate == 0 {
		return false
	}
	now := int64(float64(held-a.counted) / max(elapsed.Seconds(), 0.001)) // sizes a slice: no money depends on it
	a.counted = held
	if a.rate += (now - a.rate) / 3; a.rate < 3 {
		a.rate = 0
	}
	return true
}

// touch notes that somebody asked for the account. It reads no clock: a call does it
// for each of its budgets, twice.
func (a *account) touch() {
	if !a.asked.Load() {
		a.asked.Store(true)
	}
}

// idleFor is how long nobody has asked for the account, to the last time that this was called.
func (a *account) idleFor(now time.Time) time.Duration {
	if a.asked.Swap(false) {
		a.used.Store(now.UnixNano())
	}
	return time.Duration(now.UnixNano() - a.used.Load())
}

// standing is what the bank said, and what it has not heard yet.
func (a *account) standing() budget.Standing {
	var known budget.Standing
	if k := a.known.Load(); k != nil {
		known = *k
	}
	known.Settled += pricing.NanoUSD(a.unsettled.Load())
	known.Held += pricing.NanoUSD(a.unsettledHeld.Load())
	known.Settled, known.Held = max(known.Settled, 0), max(known.Held, 0)
	return known
}

// know notes what the bank answered to a question asked at a time. An answer
// older than what is known is dropped.
func (a *account) know(s budget.Standing, asked time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !asked.Before(a.read) {
		a.known.Store(&s)
		a.read = asked
	}
}
