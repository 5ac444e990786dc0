package ledger

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"keel/budget/ledger/escrow"
	"keel/budget/ledger/record"
	"keel/pricing"
)

// An extension is in the journal of its decision, behind it and before every closeout of
// that journal. But a closeout of another journal, or one that was presumed, may be settled
// first. So whoever comes later brings the two together: the charges of a closeout are always
// for the holds and all extensions that are stored, and what they cost follows from that.

// extending is an extension on its way.
type extending struct {
	seq    uint64
	digest *record.Digest
	*record.Extension
}

// add notes an extension of the batch.
func (s *settlement) add(x extending) {
	s.extensions = append(s.extensions, x)
	more := s.more[x.ID]
	if more == nil {
		more = make([]pricing.NanoUSD, len(x.More))
		s.more[x.ID] = more
	}
	for i := range min(len(more), len(x.More)) {
		more[i] += x.More[i].Amount
	}
}

// at is 0 where there is no such amount.
func at(more []pricing.NanoUSD, hold int) pricing.NanoUSD {
	if hold < len(more) {
		return more[hold]
	}
	return 0
}

// extend keeps the extensions of a batch. Those of decisions of the same batch are
// booked with these; what is open now holds more, and what is closed may cost more.
func (s *settlement) extend() error {
	if len(s.extensions) == 0 {
		return nil
	}
	var ids []uuid.UUID // of decisions that are stored
	for _, x := range s.extensions {
		if s.here[x.ID] == nil {
			ids = append(ids, x.ID)
		}
	}
	slices.SortFunc(ids, compareIDs)
	ids = slices.Compact(ids)
	open, err := s.lockOpen(ids)
	if err != nil {
		return err
	}
	var closed []uuid.UUID
	lost := make(map[uuid.UUID]bool)
	for _, id := range ids {
		if open[id] {
			continue
		}
		_, _, there, err := s.decision(id)
		if err != nil {
			return err
		}
		if lost[id] = !there; there {
			closed = append(closed, id)
		}
	}
	entries := make([]entry, 0, len(s.extensions))
	for _, x := range s.extensions {
		if lost[x.ID] {
			entries = append(entries, entry{epoch: s.epoch, seq: x.seq, digest: x.digest, kind: "void", decision: x.ID, cause: "an extension of a decision that is not there"})
			continue
		}
		e := entry{epoch: s.epoch, seq: x.seq, digest: x.digest, kind: "extension", decision: x.ID, extension: x.Extension}
		for i := range x.More {
			m := &x.More[i]
			e.amount = max(e.amount, int64(m.Amount))
			if open[x.ID] {
				s.money.hold(escrow.KeyOf(&m.Account), s.epoch, m.Amount, m.Leased)
			}
		}
		entries = append(entries, e)
	}
	if err := writeEntries(s.ctx, s.tx, s.org, entries, &s.evidence); err != nil {
		return err
	}
	for _, id := range closed {
		if err := s.extendClosed(id); err != nil {
			return fmt.Errorf("extend decision %s, which is closed: %w", id, err)
		}
	}
	return nil
}

// lockOpen returns which decisions are open, and keeps them so: who closes one waits.
func (s *settlement) lockOpen(ids []uuid.UUID) (open map[uuid.UUID]bool, err error) {
	open = make(map[uuid.UUID]bool)
	if len(ids) == 0 {
		return open, nil
	}
	rows, err := s.tx.Query(s.ctx, `
select decision_id from keel.open_decisions where org = $1 and decision_id = any($2) and opened order by decision_id for update`, s.org, ids)
	if err != nil {
		return nil, err
	}
	return open, eachID(rows, func(id uuid.UUID) { open[id] = true })
}

// extendClosed charges a closed decision for what it holds with the extensions that are stored now.
func (s *settlement) extendClosed(id uuid.UUID) error {
	c, err := s.read(id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // it held nothing
	}
	if err != nil {
		return err
	}
	_, holds, _, err := s.decision(id)
	if err != nil || !c.known {
		return err
	}
	return s.rehold(id, c, holds)
}

// rehold brings the charges of a stored closeout, of a decision of this epoch, to what the decision
// held, and books the difference: where the cost is known there is none.
func (s *settlement) rehold(id uuid.UUID, c *storedCloseout, holds []holdColumns) error {
	before := slices.Clone(c.charges)
	closeout := record.Closeout{Closeout: c.end, Charges: c.charges}
	if !atHolds(&closeout, holds) {
		return nil
	}
	for i := range c.charges {
		charge := &c.charges[i]
		k := escrow.KeyOf(&charge.Account)
		switch difference := charge.Amount - before[i].Amount; {
		case difference == 0:
		case charge.Leased:
			s.money.lease(k, s.epoch).charged += difference
		default:
			s.money.charge(k, difference)
		}
	}
	if _, err := s.tx.Exec(s.ctx, keepCloseout, s.org, id); err != nil {
		return err
	}
	c.version++
	s.evidence.closeout(id, c.version)
	return s.writeCharges(id, c.charges, c.version)
}

// atHolds brings what a closeout charges to what is held, and reports whether that changed it.
func atHolds(c *record.Closeout, holds []holdColumns) (changed bool) {
	for i := range min(len(c.Charges), len(holds)) {
		charge, held := &c.Charges[i], pricing.NanoUSD(holds[i].Amount)
		if charge.Held != held {
			charge.Held, charge.Amount, changed = held, escrow.Charge(&c.Closeout, held), true
		}
	}
	return changed
}

// writeCharges writes those of a version of a closeout: the first is not in the log yet.
func (s *settlement) writeCharges(id uuid.UUID, charges []record.Charge, version int32) error {
	_, err := s.tx.Exec(s.ctx, "update keel.closeouts set charges = $3::text::jsonb, version = $4 where org = $1 and decision_id = $2", s.org, id, chargesText(charges), version)
	return err
}
