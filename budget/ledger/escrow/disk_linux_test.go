package escrow

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/budget/ledger/journal"
	"keel/pricing"
)

// breakJournal lets the next write to the journal of an epoch fail, for good: each file
// of it that is open is put in the place of itself, read only.
func breakJournal(epoch uuid.UUID) error {
	if epoch == uuid.Nil {
		return nil
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, entry := range open {
		name, err := os.Readlink(filepath.Join("/proc/self/fd", entry.Name()))
		if err != nil || !strings.Contains(name, epoch.String()) || !strings.HasSuffix(name, ".seg") {
			continue
		}
		fd, err := strconv.Atoi(entry.Name())
		if err != nil {
			return err
		}
		readOnly, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue // settled and deleted since it was listed
		}
		if err != nil {
			return err
		}
		err = syscall.Dup3(readOnly, fd, syscall.O_CLOEXEC)
		syscall.Close(readOnly)
		if err != nil {
			return err
		}
	}
	return nil
}

// A call whose journal failed is extended no more; what it was extended by before counts, also where
// its closeout, in the next journal, is settled before the extension is.
func TestExtendUnderAFailedJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bank, away := goingAway(1000)
		r := alone(t, bank, journal.Options{})
		d, other := two(1000, 10), two(1000, 1)
		for _, d := range []*budget.Decision{d, other} {
			if err := r.Permit(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		away.Store(true)
		if err := r.Extend(t.Context(), d.ID, []pricing.NanoUSD{30, 30}); err != nil {
			t.Fatal(err)
		}
		if err := breakJournal(r.Epoch()); err != nil {
			t.Fatal(err)
		}
		slice := r.current.Load().accounts.of(&d.Holds[0].Account)
		before := slice.avail.Load()
		if err := r.Extend(t.Context(), d.ID, []pricing.NanoUSD{5, 5}); !errors.Is(err, budget.ErrUnavailable) {
			t.Errorf("when it fails: %v", err)
		}
		if after := slice.avail.Load(); after != before {
			t.Errorf("what was taken is lost: %d of %d", after, before)
		}
		time.Sleep(2 * time.Second)
		if r.Epoch() == uuid.Nil {
			t.Fatal("no new journal")
		}
		if err := r.Extend(t.Context(), d.ID, []pricing.NanoUSD{5, 5}); !errors.Is(err, budget.ErrUnavailable) {
			t.Errorf("with another journal: %v", err)
		}
		end := closing(d, 4)
		end.CostKnown = false
		r.CloseOut(end)
		r.CloseOut(closing(other, 1))
		away.Store(false)
		time.Sleep(5 * time.Second)
		if got := flushed(t, r, bank, d); got[0].settled != 41 || got[0].held != 0 || got[1].settled != 41 || got[1].held != 0 {
			t.Errorf("%+v", got)
		}
	})
}
