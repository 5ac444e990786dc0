package ledger

import (
	"encoding/json"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"keel/budget"
	"keel/budget/ledger/escrow"
	"keel/budget/ledger/record"
	"keel/pricing"
)

// sort takes the records apart and books what needs no look at the database.
func (s *settlement) sort(records []escrow.Record) {
	ended := make(map[uuid.UUID]bool, len(records)/2)
	for i := range records {
		r := &records[i]
		switch {
		case r.Decision != nil:
			s.here[r.Decision.ID] = r.Decision
		case r.Closeout != nil:
			c := &closing{seq: r.Seq, digest: &r.Digest, Closeout: r.Closeout}
			if d := s.here[c.ID]; !c.Known && d != nil {
				c.own()
				c.Known, c.Lease, c.Charges = true, s.epoch, chargesOf(&c.Closeout.Closeout, d, s.more[c.ID])
			}
			s.closings = append(s.closings, c)
			ended[c.ID] = true
		case r.Return != nil:
			k := escrow.KeyOf(&r.Return.Account)
			s.money.lease(k, s.epoch).returned += r.Return.Amount
			s.entries = append(s.entries, entry{epoch: s.epoch, seq: r.Seq, digest: &r.Digest, kind: "return", account: &k, amount: int64(r.Return.Amount)})
		case r.Extension != nil:
			s.add(extending{r.Seq, &r.Digest, r.Extension})
		case r.Response != nil:
			s.slow = append(s.slow, &closing{seq: r.Seq, digest: &r.Digest, Closeout: &record.Closeout{Closeout: *r.Response}, owned: true, response: true})
		default:
			s.entries = append(s.entries, entry{epoch: s.epoch, seq: r.Seq, digest: &r.Digest, kind: "void", cause: "the database refused what the record held"})
		}
	}
	for i := range records {
		if d := records[i].Decision; d != nil && isOpen(d) && !ended[d.ID] {
			s.opened = append(s.opened, d.ID)
		}
	}
	slices.SortFunc(s.opened, compareIDs)
}

// insert writes decisions and closeouts, and finds out which of them meet others.
func (s *settlement) insert(records []escrow.Record) error {
	labels := newLeafLabels()
	for i := range records {
		if d := records[i].Decision; d != nil {
			s.touched.decisions = append(s.touched.decisions, d.ID)
			labels.decision(d)
		}
	}
	// By id, so that transactions that close the same decisions do it in one order.
	slices.SortStableFunc(s.closings, func(a, b *closing) int { return compareIDs(a.ID, b.ID) })
	ids := make([]uuid.UUID, 0, len(s.closings))
	var elsewhere []uuid.UUID
	for i, c := range s.closings { // the first of a decision may be stored
		if i > 0 && c.ID == s.closings[i-1].ID {
			continue
		}
		if ids = append(ids, c.ID); s.here[c.ID] == nil {
			elsewhere = append(elsewhere, c.ID)
		}
		labels.closeout(c.Closeout)
	}
	batch := &pgx.Batch{}
	if len(s.touched.decisions)+len(ids) > 0 {
		labels.queue(batch, s.org)
	}
	early := make(map[uuid.UUID]bool)
	if len(s.opened) > 0 {
		for _, id := range s.opened {
			early[id] = true
		}
		batch.Queue(`
insert into keel.open_decisions (org, decision_id, epoch) select $1, id, $2 from unnest($3::uuid[]) id
on conflict (org, decision_id) do nothing returning decision_id`, s.org, s.epoch, idList(s.opened)).Query(func(rows pgx.Rows) error {
			return eachID(rows, func(id uuid.UUID) { delete(early, id) })
		})
	}
	closed := make(map[uuid.UUID]bool)
	if len(ids) > 0 {
		batch.Queue(selectClosed, s.org, idList(ids), ids[0], ids[len(ids)-1]).Query(func(rows pgx.Rows) error {
			return eachID(rows, func(id uuid.UUID) { closed[id] = true })
		})
	}
	if err := s.send(batch); err != nil {
		return err
	}
	leaves, err := labels.maker(s.ctx, s.tx, s.org)
	if err != nil {
		return err
	}
	defer leaves.free()
	s.evidence.hashed.decisions.room(len(s.touched.decisions))
	s.evidence.hashed.closeouts.room(len(ids))
	oddDecisions, err := s.writeDecisions(records, leaves)
	if err != nil {
		return err
	}
	oddCloseouts, err := s.writeCloseouts(closed, leaves)
	if err != nil {
		return closedMeanwhile(err)
	}
	batch = &pgx.Batch{}
	if len(oddDecisions.ids) > 0 {
		batch.Queue(insertDecisions, oddDecisions.args(s.org, s.epoch)...)
	}
	if len(oddCloseouts.ids) > 0 {
		batch.Queue(insertCloseouts, oddCloseouts.args(s.org, s.epoch)...).Query(func(rows pgx.Rows) error {
			rows.Close()
			err := rows.Err()
			if err == nil && rows.CommandTag().RowsAffected() < int64(len(oddCloseouts.ids)) {
				err = errClosedMeanwhile
			}
			return err
		})
	}
	wasOpen := make(map[uuid.UUID]uuid.UUID) // decision → epoch
	if len(elsewhere) > 0 {
		batch.Queue(deleteOpen, s.org, idList(elsewhere)).Query(func(rows pgx.Rows) error { return eachOpen(rows, wasOpen) })
	}
	if err := s.send(batch); err != nil {
		return err
	}
	for _, id := range s.opened {
		if early[id] {
			if err := s.closedEarly(id); err != nil {
				return err
			}
			continue
		}
		more := s.more[id]
		for i, h := range s.here[id].Holds {
			s.money.hold(escrow.KeyOf(&h.Account), s.epoch, h.Amount+at(more, i), record.Leased(s.here[id], &h))
		}
	}
	for _, c := range s.closings {
		_, open := wasOpen[c.ID]
		c.open = open
		if c.hashed {
			s.evidence.hashed.closeouts.add(c.ID, c.hash[:])
		} else if c.inserted {
			s.evidence.closeout(c.ID, 1)
		}
		if c.inserted {
			s.touched.closeouts = append(s.touched.closeouts, c.ID)
		}
		if s.stays(c) {
			s.close(c.Closeout, open)
		} else {
			s.slow = append(s.slow, c)
		}
	}
	return nil
}

// stays reports whether a closeout is stored as it came. What another epoch held may have extensions that did not come yet.
func (s *settlement) stays(c *closing) bool {
	return c.inserted && c.Known && (s.here[c.ID] != nil || c.Lease == s.epoch)
}

// writeDecisions writes those that are plain rows, and returns the others.
func (s *settlement) writeDecisions(records []escrow.Record, leaves *leafMaker) (odd decisionColumns, err error) {
	err = copyRows(s.ctx, s.tx.Conn(), copyDecisions, func(rows *rowBuffer) bool {
		for i := range records {
			r := &records[i]
			if r.Decision == nil {
				continue
			}
			if !rows.decision(s.org, s.epoch, r.Seq, &r.Digest, r.Decision) {
				odd.add(r.Seq, &r.Digest, r.Decision)
				s.evidence.decisions = append(s.evidence.decisions, r.Decision.ID)
			} else if hash, ok := leaves.hash(decisionLeaves, rows); ok {
				s.evidence.hashed.decisions.add(r.Decision.ID, hash[:])
			} else {
				s.evidence.decisions = append(s.evidence.decisions, r.Decision.ID)
			}
			records = records[i+1:]
			return true
		}
		return false
	})
	return odd, err
}

// writeCloseouts writes the first of each decision that has none yet, those that are plain rows, and returns the others.
func (s *settlement) writeCloseouts(closed map[uuid.UUID]bool, leaves *leafMaker) (odd closeoutColumns, err error) {
	var first []*closing
	for i, c := range s.closings {
		if i == 0 || c.ID != s.closings[i-1].ID {
			if c.inserted = !closed[c.ID]; c.inserted {
				first = append(first, c)
			}
		}
	}
	err = copyRows(s.ctx, s.tx.Conn(), copyCloseouts, func(rows *rowBuffer) bool {
		if len(first) == 0 {
			return false
		}
		if c := first[0]; !rows.closeout(s.org, s.epoch, c.seq, c.digest, c.Closeout) {
			odd.add(c.seq, c.digest, c.Closeout, false)
		} else if s.stays(c) {
			c.hash, c.hashed = leaves.hash(closeoutLeaves, rows)
		}
		first = first[1:]
		return true
	})
	return odd, err
}

// send asks what is queued, if anything is.
func (s *settlement) send(batch *pgx.Batch) error {
	if batch.Len() == 0 {
		return nil
	}
	return s.tx.SendBatch(s.ctx, batch).Close()
}

// selectClosed is which of some decisions are closed. Their bounds tell the planner which months need no look.
const selectClosed = `
select decision_id from keel.closeouts where org = $1 and decision_id = any($2) and decision_id between $3 and $4`

// errClosedMeanwhile makes the transaction begin anew, which then sees the closeout that another one wrote just now.
var errClosedMeanwhile = &pgconn.PgError{Code: codeSerialization, Message: "a decision was closed while it was closed"}

// closedMeanwhile is err, or errClosedMeanwhile where a closeout is there already.
func closedMeanwhile(err error) error {
	if UniqueViolation(err) {
		return errClosedMeanwhile
	}
	return err
}

// deleteOpen ends decisions that are open. Of those that were closed before they came it leaves the note.
const deleteOpen = `
delete from keel.open_decisions where org = $1 and decision_id = any($2) and opened returning decision_id, epoch`

func eachOpen(rows pgx.Rows, into map[uuid.UUID]uuid.UUID) error {
	var id, epoch uuid.UUID
	_, err := pgx.ForEachRow(rows, []any{intoID(&id), intoID(&epoch)}, func() error {
		into[id] = epoch
		return nil
	})
	return err
}

// close books a first closeout. Where its decision was open, its holds end.
func (s *settlement) close(c *record.Closeout, open bool) {
	for i := range c.Charges {
		charge := &c.Charges[i]
		k := escrow.KeyOf(&charge.Account)
		if open {
			s.money.hold(k, c.Lease, -charge.Held, charge.Leased)
		}
		if charge.Leased && s.states[c.Lease] != "finished" {
			s.money.lease(k, c.Lease).charged += charge.Amount
		} else {
			s.money.charge(k, charge.Amount)
		}
	}
}

// chargesFor is what a closeout settles where a decision held what a row says.
func chargesFor(org string, end *budget.Closeout, holds []holdColumns) ([]record.Charge, error) {
	charges := make([]record.Charge, 0, len(holds))
	for i := range holds {
		h := &holds[i]
		c := chargeColumns{Budget: h.Budget, Key: h.Key, Start: h.Start, End: h.End}
		account, err := c.account(org)
		if err != nil {
			return nil, err
		}
		held := pricing.NanoUSD(h.Amount)
		charges = append(charges, record.Charge{Account: account, Held: held, Amount: escrow.Charge(end, held), Leased: h.Leased})
	}
	return charges, nil
}

// chargesOf is chargesFor a decision at hand, with what extensions added to its holds.
func chargesOf(end *budget.Closeout, d *budget.Decision, more []pricing.NanoUSD) []record.Charge {
	charges := make([]record.Charge, 0, len(d.Holds))
	if d.Action == budget.Deny {
		return charges
	}
	for i := range d.Holds {
		h := &d.Holds[i]
		held := h.Amount + at(more, i)
		charges = append(charges, record.Charge{Account: h.Account, Held: held, Amount: escrow.Charge(end, held), Leased: record.Leased(d, h)})
	}
	return charges
}

// readHolds reads what a decision holds, with its extensions.
func readHolds(raw []byte, more []int64) (holds []holdColumns, err error) {
	if err := json.Unmarshal(raw, &holds); err != nil {
		return nil, err
	}
	for i := range min(len(holds), len(more)) {
		holds[i].Amount += more[i]
	}
	return holds, nil
}
