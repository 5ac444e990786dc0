package escrow

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"keel/budget"
)

// accounts finds the account of a hold. It is keyed twice: by the account as
// calls have it, which costs no conversion, and by its key, which recalls have.
type accounts struct {
	// recent are accounts that calls asked for lately, each in the place of its name: most calls find theirs there, without a
	// lock. What is there is in byName, too: both are written with mu held.
	recent   [512]atomic.Pointer[named]
	mu       sync.RWMutex
	byName   map[budget.Account]*named
	byKey    map[Key]*account
	unread   chan struct{} // an account was met that nobody has read yet
	forgiven time.Duration // how long after its window an account may still be needed
}

// named is an account under one of its names.
type named struct {
	name    budget.Account
	account *account
}

func newAccounts() *accounts {
	return &accounts{byName: make(map[budget.Account]*named), byKey: make(map[Key]*account), unread: make(chan struct{}, 1), forgiven: time.Minute}
}

// placeSeed is of the places in recent.
var placeSeed = maphash.MakeSeed()

// place is that of a name in recent.
func (t *accounts) place(name *budget.Account) *atomic.Pointer[named] {
	hash := maphash.String(placeSeed, name.Budget) ^ maphash.String(placeSeed, name.Key)<<1 ^ uint64(name.WindowStart.Unix())
	return &t.recent[hash%uint64(len(t.recent))]
}

// of returns the account, which may be new.
func (t *accounts) of(name *budget.Account) *account {
	place := t.place(name)
	if n := place.Load(); n != nil && n.name == *name {
		return n.account
	}
	t.mu.RLock()
	n := t.byName[*name]
	if n != nil {
		place.Store(n)
	}
	t.mu.RUnlock()
	if n != nil {
		return n.account
	}
	key := KeyOf(name)
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.byKey[key]
	if a == nil {
		a = newAccount(*name, key)
		t.byKey[key] = a
		select {
		case t.unread <- struct{}{}:
		default:
		}
	}
	if _, there := t.byName[*name]; !there {
		n := &named{*name, a}
		t.byName[*name] = n
		a.names = append(a.names, n)
	}
	return a
}

func (t *accounts) find(key Key) *account {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byKey[key]
}

// all returns the accounts, in no order.
func (t *accounts) all() []*account {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := make([]*account, 0, len(t.byKey))
	for _, a := range t.byKey {
		all = append(all, a)
	}
	return all
}

// ended says whether the window of an account is over, by a clock.
func (a *account) ended(now time.Time) bool {
	return a.key.End != Unbounded && now.UnixMicro() >= a.key.End
}

// forget drops an account whose window is long over and of which nothing is
// left to say. One that somebody still holds on to is dropped with its last call.
func (t *accounts) forget(a *account, now time.Time) {
	if a.key.End == Unbounded || now.Add(-t.forgiven).UnixMicro() < a.key.End ||
		a.avail.Load() > 0 || a.unsettled.Load() != 0 || a.unsettledHeld.Load() != 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byKey, a.key)
	for _, n := range a.names {
		delete(t.byName, n.name)
		t.place(&n.name).CompareAndSwap(n, nil)
	}
}
