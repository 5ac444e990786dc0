package ledger

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"keel/budget"
	"keel/budget/ledger/escrow"
	"keel/budget/ledger/record"
	"keel/pricing"
)

// settleRecords bounds the records of one transaction.
const settleRecords = 5000

// Settle implements escrow.Bank: one transaction for at most 5000 records. Records
// that the database will never take, for what they hold, are an error that does not
// wrap budget.ErrUnavailable, and nothing of the batch is kept.
func (b *Bank) Settle(ctx context.Context, batch escrow.Batch) (settled escrow.Settled, err error) {
	batch.Org = text(batch.Org)
	if err := checkBatch(&batch); err != nil {
		return settled, fmt.Errorf("ledger: settle epoch %s, org %s: %w", batch.Epoch, batch.Org, err)
	}
	for {
		part := batch
		part.Records = batch.Records[:min(len(batch.Records), settleRecords)]
		batch.Records = batch.Records[len(part.Records):]
		answer, err := b.settlePart(ctx, &part)
		if err != nil {
			return escrow.Settled{}, err
		}
		settled.Applied = answer.Applied
		settled.Standings = append(settled.Standings, answer.Standings...)
		if len(batch.Records) == 0 {
			return settled, nil
		}
	}
}

func (b *Bank) settlePart(ctx context.Context, part *escrow.Batch) (answer escrow.Settled, err error) {
	for range 2 {
		if err = b.ensureMonths(ctx, part); err != nil {
			break
		}
		err = b.transact(ctx, func(tx pgx.Tx) error {
			s := settlement{ctx: ctx, tx: tx, org: part.Org, epoch: part.Epoch, money: newBooking(), states: make(map[uuid.UUID]string),
				here: make(map[uuid.UUID]*budget.Decision, len(part.Records)/2), more: make(map[uuid.UUID][]pricing.NanoUSD), mutant: b.mutant}
			answer, err = s.settle(part.Records)
			return err
		})
		if !noPartition(err) {
			break
		}
		b.months.Clear() // one was dropped
	}
	if err != nil {
		if gap, ok := err.(*escrow.GapError); ok {
			return escrow.Settled{}, gap
		}
		return escrow.Settled{}, explainError(fmt.Sprintf("settle epoch %s, org %s", part.Epoch, part.Org), err)
	}
	return answer, nil
}

// checkBatch refuses what would be booked wrongly.
func checkBatch(b *escrow.Batch) error {
	for i := range b.Records {
		r := &b.Records[i]
		if r.Seq == 0 || i > 0 && r.Seq != b.Records[i-1].Seq+1 {
			return invalidf("record %d of the batch has number %d", i, r.Seq)
		}
		var foreign *budget.Account
		check := func(a *budget.Account) {
			if foreign == nil && text(a.Org) != b.Org {
				foreign = a
			}
		}
		switch {
		case r.Decision != nil:
			if text(r.Decision.Org) != b.Org {
				return invalidf("record %d: a decision of org %q", r.Seq, r.Decision.Org)
			}
			for j := range r.Decision.Holds {
				h := &r.Decision.Holds[j]
				if h.Amount < 0 {
					return invalidf("record %d: a negative hold in budget %s", r.Seq, h.Budget)
				}
				check(&h.Account)
			}
		case r.Closeout != nil:
			if text(r.Closeout.Org) != b.Org {
				return invalidf("record %d: a closeout of org %q", r.Seq, r.Closeout.Org)
			}
			for j := range r.Closeout.Charges {
				c := &r.Closeout.Charges[j]
				if c.Amount < 0 || c.Held < 0 {
					return invalidf("record %d: a negative charge in budget %s", r.Seq, c.Account.Budget)
				}
				check(&c.Account)
			}
		case r.Return != nil:
			if r.Return.Amount <= 0 {
				return invalidf("record %d: a return of %d", r.Seq, r.Return.Amount)
			}
			check(&r.Return.Account)
		case r.Extension != nil:
			if text(r.Extension.Org) != b.Org {
				return invalidf("record %d: an extension of org %q", r.Seq, r.Extension.Org)
			}
			for j := range r.Extension.More {
				m := &r.Extension.More[j]
				if m.Amount < 0 {
					return invalidf("record %d: a negative extension in budget %s", r.Seq, m.Account.Budget)
				}
				check(&m.Account)
			}
		}
		if foreign != nil {
			return invalidf("record %d: budget %s of org %q", r.Seq, foreign.Budget, foreign.Org)
		}
	}
	return nil
}

// settlement is one transaction of Settle.
type settlement struct {
	ctx    context.Context
	tx     pgx.Tx
	org    string
	epoch  uuid.UUID
	money  booking
	states map[uuid.UUID]string // of epochs, all of them locked
	mutant mutant

	chain record.Digest // of the epoch's records, up to those of the batch

	here     map[uuid.UUID]*budget.Decision // decisions of the batch
	opened   []uuid.UUID                    // of them, those that stay open
	closings []*closing
	slow     []*closing // those that need a look at what is stored, by seq
	entries  []entry

	extensions []extending
	more       map[uuid.UUID][]pricing.NanoUSD // what they add to the holds of a decision
	evidence   announced
	touched    touched
	passed     bool // what replaces a closeout knows of more of the call than that saw
}

// closing is a closeout on its way.
type closing struct {
	seq    uint64
	digest *record.Digest
	*record.Closeout
	owned    bool // the closeout is not that of the record any more
	response bool // it knows its decision by the response
	inserted bool
	open     bool // its decision was, until now

	hash   [sha256.Size]byte // of its leaf, where hashed
	hashed bool
}

// own makes the closeout one that may be changed: its record is settled again when its transaction is.
func (c *closing) own() {
	if !c.owned {
		own := *c.Closeout
		own.Charges = slices.Clone(own.Charges)
		c.Closeout, c.owned = &own, true
	}
}

func (s *settlement) settle(records []escrow.Record) (answer escrow.Settled, err error) {
	applied, err := s.lockEpochs(records)
	if err != nil {
		return answer, err
	}
	answer.Applied = applied
	if !s.mutant.noDedupe {
		for len(records) > 0 && records[0].Seq <= applied {
			records = records[1:]
		}
	}
	if len(records) == 0 {
		return answer, nil
	}
	if first := records[0].Seq; first > applied+1 {
		return answer, &escrow.GapError{Epoch: s.epoch, Org: s.org, Applied: applied, First: first}
	}
	if s.states[s.epoch] == "finished" {
		return answer, fmt.Errorf("record %d is new: %w", records[0].Seq, escrow.ErrFinished)
	}
	s.sort(records)
	if err := s.extend(); err != nil {
		return answer, err
	}
	if err := s.insert(records); err != nil {
		return answer, err
	}
	if err := s.look(); err != nil {
		return answer, err
	}
	if err := writeEntries(s.ctx, s.tx, s.org, s.entries, &s.evidence); err != nil {
		return answer, err
	}
	if answer.Standings, err = s.money.write(s.ctx, s.tx, s.org); err != nil {
		return answer, err
	}
	answer.Applied = records[len(records)-1].Seq
	for i := range records {
		s.chain = record.ChainNext(s.chain, records[i].Seq, records[i].Digest)
	}
	batch := &pgx.Batch{}
	s.evidence.queue(batch, s.org)
	s.touched.queue(batch, s.org)
	batch.Queue(`
update keel.epochs set applied_seq = $3, forfeited = false, state = 'live', changed_at = now(), chain = $4 where org = $1 and epoch = $2`,
		s.org, s.epoch, int64(answer.Applied), s.chain[:])
	return answer, s.tx.SendBatch(s.ctx, batch).Close()
}

// lockEpochs locks the batch's epoch, and others whose slices it charges, and
// undoes what was written off while the journal was away.
func (s *settlement) lockEpochs(records []escrow.Record) (applied uint64, err error) {
	epochs := []uuid.UUID{s.epoch}
	also := func(e uuid.UUID) {
		if !slices.Contains(epochs, e) {
			epochs = append(epochs, e)
		}
	}
	var unknown []uuid.UUID
	for i := range records {
		if c := records[i].Closeout; c != nil && c.Known {
			also(c.Lease)
		} else if c != nil {
			unknown = append(unknown, c.ID)
		}
	}
	if len(unknown) > 0 {
		rows, err := s.tx.Query(s.ctx, "select distinct epoch from keel.decisions where org = $1 and decision_id = any($2) and seq is not null", s.org, idList(unknown))
		if err == nil {
			err = eachID(rows, also)
		}
		if err != nil {
			return 0, err
		}
	}
	for range 2 {
		rows, err := s.tx.Query(s.ctx, `
select epoch, state, applied_seq, forfeited, chain from keel.epochs where org = $1 and epoch = any($2) order by epoch for no key update`, s.org, idList(epochs))
		if err != nil {
			return 0, err
		}
		var epoch uuid.UUID
		var state string
		var seq int64
		var forfeited, fix bool
		var chain []byte
		if _, err = pgx.ForEachRow(rows, []any{intoID(&epoch), &state, &seq, &forfeited, &chain}, func() error {
			if s.states[epoch] = state; epoch == s.epoch {
				applied, fix = uint64(seq), forfeited
				if s.chain = record.ChainStart(s.epoch, s.org); chain != nil {
					copy(s.chain[:], chain)
				}
			}
			return nil
		}); err != nil {
			return 0, err
		}
		if len(s.states) == len(epochs) {
			if fix {
				s.entries, err = unforfeit(s.ctx, s.tx, s.org, s.epoch, &s.money)
			}
			return applied, err
		}
		slices.SortFunc(epochs, compareIDs)
		for _, e := range epochs {
			if _, there := s.states[e]; !there {
				if err := enlist(s.ctx, s.tx, s.org, e); err != nil {
					return 0, err
				}
			}
		}
	}
	return 0, fmt.Errorf("epochs of org %s vanish", s.org)
}
