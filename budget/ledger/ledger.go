package ledger

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
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"keel/budget"
)

// Options tune a Ledger. The zero value is ready for use.
type Options struct {
	Logger *slog.Logger // slog.Default() when nil

	// AllowAway makes Open succeed while Postgres can't be reached. Permits
	// then fail with budget.ErrUnavailable until it is there.
	AllowAway bool

	MaxConns    int           // connections for permits, 16 when 0; five more serve the outbox, heartbeats and reads
	PermitLimit time.Duration // longest Permit whose context has no deadline, 5 s when 0
	OutboxBytes int64         // bound of what waits to be written, estimated, 64 MiB when 0
	MaxAccounts int           // accounts whose standing is kept in memory, 10 000 when 0

	HeartbeatEvery time.Duration // 3 s when 0
	SweepEvery     time.Duration // 2 s when 0
	StaleAfter     time.Duration // silence after which a replica counts as dead, 30 s when 0
	MaxAge         time.Duration // a decision still open after this is closed as orphaned, 24 h when 0
	Grace          time.Duration // from an access log line until the ledger closes what nobody closed, 10 s when 0
	RefreshEvery   time.Duration // of standings, 500 ms when 0; at most 1 s
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	o.MaxConns = cmp.Or(o.MaxConns, 16)
	o.PermitLimit = cmp.Or(o.PermitLimit, 5*time.Second)
	o.OutboxBytes = cmp.Or(o.OutboxBytes, 64<<20)
	o.MaxAccounts = cmp.Or(o.MaxAccounts, 10_000)
	o.HeartbeatEvery = cmp.Or(o.HeartbeatEvery, 3*time.Second)
	o.SweepEvery = cmp.Or(o.SweepEvery, 2*time.Second)
	o.StaleAfter = cmp.Or(o.StaleAfter, 30*time.Second)
	o.MaxAge = cmp.Or(o.MaxAge, 24*time.Hour)
	o.Grace = cmp.Or(o.Grace, 10*time.Second)
	o.RefreshEvery = min(cmp.Or(o.RefreshEvery, 500*time.Millisecond), time.Second)
	return o
}

// Ledger is a budget.Ledger in Postgres. It is safe for concurrent use.
type Ledger struct {
	opts  Options
	log   *slog.Logger
	epoch uuid.UUID
	host  string

	*Store

	hot  *pgxpool.Pool // permits only, so that nothing else waits behind them
	back *pgxpool.Pool // outbox, heartbeat, sweeper, standings, config

	outbox    outbox
	standings standings

	state     atomic.Pointer[error] // nil: not asked yet; points to nil: healthy
	beatSince atomic.Int64          // Unix nanoseconds of the first heartbeat in a row, 0 while they fail

	stop    context.CancelFunc
	running sync.WaitGroup
	closing sync.Once
}

var _ budget.Ledger = (*Ledger)(nil)

var errNotAsked = errors.New("not connected yet")

// Open connects to the database of dsn, which keel migrate must have prepared,
// and starts the background work of a replica. It ends with ctx or after 10 s
// at the latest. The Ledger lives on after ctx, until Close.
func Open(ctx context.Context, dsn string, opts Options) (*Ledger, error) {
	opts = opts.withDefaults()
	epoch, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("ledger: make an epoch: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	l := &Ledger{opts: opts, log: opts.Logger, epoch: epoch, host: host}
	l.outbox.init(opts.OutboxBytes)
	l.standings.init(opts.MaxAccounts)

	if l.hot, err = newPool(dsn, opts.MaxConns); err != nil {
		return nil, err
	}
	if l.back, err = newPool(dsn, 5); err != nil {
		l.hot.Close()
		return nil, err
	}
	first, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err = l.enter(first)
	l.setState(err)
	if err != nil && !(opts.AllowAway && errors.Is(err, budget.ErrUnavailable)) {
		l.hot.Close()
		l.back.Close()
		return nil, err
	}
	l.Store = &Store{l.back, dsn}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	for _, work := range []func(context.Context){l.writeOutbox, l.beat, l.sweepLoop, l.refreshLoop} {
		l.running.Go(func() { work(run) })
	}
	return l, nil
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

// enter checks the schema, makes this replica known and reads the standings of running windows.
func (l *Ledger) enter(ctx context.Context) error {
	if err := checkSchema(ctx, l.back); err != nil {
		return err
	}
	if err := l.heartbeat(ctx); err != nil {
		return err
	}
	return l.preload(ctx)
}

// Ping asks the database for an answer.
func (l *Ledger) Ping(ctx context.Context) error {
	err := explainError("ping", l.back.Ping(ctx))
	l.setState(err)
	return err
}

// Healthy reports from memory whether the database answered when it was last
// asked, at most a heartbeat ago, and if not, why.
func (l *Ledger) Healthy() (bool, error) {
	p := l.state.Load()
	if p == nil {
		return false, errNotAsked
	}
	return *p == nil, *p
}

// setState notes what the database last answered, and logs when it goes away or comes back.
func (l *Ledger) setState(err error) {
	if errors.Is(err, context.Canceled) {
		return // says nothing about the database
	}
	before := l.state.Swap(&err)
	switch {
	case err != nil && (before == nil || *before == nil):
		l.log.Error("ledger: database away", "error", err)
	case err == nil && before != nil && *before != nil:
		l.log.Info("ledger: database is back")
	}
}

// Epoch identifies this run of this process in keel.replicas.
func (l *Ledger) Epoch() uuid.UUID { return l.epoch }

// Close takes nothing more, writes what waits until ctx ends, says goodbye in
// keel.replicas and disconnects. Its error says how much could not be written.
// What is still permitted and not closed then is closed as orphaned by another
// replica's sweeper.
func (l *Ledger) Close(ctx context.Context) error {
	var err error
	l.closing.Do(func() {
		l.outbox.close()
		err = l.Flush(ctx)
		l.stop()
		l.running.Wait()
		if n, bytes := l.outbox.pending(); n > 0 {
			l.log.Error("ledger: closed with records that were not written: spend of these calls is counted at the full hold once they are swept",
				"records", n, "bytes", bytes, "error", err)
			err = fmt.Errorf("ledger: close: %d records (%d bytes) were not written: %w", n, bytes, err)
		} else if _, e := l.back.Exec(ctx, "update keel.replicas set closed_at = now() where epoch = $1", l.epoch); e != nil {
			err = explainError("close", e)
		}
		l.hot.Close()
		l.back.Close()
	})
	return err
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
