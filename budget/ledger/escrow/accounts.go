package escrow

import (
	"sync"
	"time"

	"keel/budget"
)

// accounts finds the account of a hold. It is keyed twice: by the account as
// calls have it, which costs no conversion, and by its key, which recalls have.
type accounts struct {
	mu       sync.RWMutex
	byName   map[budget.Account]*account
	byKey    map[Key]*account
	unread   chan struct{} // an account was met that nobody has read yet
	forgiven time.Duration // how long after its window an account may still be needed
}

func newAccounts() *accounts {
	return &accounts{byName: make(map[budget.Account]*account), byKey: make(map[Key]*account), unread: make(chan struct{}, 1), forgiven: time.Minute}
}

// of returns the account, which may be new.
func (t *accounts) of(name *budget.Account) *account {
	t.mu.RLock()
	a := t.byName[*name]
	t.mu.RUnlock()
	if a != nil {
		return a
	}
	key := KeyOf(name)
	t.mu.Lock()
	defer t.mu.Unlock()
	if a = t.byKey[key]; a == nil {
		a = newAccount(*name, key)
		t.byKey[key] = a
		select {
		case t.unread <- struct{}{}:
		default:
		}
	}
	if _, there := t.byName[*name]; !there {
		t.byName[*name] = a
		a.names = append(a.names, *name)
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
	for _, name := range a.names {
		delete(t.byName, name)
	}
}
