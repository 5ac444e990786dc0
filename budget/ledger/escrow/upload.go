package escrow

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"keel/budget"
	"keel/budget/ledger/journal"
	"keel/budget/ledger/record"
)

const (
	uploadRecords = 1000             // of one round
	uploadBytes   = 4 << 20          // of one round
	uploadLimit   = 15 * time.Second // for one batch, so that a bank that went silent is left
)

// upload is how far a journal is settled.
type upload struct {
	mu      sync.Mutex
	applied map[string]uint64 // by org
	settled chan struct{}     // closed at the next progress
	rush    chan struct{}
	skip    map[string]uint64 // of a kept journal: what needs no second look
	whole   bool              // the reader began at the beginning
	rewind  bool              // the bank forgot: read from the beginning
	reader  *journal.Reader
	turn    sync.Mutex // held by the one who uploads
	decoder record.Decoder
	spare   []Record // of a batch before
}

func (u *upload) init() {
	u.applied = make(map[string]uint64)
	u.settled = make(chan struct{})
	u.rush = make(chan struct{}, 1)
}

// hurry skips the pause before the next round.
func (u *upload) hurry() {
	select {
	case u.rush <- struct{}{}:
	default:
	}
}

// await returns when a record is settled.
func (u *upload) await(ctx context.Context, org string, seq uint64) error {
	for {
		u.mu.Lock()
		settled, done := u.settled, u.applied[org] >= seq
		u.mu.Unlock()
		if done {
			return nil
		}
		u.hurry()
		select {
		case <-settled:
		case <-ctx.Done():
			return fmt.Errorf("ledger: not settled yet: %w", ctx.Err())
		}
	}
}

// progress notes what is applied and returns what was before. It never goes
// back: a bank that forgot is told again, but those who heard were told.
func (u *upload) progress(org string, applied uint64) (before uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	before = u.applied[org]
	u.applied[org] = max(before, applied)
	close(u.settled)
	u.settled = make(chan struct{})
	return before
}

// all returns the last settled record of every org.
func (u *upload) all() map[string]uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return maps.Clone(u.applied)
}

// again makes the uploader begin at the beginning; what is applied already is skipped by the bank.
func (u *upload) again() {
	u.mu.Lock()
	u.rewind = true
	u.mu.Unlock()
	u.hurry()
}

// uploadLoop settles what is written, until ctx ends or the journal has failed.
func (r *Replica) uploadLoop(ctx context.Context, e *epoch) {
	var pace Pace
	for attempt := 0; ctx.Err() == nil && e.journal.Err() == nil; {
		done, err := r.uploadRound(ctx, e)
		if err != nil {
			if ctx.Err() == nil {
				if r.answered(err); !errors.Is(err, budget.ErrUnavailable) && attempt == 0 {
					r.log.Error("ledger: can't settle the journal, will go on trying", "epoch", e.id, "error", err)
				}
			}
			sleep(ctx, backoff(attempt))
			attempt++
			continue
		}
		attempt = 0
		if done.records == 0 {
			select {
			case <-ctx.Done():
			case <-e.upload.rush:
				continue
			case <-e.journal.Grown():
			}
		}
		pause := time.NewTimer(pace.After(done.records, done.full))
		select {
		case <-ctx.Done():
		case <-e.upload.rush:
		case <-pause.C:
		}
		pause.Stop()
	}
}

// Flush settles what the journal holds, or returns with the reason why it is not when ctx ends.
func (r *Replica) Flush(ctx context.Context) error {
	e := r.current.Load()
	if e == nil {
		return unavailable("no journal can be written")
	}
	for attempt := 0; ; attempt++ {
		err := r.flush(ctx, e)
		if err == nil || !sleep(ctx, backoff(attempt)) {
			return err
		}
	}
}

// flush settles a journal to its end.
func (r *Replica) flush(ctx context.Context, e *epoch) error {
	for {
		done, err := r.uploadRound(ctx, e)
		if err != nil || done.records == 0 {
			return err
		}
	}
}

// round is what is settled at once.
type round struct {
	last    journal.Position
	records int
	full    bool // there may be more
}

// uploadRound settles the next records. There are none where all are settled.
func (r *Replica) uploadRound(ctx context.Context, e *epoch) (round, error) {
	u := &e.upload
	u.turn.Lock()
	defer u.turn.Unlock()
	var err error
	u.mu.Lock()
	if u.rewind || u.reader == nil {
		if u.reader, err = e.reader(u.rewind); err == nil {
			u.whole, u.rewind, u.skip = u.rewind, false, nil
		}
	}
	u.mu.Unlock()
	if err == nil && e.kept && u.skip == nil {
		if u.skip, err = r.bank.Applied(ctx, e.id); err == nil {
			for org, applied := range u.skip {
				u.progress(org, applied)
			}
		}
	}
	if err != nil {
		return round{}, err
	}
	next, batches, err := r.read(e)
	defer u.reuse(batches)
	if err != nil || next.records == 0 {
		return round{}, err
	}
	for _, b := range batches {
		if err := r.settle(ctx, e, b); err != nil {
			u.mu.Lock()
			u.reader, u.rewind = nil, u.rewind || u.whole // what was read is read again
			u.mu.Unlock()
			return round{}, err
		}
	}
	return next, e.journal.Settled(next.last)
}

// reuse takes back the memory of what was read: the bank keeps nothing of a batch, and who reads again decodes again.
func (u *upload) reuse(batches []*Batch) {
	for _, b := range batches {
		clear(b.Records)
		u.spare = b.Records[:0]
	}
	u.decoder.Reset()
}

func (e *epoch) reader(fromStart bool) (*journal.Reader, error) {
	r := e.journal.Reader()
	if fromStart {
		return r, e.journal.Rewind(r)
	}
	return r, nil
}

// read takes the next records from the journal, by org. They are in memory of the upload, until that is used again.
func (r *Replica) read(e *epoch) (next round, batches []*Batch, err error) {
	byOrg := make(map[string]*Batch)
	for bytes := 0; !next.full; {
		rec, ok, err := e.upload.reader.Next()
		if err != nil {
			return next, batches, err
		}
		if !ok {
			break
		}
		next.last = rec.Position
		next.records++
		bytes += len(rec.Payload)
		next.full = next.records == uploadRecords || bytes >= uploadBytes
		if rec.Seq <= e.upload.skip[rec.Org] {
			continue
		}
		b := byOrg[rec.Org]
		if b == nil {
			b = &Batch{Epoch: e.id, Org: rec.Org, Records: e.upload.spare}
			e.upload.spare = nil
			byOrg[rec.Org] = b
			batches = append(batches, b)
		}
		decoded, err := Decode(&e.upload.decoder, rec)
		if err != nil {
			return next, batches, fmt.Errorf("ledger: journal %s, org %s, record %d: %w", e.id, rec.Org, rec.Position.Seq, err)
		}
		b.Records = append(b.Records, decoded)
	}
	return next, batches, nil
}

// Decode reads a record as it is settled. What it returns is valid until d is reset.
func Decode(d *record.Decoder, rec journal.Record) (Record, error) {
	var err error
	out := Record{Seq: rec.Position.Seq, Digest: record.DigestOf(record.Kind(rec.Kind), rec.Payload)}
	switch record.Kind(rec.Kind) {
	case record.KindDecision:
		out.Decision, err = d.Decision(rec.Payload)
	case record.KindCloseout:
		out.Closeout, err = d.Closeout(rec.Payload)
	case record.KindReturn:
		out.Return, err = d.Return(rec.Payload)
	case record.KindResponse:
		out.Response, err = d.Response(rec.Payload)
	case record.KindExtension:
		out.Extension, err = d.Extension(rec.Payload)
	default:
		err = fmt.Errorf("unknown kind %d: it was written by another version", rec.Kind)
	}
	return out, err
}

// settle gives one batch to the bank. A bank that misses records gets all again.
func (r *Replica) settle(ctx context.Context, e *epoch, b *Batch) error {
	limited, cancel := context.WithTimeout(ctx, uploadLimit)
	defer cancel()
	settled, err := r.bank.Settle(limited, *b)
	var gap *GapError
	switch {
	case errors.As(err, &gap):
		r.log.Warn("ledger: the database lacks records that it had; settling the journal again", "epoch", e.id, "org", b.Org, "applied", gap.Applied)
		r.databaseForgot(e)
		return unavailable("%w", err)
	case errors.Is(err, ErrFinished):
		return err
	case err != nil && !errors.Is(err, budget.ErrUnavailable) && len(b.Records) > 1:
		// One record that the bank never takes must not hold up the others.
		half := len(b.Records) / 2
		first, second := *b, *b
		first.Records, second.Records = b.Records[:half], b.Records[half:]
		if err := r.settle(ctx, e, &first); err != nil {
			return err
		}
		return r.settle(ctx, e, &second)
	case err != nil && !errors.Is(err, budget.ErrUnavailable) && !b.Records[0].lost():
		r.log.Error("ledger: record lost: the database refuses it for what it holds", "epoch", e.id, "org", b.Org, "seq", b.Records[0].Seq, "record", fmt.Sprintf("%+v", b.Records[0]), "error", err)
		return r.settle(ctx, e, &Batch{Epoch: b.Epoch, Org: b.Org, Records: []Record{{Seq: b.Records[0].Seq, Digest: b.Records[0].Digest}}})
	case err != nil:
		return err
	}
	r.answered(nil)
	before := e.upload.progress(b.Org, settled.Applied)
	for _, rec := range b.Records {
		if rec.Seq > before {
			e.told(&rec)
		}
	}
	for _, s := range settled.Standings {
		if a := e.accounts.find(s.Key); a != nil && a.key.Rolling == 0 {
			a.know(budget.Standing{Settled: s.Settled, Held: s.Held}, time.Now()) // what was read before it was committed is older
		}
	}
	return nil
}

// lost says that the record only takes up its number: the bank refused what it held.
func (r *Record) lost() bool {
	return r.Decision == nil && r.Closeout == nil && r.Return == nil && r.Response == nil && r.Extension == nil
}

// told takes what the bank has heard now out of what it had not.
func (e *epoch) told(rec *Record) {
	switch {
	case rec.Decision != nil && rec.Decision.Action != budget.Deny:
		for i := range rec.Decision.Holds {
			h := &rec.Decision.Holds[i]
			if a := e.accounts.find(KeyOf(&h.Account)); a != nil {
				a.unsettledHeld.Add(-int64(h.Amount))
				if rec.Decision.Debt {
					a.debt.Add(-int64(h.Amount))
				}
			}
		}
	case rec.Extension != nil:
		for i := range rec.Extension.More {
			m := &rec.Extension.More[i]
			if a := e.accounts.find(KeyOf(&m.Account)); a != nil {
				a.unsettledHeld.Add(-int64(m.Amount))
				if rec.Extension.Debt {
					a.debt.Add(-int64(m.Amount))
				}
			}
		}
	case rec.Closeout != nil && rec.Closeout.Lease == e.id:
		for i := range rec.Closeout.Charges {
			c := &rec.Closeout.Charges[i]
			if a := e.accounts.find(KeyOf(&c.Account)); a != nil {
				a.unsettledHeld.Add(int64(c.Held))
				a.unsettled.Add(-int64(c.Amount))
			}
		}
	}
}

// granted lists what the epoch holds it was granted.
func (e *epoch) granted() (all []Grant) {
	for _, a := range e.accounts.all() {
		a.mu.Lock()
		if a.granted > 0 {
			all = append(all, Grant{a.key, a.granted})
		}
		a.mu.Unlock()
	}
	return all
}
