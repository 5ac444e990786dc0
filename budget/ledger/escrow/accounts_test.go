package escrow

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"keel/budget"
)

// TestAccountsForget asks for accounts while they are forgotten. What calls find without a lock is what is there.
func TestAccountsForget(t *testing.T) {
	t.Parallel()
	accounts := newAccounts()
	var names []budget.Account
	for i := range 1500 { // more than there are places
		over := time.Unix(3600, 0).UTC()
		names = append(names, budget.Account{Org: "acme", Budget: fmt.Sprint("budget-", i%3), Key: fmt.Sprint("user=", i/3), WindowStart: over.Add(-time.Hour), WindowEnd: over})
	}
	same := names[0]
	same.WindowStart = same.WindowStart.In(time.FixedZone("", 3600)) // another name of the same account
	names = append(names, same)
	var wait sync.WaitGroup
	for worker := range 4 {
		wait.Go(func() {
			for round := range 40 {
				for i := range names {
					name := &names[(i*7+worker*round)%len(names)]
					a := accounts.of(name)
					if a.key != KeyOf(name) {
						t.Errorf("%v finds %v", name, a.key)
						return
					}
					if worker == 0 && i%5 == 0 {
						accounts.forget(a, time.Now())
					}
				}
			}
		})
	}
	wait.Wait()
	check := func() {
		t.Helper()
		for i := range names {
			if a := accounts.of(&names[i]); a != accounts.find(KeyOf(&names[i])) || a != accounts.of(&names[i]) {
				t.Fatalf("%v finds an account that is not there", names[i])
			}
		}
		for i := range accounts.recent {
			if n := accounts.recent[i].Load(); n != nil && accounts.byName[n.name] != n {
				t.Fatalf("%v is in its place and not there", n.name)
			}
		}
	}
	check()
	for i := range names {
		accounts.forget(accounts.of(&names[i]), time.Now())
	}
	if len(accounts.byName) != 0 || len(accounts.byKey) != 0 {
		t.Errorf("%d names and %d keys are left", len(accounts.byName), len(accounts.byKey))
	}
	check()
}

// TestFreeIsHeard has one wait for what another gives back, as obtain does.
func TestFreeIsHeard(t *testing.T) {
	t.Parallel()
	a := newAccount(budget.Account{}, Key{})
	const rounds = 100_000
	taken := make(chan struct{})
	go func() {
		for range rounds {
			a.free(1)
			<-taken
		}
	}()
	for range rounds {
		for {
			changed := a.change()
			if a.avail.Load() > 0 {
				break
			}
			select {
			case <-changed:
			case <-time.After(5 * time.Second):
				t.Fatal("nobody said that something came back")
			}
		}
		a.avail.Add(-1)
		taken <- struct{}{}
	}
}
