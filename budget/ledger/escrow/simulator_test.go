package escrow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"keel/budget"
	"keel/budget/ledger/journal"
	"keel/pricing"
)

// The simulator runs real replicas, with real journals, against the model of the
// bank, in a bubble of fake time, and breaks everything that may break. After each
// step the invariants of docs/ledger.md are looked at; at the end the faults stop and
// what the providers did is compared with what the bank kept.

// step is one thing that happens. What a field means depends on kind.
type step struct {
	Kind    string
	Replica int
	Amount  int64 // hold; new limit
	Percent int64 // actual cost, of the hold
	Budgets int   // bits: which budgets the call falls under
	Wait    time.Duration
	Abandon bool // the call is never closed by this process
	Unknown bool // its cost is not known: it is charged at its hold
	Steps   int  // how often its hold is extended
	More    int64
}

var budgetNames = []string{"large", "small", "seen"} // the last only observes

func drawStep(kinds []string) *rapid.Generator[step] {
	return rapid.Custom(func(t *rapid.T) step {
		return step{
			Kind:    rapid.SampledFrom(kinds).Draw(t, "kind"),
			Replica: rapid.IntRange(0, 2).Draw(t, "replica"),
			Amount:  rapid.Int64Range(1, 60).Draw(t, "amount"),
			Percent: rapid.SampledFrom([]int64{0, 10, 50, 100, 100, 100, 130}).Draw(t, "percent"),
			Budgets: rapid.IntRange(1, 7).Draw(t, "budgets"),
			Wait:    time.Duration(rapid.SampledFrom([]int{0, 1, 5, 20, 100, 700, 3000}).Draw(t, "ms")) * time.Millisecond,
			Abandon: rapid.IntRange(0, 9).Draw(t, "abandon") == 0,
			Unknown: rapid.IntRange(0, 9).Draw(t, "unknown") == 0,
			Steps:   rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(t, "steps"),
			More:    rapid.Int64Range(0, 40).Draw(t, "more"),
		}
	})
}

// world is the simulated fleet.
type world struct {
	dir      string
	bank     *model
	replicas [3]*Replica
	calls    sync.WaitGroup
	options  Options

	mu       sync.Mutex
	broken   error
	spent    map[string]pricing.NanoUSD // by enforcing budget: what the provider was paid
	overrun  map[string]pricing.NanoUSD // actual − hold where that is above zero
	excess   map[string]pricing.NanoUSD // what cuts were late for
	acked    map[uuid.UUID]pricing.NanoUSD
	limits   map[string]pricing.NanoUSD
	awayTill time.Time
	lossy    bool
	standby  modelState
	dice     *rand.Rand
}

func newWorld(dir string, seed uint64) *world {
	w := &world{dir: dir, bank: newModel(), spent: map[string]pricing.NanoUSD{}, overrun: map[string]pricing.NanoUSD{},
		excess: map[string]pricing.NanoUSD{}, acked: map[uuid.UUID]pricing.NanoUSD{},
		limits: map[string]pricing.NanoUSD{"large": 3000, "small": 800}, dice: rand.New(rand.NewPCG(seed, 1)),
		options: Options{Logger: slog.New(slog.DiscardHandler), Host: "simulator"}}
	for name, limit := range w.limits {
		w.bank.ceilings[name] = limit
	}
	w.bank.away = func() bool { // with the bank's lock held
		w.mu.Lock()
		defer w.mu.Unlock()
		return time.Now().Before(w.awayTill) || w.lossy && w.dice.IntN(8) == 0
	}
	w.standby = w.bank.copy()
	return w
}

func (w *world) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken == nil {
		w.broken = fmt.Errorf(format, args...)
	}
}

func (w *world) start(i int) error {
	folder, err := journal.Open(filepath.Join(w.dir, fmt.Sprint(i)), journal.Options{Logger: w.options.Logger, SegmentBytes: 64 << 10, Host: "simulator"})
	if err != nil {
		return err
	}
	w.replicas[i], err = Open(folder, w.bank, w.options)
	return err
}

func (w *world) holds(s step) (holds []budget.Hold) {
	for i, name := range budgetNames {
		if s.Budgets&(1<<i) == 0 {
			continue
		}
		h := budget.Hold{Account: budget.Account{Org: "acme", Budget: name}, Amount: pricing.NanoUSD(s.Amount), Limit: 1000, Mode: budget.Enforce, Ceiling: 1000}
		if name == "seen" {
			h.Mode, h.Ceiling = budget.Observe, -1
		}
		holds = append(holds, h)
	}
	return holds
}

// call is one call from permit to closeout, as the filter and a provider make it.
func (w *world) call(r *Replica, s step) error {
	if r == nil {
		return nil
	}
	d := &budget.Decision{Call: budget.Call{ID: uuid.Must(uuid.NewV7()), Org: "acme", At: time.Now()}, Action: budget.Allow, Holds: w.holds(s)}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := r.Permit(ctx, d); err != nil {
		if refused := (*budget.Refused)(nil); !errors.As(err, &refused) && !errors.Is(err, budget.ErrUnavailable) {
			w.fail("permit: %w", err)
		}
		return err
	}
	var held, cost pricing.NanoUSD
	work := func(more pricing.NanoUSD) { // the provider works, whatever becomes of us
		w.mu.Lock()
		defer w.mu.Unlock()
		held += more
		before := cost
		cost = held * pricing.NanoUSD(s.Percent) / 100
		for _, h := range d.Holds {
			w.spent[h.Budget] += cost - before
			w.overrun[h.Budget] += max(0, cost-held) - max(0, before-held+more)
		}
	}
	work(pricing.NanoUSD(s.Amount))
	for range s.Steps {
		time.Sleep(s.Wait / 4)
		if !w.extend(r, d, pricing.NanoUSD(s.More)) {
			break
		}
		work(pricing.NanoUSD(s.More))
	}
	time.Sleep(s.Wait)
	if s.Abandon {
		return nil
	}
	end := &budget.Closeout{ID: d.ID, Org: "acme", At: time.Now(), Outcome: budget.Complete, Cost: pricing.Cost{Total: cost}, CostKnown: !s.Unknown}
	if receipt := r.CloseOut(end); receipt.Seq > 0 && !r.closed.Load() {
		w.mu.Lock()
		w.acked[d.ID] = Charge(end, held)
		w.mu.Unlock()
	}
	if w.extend(r, d, pricing.NanoUSD(s.More)) && s.More > 0 {
		w.fail("a closed call was extended")
	}
	return nil
}

// extend reports whether the hold of a call could be extended. Who gives up waits for no answer any more.
func (w *world) extend(r *Replica, d *budget.Decision, amount pricing.NanoUSD) bool {
	more := make([]pricing.NanoUSD, len(d.Holds))
	for i := range more {
		more[i] = amount
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := r.Extend(ctx, d.ID, more)
	if refused := (*budget.Refused)(nil); err != nil && !errors.As(err, &refused) && !errors.Is(err, budget.ErrUnavailable) {
		w.fail("extend: %w", err)
	}
	return err == nil
}

func (w *world) do(s step) error {
	switch s.Kind {
	case "call":
		r := w.replicas[s.Replica]
		w.calls.Go(func() { w.call(r, s) })
	case "wait":
		time.Sleep(s.Wait)
	case "kill", "stop":
		r := w.replicas[s.Replica]
		if r == nil {
			return w.start(s.Replica)
		}
		w.replicas[s.Replica] = nil
		if s.Kind == "stop" {
			w.calls.Wait()
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = r.Close(ctx) // the bank may be away
		} else {
			_ = r.Kill()
		}
		if time.Now().Before(w.bank.learnTill) { // one that stays away for longer can't claim what it had
			return w.start(s.Replica)
		}
	case "away":
		if time.Now().Before(w.bank.learnTill) {
			return nil
		}
		w.mu.Lock()
		w.awayTill = time.Now().Add(s.Wait)
		w.mu.Unlock()
	case "lossy":
		w.mu.Lock()
		w.lossy = !w.lossy
		w.mu.Unlock()
	case "disk":
		if r := w.replicas[s.Replica]; r != nil {
			return breakJournal(r.Epoch())
		}
	case "limit":
		w.limit("small", pricing.NanoUSD(s.Amount)*25)
	case "standby":
		w.bank.mu.Lock()
		w.standby = w.bank.copy()
		w.bank.mu.Unlock()
	case "failover":
		w.bank.failover(w.standby.copy(), 5*time.Second)
		for i, r := range w.replicas { // one that stays away for longer can't claim what it had
			if r == nil {
				if err := w.start(i); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (w *world) limit(name string, limit pricing.NanoUSD) {
	w.bank.mu.Lock()
	defer w.bank.mu.Unlock()
	if a := w.bank.accounts[KeyOf(&budget.Account{Org: "acme", Budget: name})]; a != nil {
		w.excess[name] = max(w.excess[name], a.settled+a.leased-limit) // the bound that a cut states
	}
	w.bank.ceilings[name], w.limits[name] = limit, max(w.limits[name], limit)
}

// watch looks at the invariants that hold at every moment.
func (w *world) watch() error {
	w.mu.Lock()
	broken := w.broken
	w.mu.Unlock()
	if broken != nil {
		return broken
	}
	if err := w.bank.check(); err != nil {
		return err
	}
	w.bank.mu.Lock()
	defer w.bank.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, limit := range w.limits {
		// Nothing above the largest limit there was, but what calls cost beyond their holds.
		if most := limit + w.overrun[name]; w.spent[name] > most {
			return fmt.Errorf("overspent: providers were paid %d of budget %s, of at most %d (%d beyond holds)", w.spent[name], name, most, w.overrun[name])
		}
		a := w.bank.accounts[KeyOf(&budget.Account{Org: "acme", Budget: name})]
		if a != nil && time.Now().After(w.bank.learnTill) && w.bank.timeline == 1 && w.spent[name] > a.settled+a.leased+w.overrun[name] {
			return fmt.Errorf("I7: providers were paid %d of budget %s, settled %d + leased %d", w.spent[name], name, a.settled, a.leased)
		}
	}
	return nil
}

// conclude ends the faults, lets everything settle, and compares with the truth.
func (w *world) conclude() error {
	w.mu.Lock()
	w.awayTill, w.lossy = time.Time{}, false
	w.mu.Unlock()
	for i, r := range w.replicas {
		if r == nil {
			if err := w.start(i); err != nil {
				return err
			}
		}
	}
	w.calls.Wait()
	for _, r := range w.replicas { // a disk that broke is noticed with the next record
		r.Record(&budget.Decision{Call: budget.Call{ID: uuid.Must(uuid.NewV7()), Org: "acme", At: time.Now()}, Action: budget.Deny})
	}
	time.Sleep(30 * time.Second)
	if err := w.watch(); err != nil {
		return err
	}
	// What is left of a limit must be usable, from whichever replica.
	last := "never refused"
	for i := range 2000 {
		s := step{Amount: 1, Percent: 100, Budgets: 2}
		err := w.call(w.replicas[i%3], s)
		if refused := (*budget.Refused)(nil); errors.As(err, &refused) {
			last = fmt.Sprintf("call %d of epoch %s refused at %+v, %s", i, w.replicas[i%3].Epoch(), refused.Standing, w.bank.leaseReport())
			break
		}
		if err != nil {
			return fmt.Errorf("with nothing wrong any more: %w", err)
		}
	}
	for i, r := range w.replicas {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		err := r.Close(ctx)
		cancel()
		if w.replicas[i] = nil; err != nil {
			return err
		}
	}
	if err := w.watch(); err != nil {
		return err
	}
	for id, cost := range w.acked {
		switch c := w.bank.calls[id]; {
		case c == nil || !c.closed:
			return fmt.Errorf("I5: call %s was closed out, and the bank does not know", id)
		case c.presumed || len(c.charges) == 0 || c.charges[0].Amount != cost:
			return fmt.Errorf("I5: call %s cost %d, and the bank has %+v", id, cost, c)
		}
	}
	for k, a := range w.bank.accounts {
		if a.leased != 0 || a.held != 0 {
			return fmt.Errorf("account %v has %d leased and %d held with nobody left", k, a.leased, a.held)
		}
		if a.settled < w.spent[k.Budget]-w.overrun[k.Budget] { // an orphan is charged at its hold
			return fmt.Errorf("providers were paid %d of budget %s, settled %d", w.spent[k.Budget], k.Budget, a.settled)
		}
	}
	small := w.bank.accounts[KeyOf(&budget.Account{Org: "acme", Budget: "small"})]
	if small == nil || small.settled < w.bank.ceilings["small"] {
		return fmt.Errorf("only %+v of %d could be used: %s", small, w.bank.ceilings["small"], last)
	}
	return nil
}

// simulate runs a plan and returns what broke.
func simulate(t *testing.T, plan []step, prepare func(*world)) (broken error) {
	dir, err := os.MkdirTemp(memory(), "keel-simulator-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(dir, uint64(len(plan)))
		if prepare != nil {
			prepare(w)
		}
		broken = func() error {
			for i := range w.replicas {
				if err := w.start(i); err != nil {
					return err
				}
			}
			for i, s := range plan {
				if err := w.do(s); err != nil {
					return err
				}
				if err := w.watch(); err != nil {
					return fmt.Errorf("after step %d: %w", i, err)
				}
			}
			return w.conclude()
		}()
		w.calls.Wait()
		for _, r := range w.replicas {
			if r != nil {
				_ = r.Kill()
			}
		}
	})
	return broken
}

var (
	calm   = []string{"call", "call", "call", "call", "wait"}
	faulty = append(calm[:len(calm):len(calm)], "call", "call", "kill", "stop", "away", "lossy", "limit", "disk")
	forget = append(faulty[:len(faulty):len(faulty)], "standby", "failover")
)

func TestSimulator(t *testing.T) {
	for name, kinds := range map[string][]string{"calm": calm, "faults": faulty, "failover": forget} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				plan := rapid.SliceOfN(drawStep(kinds), 5, 80).Draw(rt, "plan")
				if err := simulate(t, plan, nil); err != nil {
					rt.Fatal(err)
				}
			})
		})
	}
}

// TestSimulatorCatches switches on what broke the prototype: the checks must see it.
func TestSimulatorCatches(t *testing.T) {
	for name, prepare := range map[string]func(*world){
		"records settled twice": func(w *world) { w.bank.noDedupe = true },
		"orphans left out":      func(w *world) { w.bank.noOrphans = true },
	} {
		t.Run(name, func(t *testing.T) {
			plans := drawStep(append(faulty[:len(faulty):len(faulty)], "lossy"))
			for seed := range 200 {
				plan := rapid.SliceOfN(plans, 40, 80).Example(seed)
				if err := simulate(t, plan, prepare); err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Error("not caught in 200 runs")
		})
	}
}
