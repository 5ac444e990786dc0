package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"keel/budget"
	"keel/budget/ledger/escrow"
	"keel/budget/ledger/record"
	"keel/pricing"
)

// What is here is rare, and goes to the database one by one: closeouts of
// decisions that are closed already, that nobody knows (yet), or that another
// epoch held. Decisions and closeouts that meet in two transactions at once find each
// other by a unique key: whoever opens a decision writes to keel.open_decisions, and
// whoever closes one that is not there leaves a note in the same place.

// look settles the closeouts that need a look at what is stored.
func (s *settlement) look() error {
	slices.SortFunc(s.slow, func(a, b *closing) int { return cmp.Compare(a.seq, b.seq) })
	for _, c := range s.slow {
		var err error
		switch {
		case c.response:
			err = s.respond(c)
		case c.inserted:
			err = s.meet(c)
		default:
			err = s.replace(c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// stored is a closeout as it is in the database, with its row locked.
type storedCloseout struct {
	presumed bool
	epoch    *uuid.UUID
	seq      *int64
	lease    *uuid.UUID
	charges  []record.Charge
	known    bool // charges are
	version  int32
	digest   []byte
	end      budget.Closeout
}

func (s *settlement) read(id uuid.UUID) (*storedCloseout, error) {
	var c storedCloseout
	var raw *string
	if err := s.tx.QueryRow(s.ctx, `
select presumed, epoch, seq, lease, charges::text, version, digest, outcome, cost_n, cost_known from keel.closeouts where org = $1 and decision_id = $2 for update`, s.org, id).
		Scan(&c.presumed, &c.epoch, &c.seq, &c.lease, &raw, &c.version, &c.digest, &c.end.Outcome, &c.end.Cost.Total, &c.end.CostKnown); err != nil {
		return nil, err
	}
	if raw == nil {
		return &c, nil
	}
	charges, err := readCharges(s.org, id, *raw)
	if err != nil {
		return nil, err
	}
	c.known, c.charges = true, charges
	return &c, nil
}

// closedEarly is for a decision of this batch whose closeout came first: what that costs is booked now, unless it said itself.
func (s *settlement) closedEarly(id uuid.UUID) error {
	c, err := s.read(id)
	if err != nil {
		return fmt.Errorf("decision %s was closed before it came: %w", id, err)
	}
	if err := s.settleEarly(id, c); err != nil {
		return err
	}
	_, err = s.tx.Exec(s.ctx, "delete from keel.open_decisions where org = $1 and decision_id = $2", s.org, id)
	return err
}

// settleEarly brings a closeout that came before its decision, which this batch has, to what that holds.
func (s *settlement) settleEarly(id uuid.UUID, c *storedCloseout) error {
	holds := holdsOf(s.here[id])
	for i, more := range s.more[id] {
		holds[i].Amount += int64(more)
	}
	if c.known {
		return s.rehold(id, c, holds)
	}
	return s.complete(id, c, s.epoch, holds)
}

// keepCloseout keeps a closeout that is about to change: what was in the log stays provable.
const keepCloseout = `
insert into keel.superseded_closeouts select now(), c.* from keel.closeouts c where c.org = $1 and c.decision_id = $2`

// complete books a closeout that was stored without anybody knowing its decision.
func (s *settlement) complete(id uuid.UUID, c *storedCloseout, lease uuid.UUID, holds []holdColumns) (err error) {
	if c.charges, err = chargesFor(s.org, &c.end, holds); err != nil {
		return fmt.Errorf("holds of decision %s: %w", id, err)
	}
	c.lease, c.known = &lease, true
	if _, err := s.tx.Exec(s.ctx, keepCloseout, s.org, id); err != nil {
		return err
	}
	c.version++
	s.evidence.closeout(id, c.version)
	if _, err := s.tx.Exec(s.ctx, "update keel.closeouts set lease = $3, charges = $4::text::jsonb, version = $5 where org = $1 and decision_id = $2",
		s.org, id, lease, chargesText(c.charges), c.version); err != nil {
		return err
	}
	s.close(&record.Closeout{Lease: lease, Charges: c.charges}, false)
	return nil
}

// meet is for the first closeout of a decision that is not of this batch: one
// that the replica did not know, or that another epoch held.
func (s *settlement) meet(c *closing) error {
	c.own()
	epoch, holds, there, err := s.decision(c.ID)
	if err != nil {
		return err
	}
	switch {
	case c.open:
	case there: // it came since this batch looked for what is open
		tag, err := s.tx.Exec(s.ctx, "delete from keel.open_decisions where org = $1 and decision_id = $2 and opened", s.org, c.ID)
		if err != nil {
			return err
		}
		c.open = tag.RowsAffected() > 0
	default:
		tag, err := s.tx.Exec(s.ctx, `
insert into keel.open_decisions (org, decision_id, epoch, opened) values ($1, $2, $3, false) on conflict (org, decision_id) do nothing`, s.org, c.ID, s.epoch)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return errCameJustNow
		}
	}
	if !c.Known {
		if !there {
			return nil // booked when the decision comes
		}
		if c.Charges, err = chargesFor(s.org, &c.Closeout.Closeout, holds); err != nil {
			return fmt.Errorf("holds of decision %s: %w", c.ID, err)
		}
		c.Known, c.Lease = true, epoch
		if _, locked := s.states[epoch]; !locked && anyLeased(c.Charges) {
			return errCameJustNow
		}
		if _, err := s.tx.Exec(s.ctx, "update keel.closeouts set lease = $3, charges = $4::text::jsonb where org = $1 and decision_id = $2",
			s.org, c.ID, c.Lease, chargesText(c.Charges)); err != nil {
			return err
		}
	} else if there && atHolds(c.Closeout, holds) {
		if err := s.writeCharges(c.ID, c.Charges, 1); err != nil {
			return err
		}
	}
	s.close(c.Closeout, c.open)
	return nil
}

func (s *settlement) decision(id uuid.UUID) (epoch uuid.UUID, holds []holdColumns, there bool, err error) {
	var raw []byte
	var more []int64
	err = s.tx.QueryRow(s.ctx, `
select d.epoch, d.holds::text, (select e.more_n from keel.extended e where e.org = d.org and e.decision_id = d.decision_id)
from keel.decisions d where d.org = $1 and d.decision_id = $2`, s.org, id).Scan(&epoch, &raw, &more)
	if errors.Is(err, pgx.ErrNoRows) {
		return epoch, nil, false, nil
	}
	if err == nil {
		holds, err = readHolds(raw, more)
	}
	return epoch, holds, true, err
}

func anyLeased(charges []record.Charge) bool {
	return slices.ContainsFunc(charges, func(c record.Charge) bool { return c.Leased })
}

// errCameJustNow makes the transaction begin again: then it locks the decision's
// epoch before anything else, as it must.
var errCameJustNow = &pgconn.PgError{Code: codeSerialization, Message: "a decision came while it was closed"}

// replace is for a closeout of a decision that has one: it takes its place if that
// one was presumed, or the access log told of more than it saw, and the difference is booked; else it changes nothing.
//
// The difference goes through the slice where its owner's memory has counted it,
// which is so for closeouts of the epoch that held it.
func (s *settlement) replace(c *closing) error {
	c.own()
	old, err := s.read(c.ID)
	if err != nil {
		return err
	}
	if s.here[c.ID] != nil { // the other closeout was before its decision, and this batch has both
		if err := s.settleEarly(c.ID, old); err != nil {
			return err
		}
		if _, err := s.tx.Exec(s.ctx, "delete from keel.open_decisions where org = $1 and decision_id = $2", s.org, c.ID); err != nil {
			return err
		}
	}
	if !old.presumed && !s.passed || c.Outcome == budget.Orphaned {
		s.entries = append(s.entries, entry{epoch: s.epoch, seq: c.seq, digest: c.digest, kind: "repeated", decision: c.ID, cause: "the decision was closed before"})
		return nil
	}
	counted := c.Known && c.Lease == s.epoch
	if !c.Known && old.known {
		c.Known, c.Lease, c.Charges = true, *old.lease, slices.Clone(old.charges)
		for i := range c.Charges {
			c.Charges[i].Amount = escrow.Charge(&c.Closeout.Closeout, c.Charges[i].Held)
		}
	} else if c.Known && c.Lease != s.epoch {
		_, holds, there, err := s.decision(c.ID)
		if err != nil {
			return err
		}
		if there {
			atHolds(c.Closeout, holds)
		}
	}
	before := make(map[escrow.Key]pricing.NanoUSD)
	for i := range old.charges {
		before[escrow.KeyOf(&old.charges[i].Account)] += old.charges[i].Amount
	}
	for i := range c.Charges {
		charge := &c.Charges[i]
		k := escrow.KeyOf(&charge.Account)
		difference := charge.Amount - before[stored(k)]
		delete(before, stored(k))
		if charge.Leased && counted {
			s.money.lease(k, s.epoch).charged += difference
		} else {
			s.money.charge(k, difference)
		}
	}
	for k, amount := range before {
		s.money.charge(k, -amount)
	}
	correction := old.correction(s.epoch, c)
	if s.passed {
		correction.cause = "the access log told that the call went on without the processor"
	}
	s.entries = append(s.entries, correction)
	var gone bool
	if err := s.tx.QueryRow(s.ctx, "select keel.supersede_closeout($1, $2)", s.org, c.ID).Scan(&gone); err != nil {
		return err
	}
	if !gone { // it is locked since it was read
		return fmt.Errorf("the closeout of decision %s could not be replaced", c.ID)
	}
	var columns closeoutColumns
	columns.add(c.seq, c.digest, c.Closeout, false)
	if _, err = s.tx.Exec(s.ctx, insertCloseouts, columns.args(s.org, s.epoch)...); err != nil {
		return err
	}
	s.evidence.closeout(c.ID, old.version+1)
	s.touched.replaced = append(s.touched.replaced, c.ID)
	if _, err = s.tx.Exec(s.ctx, "update keel.closeouts set version = $3 where org = $1 and decision_id = $2", s.org, c.ID, old.version+1); err != nil {
		return err
	}
	return s.recorrect(&c.Closeout.Closeout)
}

// correction is the entry that says that c replaced a closeout. Where that one has a number of a
// journal, the entry takes it up.
func (old *storedCloseout) correction(epoch uuid.UUID, c *closing) entry {
	e := entry{epoch: epoch, kind: "superseded", decision: c.ID, cause: "a later closeout replaced a presumed one",
		amount: int64(c.Cost.Total - old.end.Cost.Total),
		facts: map[string]string{"outcome": string(old.end.Outcome), "version": strconv.Itoa(int(old.version)), "cost_usd": old.end.Cost.Total.String(),
			"by_outcome": string(c.Outcome), "by_version": strconv.Itoa(int(old.version) + 1), "by_cost_usd": c.Cost.Total.String()}}
	if old.seq != nil {
		e.epoch, e.seq = *old.epoch, uint64(*old.seq)
		if len(old.digest) == len(record.Digest{}) {
			e.digest = (*record.Digest)(old.digest)
		}
	}
	return e
}

// respond is for a closeout that knows its decision by the response alone.
func (s *settlement) respond(c *closing) error {
	err := s.tx.QueryRow(s.ctx, `
select decision_id from keel.closeouts where org = $1 and response_id = $2 and response_id <> '' and presumed order by decision_id limit 1`,
		s.org, text(c.ResponseID)).Scan(&c.ID)
	if errors.Is(err, pgx.ErrNoRows) {
		s.entries = append(s.entries, entry{epoch: s.epoch, seq: c.seq, digest: c.digest, kind: "void", cause: "no decision awaits response " + c.ResponseID})
		return nil
	}
	if err != nil {
		return err
	}
	return s.replace(c)
}
