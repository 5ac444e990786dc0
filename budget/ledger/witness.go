package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"keel/budget/ledger/escrow"
	"keel/budget/ledger/record"
)

// A journal is a witness of the database: what it holds of a record is compared with the row that Settle made of it, column by
// column, by the same projection as that of the INSERT.

// Difference is a record that the database has otherwise than the journal, or not at all.
type Difference struct {
	Seq      uint64
	Kind     string    // decision, closeout or entry
	Decision uuid.UUID // that it is of; zero for one that is of none
	Missing  bool
	Columns  []string // that differ; of a record that is not missing
}

// CompareJournal compares records of one org of an epoch that are settled. erased says of a label's value that what stands in
// its place is left of an erasure: that is no difference. Charges are compared where the journal alone determines them: not of a call whose
// hold was extended, or that another epoch held.
func CompareJournal(ctx context.Context, tx pgx.Tx, b escrow.Batch, erased func(string) bool) (all []Difference, err error) {
	w := witness{ctx: ctx, tx: tx, epoch: b.Epoch, org: text(b.Org), erased: erased, entries: make(map[uint64]*storedEntry)}
	if err := w.readEntries(b.Records); err != nil {
		return nil, err
	}
	var decisions decisionColumns
	var closeouts closeoutColumns
	held := make(map[uint64]*escrow.Record, len(b.Records))
	var responses []uint64
	for i := range b.Records {
		r := &b.Records[i]
		held[r.Seq] = r
		switch {
		case r.Decision != nil:
			decisions.add(r.Seq, &r.Digest, r.Decision)
		case r.Closeout != nil:
			closeouts.add(r.Seq, &r.Digest, r.Closeout, false)
		case r.Response != nil:
			responses = append(responses, r.Seq)
		default:
			w.entry(r)
		}
	}
	ids, err := w.answered(responses)
	if err != nil {
		return nil, err
	}
	for _, seq := range responses {
		end := *held[seq].Response
		if end.ID = ids[seq]; end.ID == uuid.Nil {
			w.entry(held[seq])
			continue
		}
		closeouts.add(seq, &held[seq].Digest, &record.Closeout{Closeout: end}, false)
	}
	if len(decisions.ids) > 0 {
		if err := w.decisions(&decisions); err != nil {
			return nil, fmt.Errorf("decisions: %w", err)
		}
	}
	if len(closeouts.ids) > 0 {
		if err := w.closeouts(&closeouts, held); err != nil {
			return nil, fmt.Errorf("closeouts: %w", err)
		}
	}
	slices.SortFunc(w.found, func(a, b Difference) int { return int(a.Seq) - int(b.Seq) })
	return w.found, nil
}

type witness struct {
	ctx     context.Context
	tx      pgx.Tx
	epoch   uuid.UUID
	org     string
	erased  func(string) bool
	entries map[uint64]*storedEntry
	found   []Difference
}

func (w *witness) differs(d Difference) {
	if d.Missing || len(d.Columns) > 0 {
		w.found = append(w.found, d)
	}
}

// projection takes an INSERT apart: its columns, and the SELECT that makes them.
func projection(insert string) (columns []string, selects string) {
	_, rest, _ := strings.Cut(insert, "(")
	list, rest, _ := strings.Cut(rest, ")")
	for _, c := range strings.Split(list, ",") {
		columns = append(columns, strings.TrimSpace(c))
	}
	selects, _, _ = strings.Cut(rest, "\non conflict")
	return columns, strings.Replace(selects, "select $1, $2,", "select $1::text, $2::uuid,", 1) // an INSERT knows their types
}

// differing is an array of the names of columns in which x and s differ.
func differing(columns []string, but ...string) string {
	var cases []string
	for _, c := range columns {
		if !slices.Contains(but, c) {
			cases = append(cases, fmt.Sprintf("case when x.%[1]s is distinct from s.%[1]s then '%[1]s' end", c))
		}
	}
	return "array_remove(array[" + strings.Join(cases, ", ") + "], null)"
}

var (
	decisionProjection, decisionSelect = projection(insertDecisions)
	closeoutProjection, closeoutSelect = projection(insertCloseouts)

	compareDecisions = `
with x (` + strings.Join(decisionProjection, ", ") + `) as materialized (` + decisionSelect + `)
select x.seq, x.decision_id, s.decision_id is not null, ` + differing(decisionProjection, "subject", "holds", "denial") + `,
  x.subject::text, s.subject::text, x.holds::text, s.holds::text, x.denial::text, s.denial::text
from x left join keel.decisions s on s.org = $1 and s.decision_id = x.decision_id and s.seq = x.seq`

	// A closeout may have been replaced by another one since, or have got other charges, under another version.
	compareCloseouts = `
with x (` + strings.Join(closeoutProjection, ", ") + `) as materialized (` + closeoutSelect + `),
s as (select ` + strings.Join(closeoutProjection, ", ") + `, version from keel.closeouts where org = $1 and decision_id = any($3)
  union all select ` + strings.Join(closeoutProjection, ", ") + `, version from keel.superseded_closeouts where org = $1 and decision_id = any($3))
select x.seq, x.decision_id, s.decision_id is not null, ` + differing(closeoutProjection, "lease", "charges") + `, x.lease, s.lease, x.charges::text, s.charges::text,
  row_number() over (partition by x.seq order by s.version) = 1,
  exists (select from keel.entries e where e.org = $1 and e.decision_id = x.decision_id and e.kind = 'extension')
from x left join s on s.decision_id = x.decision_id and s.epoch = x.epoch and s.seq = x.seq`
)

func (w *witness) decisions(c *decisionColumns) error {
	rows, err := w.tx.Query(w.ctx, compareDecisions, c.args(w.org, w.epoch)...)
	if err != nil {
		return err
	}
	var seq int64
	var there bool
	var d Difference
	var held, stored [3]*string
	_, err = pgx.ForEachRow(rows, []any{&seq, &d.Decision, &there, &d.Columns, &held[0], &stored[0], &held[1], &stored[1], &held[2], &stored[2]}, func() error {
		d.Kind, d.Seq, d.Missing = "decision", uint64(seq), false
		if !there {
			w.instead(d)
			return nil
		}
		for i, name := range []string{"subject", "holds", "denial"} {
			same, err := w.same(held[i], stored[i])
			if err != nil {
				return fmt.Errorf("%s of decision %s: %w", name, d.Decision, err)
			}
			if !same {
				d.Columns = append(d.Columns, name)
			}
		}
		w.differs(d)
		return nil
	})
	return err
}

func (w *witness) closeouts(c *closeoutColumns, held map[uint64]*escrow.Record) error {
	rows, err := w.tx.Query(w.ctx, compareCloseouts, c.args(w.org, w.epoch)...)
	if err != nil {
		return err
	}
	var seq int64
	var there, first, extended bool
	var d Difference
	var leases [2]*uuid.UUID
	var charges [2]*string
	_, err = pgx.ForEachRow(rows, []any{&seq, &d.Decision, &there, &d.Columns, &leases[0], &leases[1], &charges[0], &charges[1], &first, &extended}, func() error {
		d.Kind, d.Seq, d.Missing = "closeout", uint64(seq), false
		if !there {
			w.instead(d)
			return nil
		}
		if leases[0] != nil && (leases[1] == nil || *leases[0] != *leases[1]) {
			d.Columns = append(d.Columns, "lease")
		}
		if r := held[d.Seq].Closeout; r != nil && r.Known && r.Lease == w.epoch && first && !extended {
			same, err := w.same(charges[0], charges[1])
			if err != nil {
				return fmt.Errorf("charges of decision %s: %w", d.Decision, err)
			}
			if !same {
				d.Columns = append(d.Columns, "charges")
			}
		}
		w.differs(d)
		return nil
	})
	return err
}

// instead is for a record that has no row of its kind: an entry may say why it has none, and has what the journal held of it.
func (w *witness) instead(d Difference) {
	e := w.entries[d.Seq]
	if e == nil || e.kind != "void" && e.kind != "repeated" {
		d.Missing, d.Columns = true, nil
		w.found = append(w.found, d)
	}
}

// answered finds the decisions of closeouts that knew theirs by the response.
func (w *witness) answered(seqs []uint64) (map[uint64]uuid.UUID, error) {
	ids := make(map[uint64]uuid.UUID)
	if len(seqs) == 0 {
		return ids, nil
	}
	numbers := make([]int64, len(seqs))
	for i, s := range seqs {
		numbers[i] = int64(s)
	}
	rows, err := w.tx.Query(w.ctx, `
select seq, decision_id from keel.closeouts where org = $1 and epoch = $2 and seq = any($3) and stored_at >= (select min(opened_at) from keel.epochs where org = $1 and epoch = $2)
union all select seq, decision_id from keel.superseded_closeouts where org = $1 and epoch = $2 and seq = any($3)`, w.org, w.epoch, numbers)
	if err != nil {
		return nil, err
	}
	var seq int64
	var id uuid.UUID
	_, err = pgx.ForEachRow(rows, []any{&seq, &id}, func() error {
		ids[uint64(seq)] = id
		return nil
	})
	return ids, err
}

// storedEntry is a row of keel.entries that has a number.
type storedEntry struct {
	kind     string
	digest   []byte
	decision *uuid.UUID
	budget   *string
	account  *string
	bounds   [2]pgtype.Timestamptz
	amount   int64
	more     []int64
	at       pgtype.Timestamptz
}

func (w *witness) readEntries(records []escrow.Record) error {
	seqs := make([]int64, len(records))
	for i := range records {
		seqs[i] = int64(records[i].Seq)
	}
	rows, err := w.tx.Query(w.ctx, `
select seq, kind, digest, decision_id, budget, account_key, window_start, window_end, amount_n, more_n, extended_at from keel.entries where org = $1 and epoch = $2 and seq = any($3)`,
		w.org, w.epoch, seqs)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var seq int64
		e := new(storedEntry)
		if err := rows.Scan(&seq, &e.kind, &e.digest, &e.decision, &e.budget, &e.account, &e.bounds[0], &e.bounds[1], &e.amount, &e.more, &e.at); err != nil {
			return err
		}
		w.entries[uint64(seq)] = e
	}
	return rows.Err()
}

// entry compares a record that is kept as an entry.
func (w *witness) entry(r *escrow.Record) {
	d := Difference{Seq: r.Seq, Kind: "entry"}
	if r.Extension != nil {
		d.Decision = r.Extension.ID
	}
	e := w.entries[r.Seq]
	if e == nil {
		d.Missing = true
		w.differs(d)
		return
	}
	note := func(name string, same bool) {
		if !same {
			d.Columns = append(d.Columns, name)
		}
	}
	note("digest", string(e.digest) == string(r.Digest[:]))
	switch {
	case e.kind == "void" || e.kind == "repeated" || r.Response != nil && e.kind == "superseded":
	case r.Return != nil:
		k := escrow.KeyOf(&r.Return.Account)
		note("kind", e.kind == "return")
		note("budget", e.budget != nil && *e.budget == k.Budget)
		note("account_key", e.account != nil && w.sameText(k.Account, *e.account))
		note("window", e.bounds[0].Valid && e.bounds[1].Valid && microsOf(e.bounds[0]) == k.Start && microsOf(e.bounds[1]) == k.End)
		note("amount_n", e.amount == int64(r.Return.Amount))
	case r.Extension != nil:
		more := make([]int64, len(r.Extension.More))
		for i := range more {
			more[i] = int64(r.Extension.More[i].Amount)
		}
		note("kind", e.kind == "extension")
		note("decision_id", e.decision != nil && *e.decision == r.Extension.ID)
		note("more_n", slices.Equal(e.more, more))
		note("extended_at", e.at.Valid && e.at.Time.UnixMicro() == r.Extension.At.UnixMicro())
	default:
		note("kind", false)
	}
	w.differs(d)
}

// same compares JSON in which values of labels may have been erased.
func (w *witness) same(held, stored *string) (bool, error) {
	if held == nil || stored == nil {
		return held == stored, nil
	}
	if *held == *stored {
		return true, nil
	}
	h, err := exact(*held)
	if err != nil {
		return false, err
	}
	s, err := exact(*stored)
	return err == nil && w.sameValue(h, s), err
}

// exact reads JSON whose numbers stay as they are written: both sides are written by Postgres.
func exact(text string) (v any, err error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	return v, d.Decode(&v)
}

func (w *witness) sameValue(h, s any) bool {
	switch h := h.(type) {
	case map[string]any:
		s, ok := s.(map[string]any)
		return ok && maps.EqualFunc(h, s, w.sameValue)
	case []any:
		s, ok := s.([]any)
		return ok && slices.EqualFunc(h, s, w.sameValue)
	case string:
		s, ok := s.(string)
		return ok && w.sameText(h, s)
	}
	return h == s
}

// sameText compares a label's value, or the key of an account, which has several.
func (w *witness) sameText(h, s string) bool {
	if h == s || w.erased(s) {
		return true
	}
	held, stored := strings.Split(h, ","), strings.Split(s, ",")
	return len(held) == len(stored) && slices.EqualFunc(held, stored, func(h, s string) bool {
		label, _, ok := strings.Cut(h, "=")
		of, value, _ := strings.Cut(s, "=")
		return h == s || ok && label == of && w.erased(value)
	})
}
