package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"keel/budget/audit/log"
)

// SequencerOptions tune a Sequencer. Database is needed.
type SequencerOptions struct {
	Database string
	Key      *PrivateKey // nil: the log grows, and nothing is signed
	Anchors  []Anchor
	Logger   *slog.Logger // slog.Default() when nil

	Every       time.Duration // from one look into the outbox to the next, 250 ms when 0
	SignEvery   time.Duration // between checkpoints, 1 s when 0; earlier after SignLeaves
	SignLeaves  int64         // 10,000 when 0
	AnchorEvery time.Duration // between checkpoints that are anchored, 10 s when 0
	// KeepCheckpoints is how long the database keeps every checkpoint, 30 days when 0; after that it keeps the last one of
	// each day (UTC), and those that are anchored. Negative: all of them, for good.
	KeepCheckpoints time.Duration
	RetryEvery      time.Duration // until a process that does not sequence tries again, 2 s when 0
}

func (o SequencerOptions) withDefaults() SequencerOptions {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	o.Every = cmp.Or(o.Every, 250*time.Millisecond)
	o.SignEvery = cmp.Or(o.SignEvery, time.Second)
	o.SignLeaves = cmp.Or(o.SignLeaves, 10_000)
	o.AnchorEvery = cmp.Or(o.AnchorEvery, 10*time.Second)
	o.KeepCheckpoints = cmp.Or(o.KeepCheckpoints, 30*24*time.Hour)
	o.RetryEvery = cmp.Or(o.RetryEvery, 2*time.Second)
	return o
}

// Sequencer takes what was announced into the log: it gives every record the next place, extends the
// tree, signs checkpoints and anchors them. Any number of processes may run one: a lock in
// the database lets one of them work, on the connection that has the lock, so that whoever loses it can't write. What
// one leaves undone the next one does; a place that was given is never given again.
type Sequencer struct {
	o       SequencerOptions
	refuses atomic.Bool
}

// Refuses reports whether this process takes records in and does not sign them: what is stored contradicts what was signed, or its key
// is not that of the log. Which, is in its log. It may be called at any time, and is false where another process sequences.
func (s *Sequencer) Refuses() bool { return s.refuses.Load() }

// NewSequencer returns a sequencer, which works while Run does.
func NewSequencer(o SequencerOptions) *Sequencer { return &Sequencer{o: o.withDefaults()} }

// sequencerLock is the number of the advisory lock.
const sequencerLock = 0x6b65656c6c6f67 // "keellog"

// Run sequences, or waits until it may, until ctx ends. It then takes in what is left, signs and anchors it,
// within a second or two.
func (s *Sequencer) Run(ctx context.Context) {
	failing := false
	for ctx.Err() == nil {
		switch err := s.turn(ctx); {
		case err != nil && ctx.Err() == nil:
			if !failing {
				s.o.Logger.Warn("audit log: it does not grow for now, will go on trying", "error", err)
			}
			failing = true
		default:
			failing = false
		}
		sleep(ctx, s.o.RetryEvery)
	}
}

// turn returns at once where another process sequences.
func (s *Sequencer) turn(ctx context.Context) error {
	defer s.refuses.Store(false)
	conn, err := connect(ctx, s.o.Database, "keel audit log")
	if err != nil {
		return err
	}
	defer letGo(conn)
	var mine bool
	if err := conn.QueryRow(ctx, "select pg_try_advisory_lock($1)", int64(sequencerLock)).Scan(&mine); err != nil || !mine {
		return err
	}
	w := &writer{o: &s.o, conn: conn, labels: newSalts(), refuses: &s.refuses}
	if err := w.begin(ctx); err != nil {
		return err
	}
	// A step that has begun when ctx ends may end, within two seconds: pgx gives up a connection in the middle of a statement, and with it
	// the lock, and what is left would not be signed before the next process does.
	work, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(2*time.Second, giveUp) })()
	for ctx.Err() == nil {
		more, err := w.step(work)
		if err == nil {
			err = w.anchor(work, false)
		}
		if err == nil {
			err = w.thin(work)
		}
		if err != nil {
			return err
		}
		if !more {
			sleep(ctx, s.o.Every)
		}
	}
	return w.finish(work)
}

// letGo unlocks before it disconnects: a server notices the end of a connection later than the next process asks.
func letGo(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if !conn.IsClosed() {
		_, _ = conn.Exec(ctx, "select pg_advisory_unlock_all()")
	}
	closeConn(conn)
}

// SequenceOnce takes in, signs and anchors all that is announced, and returns the size of the log. It is an error
// while another process sequences.
func (s *Sequencer) SequenceOnce(ctx context.Context) (size int64, err error) {
	conn, err := connect(ctx, s.o.Database, "keel audit log")
	if err != nil {
		return 0, err
	}
	defer letGo(conn)
	var mine bool
	if err := conn.QueryRow(ctx, "select pg_try_advisory_lock($1)", int64(sequencerLock)).Scan(&mine); err != nil {
		return 0, err
	}
	if !mine {
		return 0, errors.New("audit log: another process is sequencing")
	}
	w := &writer{o: &s.o, conn: conn, labels: newSalts(), refuses: &s.refuses}
	if err := w.begin(ctx); err != nil {
		return 0, err
	}
	err = w.finish(ctx)
	return w.tree.Size(), err
}

// writer is a sequencer while it has the lock.
type writer struct {
	o      *SequencerOptions
	conn   *pgx.Conn
	tree   *log.Tree
	labels *salts

	refuses  *atomic.Bool
	signing  bool
	signed   log.Checkpoint
	note     string
	signedAt time.Time

	anchored   int64
	anchoredAt time.Time
	broken     bool // an anchor is

	thinnedAt time.Time
}

// finish takes in all that is left, signs and anchors it.
func (w *writer) finish(ctx context.Context) error {
	for {
		more, err := w.step(ctx)
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	if err := pgx.BeginFunc(ctx, w.conn, func(tx pgx.Tx) error { return w.sign(ctx, tx, true) }); err != nil {
		return err
	}
	return w.anchor(ctx, true)
}

// begin finds the end of the log, and refuses to sign what contradicts something signed before.
func (w *writer) begin(ctx context.Context) error {
	var size int64
	if err := w.conn.QueryRow(ctx, "select coalesce(max(index) + 1, 0) from keel.leaves").Scan(&size); err != nil {
		return err
	}
	w.tree = log.NewTree(tilesOf(ctx, w.conn), size)
	if w.signing = w.o.Key != nil; !w.signing {
		return nil
	}
	if err := registerKey(ctx, w.conn, w.o.Key); err != nil {
		return w.refuse(err)
	}
	keys, err := log.ParseKeys(w.o.Key.Public)
	if err != nil {
		return err
	}
	breaks, err := continuations(ctx, w.conn)
	if err != nil {
		return err
	}
	err = w.conn.QueryRow(ctx, "select note from keel.checkpoints order by size desc limit 1").Scan(&w.note)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	notes := []string{}
	if w.note != "" {
		notes = append(notes, w.note)
	}
	for _, a := range w.o.Anchors {
		if all, err := a.All(); err == nil {
			notes = append(notes, newestOfEach(all)...)
		}
	}
	for _, text := range notes {
		signed, err := log.Open(text, keys)
		if err != nil && !errors.Is(err, log.ErrUnsigned) { // by a key of before
			return w.refuse(err)
		}
		if err := w.continues(signed.Checkpoint, breaks); err != nil {
			return w.refuse(err)
		}
		if text == w.note {
			w.signed, w.signedAt = signed.Checkpoint, time.Now()
		}
	}
	return nil
}

// newestOfEach is the last note of every log.
func newestOfEach(notes []string) (newest []string) {
	last := make(map[string]string)
	for _, text := range notes {
		last[originOf(text)] = text
	}
	for _, origin := range slices.Sorted(maps.Keys(last)) {
		newest = append(newest, last[origin])
	}
	return newest
}

// continues reports whether the log as it is goes on from a checkpoint.
func (w *writer) continues(c log.Checkpoint, breaks []Continuation) error {
	if c.Origin != w.o.Key.Origin() {
		// Of one that ended it has what was kept; that it lost the rest was declared.
		i := slices.IndexFunc(breaks, func(b Continuation) bool { return b.OldLog == c.Origin })
		if i < 0 {
			return fmt.Errorf("checkpoint of size %d is of log %q, and the key is of %q", c.Size, c.Origin, w.o.Key.Origin())
		}
		if c.Size > breaks[i].Kept {
			return nil
		}
	}
	if c.Size > w.tree.Size() {
		return fmt.Errorf("a checkpoint of size %d was signed, and the database has %d leaves: it lost some; whoever can explain that declares it by keel audit continue", c.Size, w.tree.Size())
	}
	root, err := w.tree.Root(c.Size)
	if err == nil && root != c.Root {
		err = fmt.Errorf("the first %d leaves are not those of the checkpoint that was signed of them", c.Size)
	}
	return err
}

// refuse goes on without signing: the log keeps what happens, and nobody vouches for it.
func (w *writer) refuse(why error) error {
	w.signing = false
	w.refuses.Store(true)
	w.o.Logger.Error("audit log: nothing is signed; run keel audit verify", "error", why)
	return nil
}

// step takes in what is announced, up to about 10,000 records, and reports whether there are more. After an
// error the writer is of no use: what it holds in memory may be ahead of the database.
func (w *writer) step(ctx context.Context) (more bool, err error) {
	if more, err = w.try(ctx, false); errors.Is(err, errWary) {
		w.labels.forget() // salts that it made are gone with the transaction
		more, err = w.try(ctx, true)
	}
	return more, err
}

func (w *writer) try(ctx context.Context, wary bool) (more bool, err error) {
	err = pgx.BeginFunc(ctx, w.conn, func(tx pgx.Tx) error {
		if more, err = w.take(ctx, tx, wary); err != nil {
			return err
		}
		return w.sign(ctx, tx, false)
	})
	return more, err
}

// sign makes a checkpoint where one is due.
func (w *writer) sign(ctx context.Context, tx pgx.Tx, now bool) error {
	size := w.tree.Size()
	if !w.signing || size == w.signed.Size || !now && size-w.signed.Size < w.o.SignLeaves && time.Since(w.signedAt) < w.o.SignEvery {
		return nil
	}
	// Whoever goes over to another key waits until this is committed, and this for him.
	last, err := lastKey(ctx, tx)
	if err != nil {
		return err
	}
	if last != w.o.Key.Public {
		return w.refuse(fmt.Errorf("%w any more: that is %s", ErrKey, last))
	}
	root, err := w.tree.Root(size)
	if err != nil {
		return err
	}
	c := log.Checkpoint{Origin: w.o.Key.Origin(), Size: size, Root: root}
	signed, err := log.Sign(c, w.o.Key)
	if err != nil {
		return fmt.Errorf("sign a checkpoint: %w", err)
	}
	if _, err := tx.Exec(ctx, "insert into keel.checkpoints (size, note) values ($1, $2)", size, signed); err != nil {
		return err
	}
	w.signed, w.note, w.signedAt = c, signed, time.Now()
	return nil
}

// anchor puts the last checkpoint elsewhere where that is due. It is called when that is committed. One that failed is tried again.
func (w *writer) anchor(ctx context.Context, now bool) error {
	if !w.signing || w.signed.Size == w.anchored || !now && time.Since(w.anchoredAt) < w.o.AnchorEvery {
		return nil
	}
	w.anchoredAt = time.Now()
	for _, a := range w.o.Anchors {
		if err := a.Put(w.signed.Size, w.note); err != nil {
			if !w.broken {
				w.o.Logger.Error("audit log: a checkpoint could not be anchored, will go on trying", "anchor", a, "error", err)
			}
			w.broken = true
			return nil
		}
	}
	w.anchored, w.broken = w.signed.Size, false
	if len(w.o.Anchors) == 0 {
		return nil
	}
	_, err := w.conn.Exec(ctx, "update keel.checkpoints set anchored = true where size = $1", w.anchored)
	return err
}

// thinEvery is how often old checkpoints are looked for.
const thinEvery = time.Hour

// thin deletes old checkpoints. Every one stays provable that somebody kept: proofs are made of the tree, which has all of its sizes.
func (w *writer) thin(ctx context.Context) error {
	if !w.signing || w.o.KeepCheckpoints < 0 || time.Since(w.thinnedAt) < thinEvery {
		return nil
	}
	w.thinnedAt = time.Now()
	var n int64
	if err := w.conn.QueryRow(ctx, "select keel.thin_checkpoints($1)", w.o.KeepCheckpoints).Scan(&n); err != nil {
		return fmt.Errorf("thin checkpoints: %w", err)
	}
	if n > 0 {
		w.o.Logger.Info("audit log: old checkpoints were deleted; one of each day, and those that are anchored, are kept", "deleted", n)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
