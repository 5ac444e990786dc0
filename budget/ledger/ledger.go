package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"keel/budget"
	"keel/budget/ledger/escrow"
	"keel/budget/ledger/journal"
)

// Options tune a Ledger. Journal is needed; the rest is ready for use when zero.
type Options struct {
	Logger *slog.Logger // slog.Default() when nil

	// Journal is the folder of the replica's journals. It belongs to one process at a time.
	Journal        string
	JournalSegment int64 // bytes, 64 MiB when 0
	JournalLimit   int64 // bytes that may wait to be settled, 8 GiB when 0

	// AllowAway makes Open succeed while Postgres can't be reached.
	AllowAway bool

	MaxConns    int           // connections, 12 when 0; two more listen
	PermitLimit time.Duration // longest Permit whose context has no deadline, 5 s when 0
	NoteBytes   int64         // bound of the annotations that wait to be written, estimated, 16 MiB when 0

	HeartbeatEvery time.Duration // 1 s when 0
	SweepEvery     time.Duration // 2 s when 0
	StaleAfter     time.Duration // silence after which a replica counts as dead, 30 s when 0
	MaxAge         time.Duration // a decision still open after this is closed as orphaned, 24 h when 0
	Grace          time.Duration // from an access log line until the ledger closes what nobody closed, 10 s when 0
	ForfeitAfter   time.Duration // the end of a window, until what a lost replica had leased in it counts as spent, 24 h when 0
	FoldEvery      time.Duration // of statements, 1 s when 0
	AskEvery       time.Duration // which open calls somebody else closed, 1 s when 0
	RefreshEvery   time.Duration // of standings, 500 ms when 0; at most 1 s
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	o.JournalLimit = cmp.Or(o.JournalLimit, 8<<30)
	o.MaxConns = cmp.Or(o.MaxConns, 12)
	o.NoteBytes = cmp.Or(o.NoteBytes, 16<<20)
	o.SweepEvery = cmp.Or(o.SweepEvery, 2*time.Second)
	o.AskEvery = cmp.Or(o.AskEvery, time.Second)
	o.FoldEvery = cmp.Or(o.FoldEvery, time.Second)
	o.StaleAfter = cmp.Or(o.StaleAfter, 30*time.Second)
	o.MaxAge = cmp.Or(o.MaxAge, 24*time.Hour)
	o.Grace = cmp.Or(o.Grace, 10*time.Second)
	o.ForfeitAfter = cmp.Or(o.ForfeitAfter, 24*time.Hour)
	return o
}

// Ledger is a budget.Ledger: a replica's escrow with Postgres as its bank. It is
// safe for concurrent use.
type Ledger struct {
	*Store
	*escrow.Replica

	opts  Options
	log   *slog.Logger
	bank  *Bank
	notes notes

	stop    context.CancelFunc
	running sync.WaitGroup
	closing sync.Once
}

var _ budget.Ledger = (*Ledger)(nil)

// Open takes hold of the journal folder, connects to the database of dsn, which
// keel migrate must have prepared, and starts the background work of a replica. It
// ends with ctx or after 10 s at the latest. The Ledger lives on after ctx, until Close.
func Open(ctx context.Context, dsn string, opts Options) (*Ledger, error) {
	opts = opts.withDefaults()
	l := &Ledger{opts: opts, log: opts.Logger}
	l.notes.init(opts.NoteBytes)
	pool, err := newPool(dsn, opts.MaxConns)
	if err != nil {
		return nil, err
	}
	l.Store = &Store{pool, dsn}
	l.bank = NewBank(pool, BankOptions{Logger: opts.Logger, SilentAfter: opts.StaleAfter, MaxAge: opts.MaxAge, Grace: opts.Grace, ForfeitAfter: opts.ForfeitAfter})
	l.bank.mutant = testMutant()
	if err := l.enter(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	for _, work := range []func(context.Context){l.writeNotes, l.sweepLoop, l.foldLoop, l.askLoop} {
		l.running.Go(func() { work(run) })
	}
	return l, nil
}

// enter checks the schema and begins an epoch.
func (l *Ledger) enter(ctx context.Context) error {
	first, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := explainError("connect", checkSchema(first, l.pool)); err != nil && !(l.opts.AllowAway && errors.Is(err, budget.ErrUnavailable)) {
		return err
	}
	folder, err := journal.Open(l.opts.Journal, journal.Options{Logger: l.log, SegmentBytes: l.opts.JournalSegment, MaxBytes: l.opts.JournalLimit})
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	l.Replica, err = escrow.Open(folder, l.bank, escrow.Options{
		Logger: l.log, PermitLimit: l.opts.PermitLimit, BeatEvery: l.opts.HeartbeatEvery, ReadEvery: l.opts.RefreshEvery,
	})
	if err != nil {
		return errors.Join(err, folder.Close())
	}
	return nil
}

func newPool(dsn string, conns int) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("ledger: database address: %w", err)
	}
	config.MaxConns = int32(conns)
	configureConn(config.ConnConfig)
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return nil, fmt.Errorf("ledger: connection pool: %w", err)
	}
	return pool, nil
}

func configureConn(c *pgx.ConnConfig) {
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 5 * time.Second
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "keel"
	}
}

// Close takes nothing more, settles and gives back until ctx ends, says goodbye in
// keel.replicas and disconnects. What it does not get done the next process on
// the journal folder does.
func (l *Ledger) Close(ctx context.Context) error {
	var err error
	l.closing.Do(func() {
		err = errors.Join(l.notes.flush(ctx), l.Replica.Close(ctx))
		l.stop()
		l.running.Wait()
		l.pool.Close()
	})
	return err
}

// sweepLoop closes what nobody will close. Right after an outage every replica's
// heartbeat is old, so a replica that saw one waits until the others had time to be
// heard. A wrong guess would be corrected by the real closeout.
func (l *Ledger) sweepLoop(ctx context.Context) {
	var since time.Time
	began := true
	ticker := time.NewTicker(l.opts.SweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if ok, _ := l.Healthy(); !ok {
			since, began = time.Time{}, false
			continue
		}
		if since.IsZero() {
			since = time.Now()
		}
		if !began && time.Since(since) < l.opts.StaleAfter {
			continue
		}
		l.sweepOnce(ctx)
	}
}

func (l *Ledger) sweepOnce(ctx context.Context) {
	_, err := l.bank.Sweep(ctx)
	if err == nil {
		_, err = l.bank.Correct(ctx)
	}
	if err == nil {
		_, err = l.bank.Forfeit(ctx)
	}
	if err != nil && ctx.Err() == nil {
		l.log.Warn("ledger: sweep failed, will go on trying", "error", err)
	}
}

// Sweep closes, at their full hold, the open decisions of replicas that died,
// those older than Options.MaxAge, and those that the access log saw end longer
// than Options.Grace ago. It returns how many.
func (l *Ledger) Sweep(ctx context.Context) (int, error) { return l.bank.Sweep(ctx) }
