package escrow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/budget/ledger/journal"
)

// Options tune a Replica. The zero value is ready for use.
type Options struct {
	Logger *slog.Logger // slog.Default() when nil
	Host   string       // os.Hostname() when ""

	PermitLimit time.Duration // longest Permit whose context has no deadline, 5 s when 0
	Horizon     time.Duration // of spending that a slice covers: the outage that it rides out, 2 s when 0
	BeatEvery   time.Duration // heartbeats, 1 s when 0
	TickEvery   time.Duration // rates are measured and idle slices looked for, 250 ms when 0
	IdleAfter   time.Duration // a slice that nobody used for so long goes back, 30 s when 0
	EdgeWait    time.Duration // how long a call waits for idle slices of others before it is refused, 1 s when 0
	RecallEvery time.Duration // while it waits, 15 ms when 0
	EdgeLasts   time.Duration // after a refusal or a recall no slices are leased ahead, 1 s when 0
	ReadEvery   time.Duration // of standings, 500 ms when 0; at most 1 s
	MaxSkew     time.Duration // between this clock and the bank's beyond which rolling windows are refused, 2 s when 0
	MaxRead     int           // accounts whose standing is read at a time, 10 000 when 0
	MaxUnkept   int           // records in memory while no journal can be written, 10 000 when 0
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Host == "" {
		if o.Host, _ = os.Hostname(); o.Host == "" {
			o.Host = "unknown"
		}
	}
	o.PermitLimit = cmp.Or(o.PermitLimit, 5*time.Second)
	o.Horizon = cmp.Or(o.Horizon, 2*time.Second)
	o.BeatEvery = cmp.Or(o.BeatEvery, time.Second)
	o.TickEvery = cmp.Or(o.TickEvery, 250*time.Millisecond)
	o.IdleAfter = cmp.Or(o.IdleAfter, 30*time.Second)
	o.EdgeWait = cmp.Or(o.EdgeWait, time.Second)
	o.RecallEvery = cmp.Or(o.RecallEvery, 15*time.Millisecond)
	o.EdgeLasts = cmp.Or(o.EdgeLasts, time.Second)
	o.ReadEvery = min(cmp.Or(o.ReadEvery, 500*time.Millisecond), time.Second)
	o.MaxSkew = cmp.Or(o.MaxSkew, 2*time.Second)
	o.MaxRead = cmp.Or(o.MaxRead, 10_000)
	o.MaxUnkept = cmp.Or(o.MaxUnkept, 10_000)
	return o
}

// Replica keeps holds and closeouts of one process. It is safe for concurrent
// use, and has all of budget.Ledger but Annotate.
type Replica struct {
	bank   Bank
	folder *journal.Folder
	o      Options
	log    *slog.Logger

	current atomic.Pointer[epoch] // nil while no journal can be written
	open    openCalls
	unkept  unkept

	fleet  atomic.Pointer[Fleet] // as the last heartbeat had it; nil before the first
	skew   atomic.Int64          // our clock − the bank's, nanoseconds
	health atomic.Pointer[error] // what the bank last answered; nil: not asked yet
	counts counts

	closed  atomic.Bool
	stop    context.CancelFunc
	run     context.Context
	running sync.WaitGroup
	ending  sync.RWMutex // written when nothing more may be begun
	ended   bool
}

// background runs work that Kill waits for, unless that has begun.
func (r *Replica) background(work func()) bool {
	r.ending.RLock()
	defer r.ending.RUnlock()
	if !r.ended {
		r.running.Go(work)
	}
	return !r.ended
}

// counts are totals since the start, for metrics.
type counts struct {
	slow, leases, refusals, recalls, returns, forgotten, unrecorded atomic.Int64
	debt                                                            atomic.Int64 // nano-dollars
}

// Open begins an epoch in the folder and settles what earlier ones left there. It
// does not need the bank. The replica owns the folder from now on, until Close.
func Open(folder *journal.Folder, bank Bank, o Options) (*Replica, error) {
	o = o.withDefaults()
	r := &Replica{bank: bank, folder: folder, o: o, log: o.Logger}
	r.open.init()
	left, aside, err := folder.Left()
	if err != nil {
		return nil, fmt.Errorf("ledger: journals of earlier epochs: %w", err)
	}
	for _, a := range aside {
		r.log.Error("ledger: a journal can't be read and is kept aside; what it holds that was not settled stays escrowed", "journal", a.Path, "why", a.Reason)
	}
	r.run, r.stop = context.WithCancel(context.Background())
	if err := r.begin(); err != nil {
		r.stop()
		return nil, fmt.Errorf("ledger: begin a journal: %w", err)
	}
	for _, j := range left {
		r.log.Info("ledger: settling the journal of an earlier epoch", "epoch", j.Epoch())
		e := newEpoch(j)
		r.background(func() { r.recover(r.run, e) })
	}
	for _, work := range []func(context.Context){r.beatLoop, r.tickLoop, r.readLoop, r.recallLoop} {
		r.background(func() { work(r.run) })
	}
	return r, nil
}

// Epoch identifies this run of the process, in the journal and in the bank: the
// nil UUID while no journal can be written.
func (r *Replica) Epoch() uuid.UUID {
	if e := r.current.Load(); e != nil {
		return e.id
	}
	return uuid.Nil
}

// Healthy reports from memory whether the bank answered when it was last
// asked, at most a heartbeat ago, and if not, why.
func (r *Replica) Healthy() (bool, error) {
	p := r.health.Load()
	if p == nil {
		return false, errNotAsked
	}
	return *p == nil, *p
}

var errNotAsked = errors.New("not connected yet")

// answered notes what the bank said, and logs when it goes away or comes back.
func (r *Replica) answered(err error) {
	if errors.Is(err, context.Canceled) {
		return // says nothing about the bank
	}
	before := r.health.Swap(&err)
	switch {
	case err != nil && (before == nil || *before == nil):
		r.log.Error("ledger: database away", "error", err)
	case err == nil && before != nil && *before != nil:
		r.log.Info("ledger: database is back")
	}
}

// Close takes nothing more, settles what the journal holds until ctx ends, gives every
// slice back and finishes the epoch. What it does not get done the next process
// on this folder does; until then the slices stay escrowed.
func (r *Replica) Close(ctx context.Context) error {
	if r.closed.Swap(true) {
		return nil
	}
	var err error
	if e := r.current.Load(); e != nil {
		e.end()
		if err = r.Flush(ctx); err == nil {
			err = r.finish(ctx, e)
		}
		if err != nil {
			err = fmt.Errorf("ledger: close: the journal of epoch %s is not settled to its end; the next process on this folder will do it: %w", e.id, err)
		}
	}
	if n := r.unkept.waiting(); n > 0 {
		err = errors.Join(err, fmt.Errorf("ledger: close: %d records were never written, because no journal could be", n))
	}
	return errors.Join(err, r.Kill())
}

// Kill ends the replica as the end of its process would: nothing is settled or
// given back any more.
func (r *Replica) Kill() error {
	r.closed.Store(true)
	r.ending.Lock()
	r.ended = true
	r.ending.Unlock()
	r.stop()
	r.running.Wait()
	return r.folder.Close()
}

func unavailable(format string, args ...any) error {
	return fmt.Errorf("ledger: %w: %w", budget.ErrUnavailable, fmt.Errorf(format, args...))
}

// every calls work at once and then in intervals, until ctx ends.
func every(ctx context.Context, interval time.Duration, work func(context.Context)) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		work(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// sleep reports whether it slept the whole time.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Stats are figures for metrics.
type Stats struct {
	JournalBytes int64         // written and not settled yet
	JournalFree  int64         // about what can still be written before the journal refuses; 0 where none can be written
	Unkept       int           // records in memory only, because no journal can be written
	Unrecorded   int64         // records that were lost that way, since the start. Each was logged
	Open         int           // calls that are permitted and not closed
	Leased       int64         // nano-dollars of slices that no call holds
	Debt         int64         // nano-dollars permitted as debt, since the start
	ClockOffset  time.Duration // our clock less the database's, as the last heartbeat had it

	Waited int64 // permits that had to ask the database, since the start

	Leases, Refusals, Recalls, Returns, Forgotten int64 // since the start; Forgotten: failovers of the database that were noticed
}

// Stats returns the figures of this moment.
func (r *Replica) Stats() Stats {
	c := &r.counts
	s := Stats{
		Unkept: r.unkept.waiting(), Unrecorded: c.unrecorded.Load(), Open: r.open.len(), Debt: c.debt.Load(), Leases: c.leases.Load(), Waited: c.slow.Load(),
		ClockOffset: time.Duration(r.skew.Load()),
		Refusals:    c.refusals.Load(), Recalls: c.recalls.Load(), Returns: c.returns.Load(), Forgotten: c.forgotten.Load(),
	}
	if e := r.current.Load(); e != nil {
		s.JournalBytes, _ = e.journal.Bytes()
		s.JournalFree = e.journal.Free()
		for _, a := range e.accounts.all() {
			s.Leased += max(0, a.avail.Load())
		}
	}
	return s
}
