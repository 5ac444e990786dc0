package audit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"keel/budget/audit/leaf"
)

// match holds the records of a source against their leaves: both are read in the order of
// their keys, side by side, so it takes no memory however many there are.
func (v *verification) match(ctx context.Context, tx pgx.Tx, s *source) error {
	if err := v.matchRecords(ctx, tx, s); err != nil {
		return fmt.Errorf("%s: %w", s.table, err)
	}
	return nil
}

func (v *verification) matchRecords(ctx context.Context, tx pgx.Tx, s *source) error {
	// Indexes have both in this order, and sorting a million rows is what must not happen.
	if _, err := tx.Exec(ctx, "set local enable_sort = off; set local jit = off"); err != nil {
		return err
	}
	return v.inSnapshot(ctx, func(leafTx pgx.Tx) error {
		leaves, err := v.leavesOf(ctx, leafTx, s)
		if err != nil {
			return err
		}
		defer leaves.rows.Close()
		rows, err := tx.Query(ctx, v.recordsOf(s), v.recordArgs(s)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		r := row{source: s}
		for rows.Next() {
			if err := r.scan(rows); err != nil {
				return err
			}
			if err := v.record(&r, leaves); err != nil {
				return fmt.Errorf("%s: %w", r.ref, err)
			}
		}
		if err := rows.Err(); err != nil {
			return err
		}
		for leaves.ok { // beyond the last record
			v.left(leaves.at)
			leaves.next()
		}
		return leaves.err()
	})
}

// recordsOf selects the records in the order of their leaves.
func (v *verification) recordsOf(s *source) string {
	sql := "select " + s.sql() + " from " + s.table + " r where true"
	n := 0
	if v.o.Org != "" && s.org == "r.org" {
		n++
		sql += fmt.Sprintf(" and r.org = $%d", n)
	}
	if v.bounded(s) {
		n++
		sql += fmt.Sprintf(" and %s >= keel.uuid_at($%d)", s.id, n)
	}
	order := []string{s.id}
	if s.org == "r.org" && v.o.Org == "" {
		order = []string{"r.org", s.id}
	}
	if s.kind == leaf.Closeout {
		order = append(order, "r.version")
	}
	return sql + " order by " + strings.Join(order, ", ")
}

func (v *verification) recordArgs(s *source) (args []any) {
	if v.o.Org != "" && s.org == "r.org" {
		args = append(args, v.o.Org)
	}
	if v.bounded(s) {
		args = append(args, v.o.Since)
	}
	return args
}

// bounded reports whether Since leaves records of a source out: the ids of others have no time.
func (v *verification) bounded(s *source) bool {
	return !v.o.Since.IsZero() && (s.kind == leaf.Decision || s.kind == leaf.Closeout)
}

// leafStream is leaves in the order of (org, id, version).
type leafStream struct {
	rows pgx.Rows
	at   stored
	ok   bool
	bad  error
}

// stored is a row of keel.leaves.
type stored struct {
	ref
	index int64
	hash  []byte
}

// leavesOf selects the leaves of a source.
func (v *verification) leavesOf(ctx context.Context, tx pgx.Tx, s *source) (*leafStream, error) {
	if _, err := tx.Exec(ctx, "set local enable_sort = off; set local jit = off"); err != nil {
		return nil, err
	}
	sql := "select l.org, l.id, l.version, l.index, l.hash from keel.leaves l where l.kind = $1 and ($2 = '' or l.org = $2 or l.kind = 'key')"
	args := []any{string(s.kind), v.o.Org}
	if v.bounded(s) {
		sql += " and l.id >= keel.uuid_at($3)"
		args = append(args, v.o.Since)
	}
	rows, err := tx.Query(ctx, sql+" order by l.org, l.id, l.version", args...)
	if err != nil {
		return nil, err
	}
	l := &leafStream{rows: rows}
	l.at.kind = s.kind
	l.next()
	return l, nil
}

func (l *leafStream) next() {
	if l.ok = l.rows.Next(); !l.ok {
		return
	}
	raw := l.rows.RawValues()
	if l.ok = len(raw[1]) == 16 && len(raw[2]) == 4 && len(raw[3]) == 8; !l.ok {
		l.bad = errors.New("keel.leaves came in another format than was asked for")
		return
	}
	if string(raw[0]) != l.at.org {
		l.at.org = string(raw[0])
	}
	l.at.id = uuid.UUID(raw[1])
	l.at.version = int32(binary.BigEndian.Uint32(raw[2]))
	l.at.index = int64(binary.BigEndian.Uint64(raw[3]))
	l.at.hash = append(l.at.hash[:0], raw[4]...)
}

func (l *leafStream) err() error { return errors.Join(l.bad, l.rows.Err()) }

// before orders as the streams are.
func (r ref) compare(o ref) int {
	return cmp.Or(strings.Compare(r.org, o.org), bytes.Compare(r.id[:], o.id[:]), cmp.Compare(r.version, o.version))
}

// record finds the leaf of a record, and compares.
func (v *verification) record(r *row, leaves *leafStream) error {
	for leaves.ok && leaves.at.compare(r.ref) < 0 {
		v.left(leaves.at)
		leaves.next()
	}
	if err := v.see(r); err != nil {
		return err
	}
	if !leaves.ok || leaves.at.compare(r.ref) != 0 {
		if err := leaves.err(); err != nil {
			return err
		}
		if !v.isPending(r.ref) {
			v.findings.add(Inserted, Finding{What: r.describe(), Org: r.org, ID: r.id.String(), Why: "it has no leaf, and was never announced to the log"})
		}
		return nil
	}
	at := &leaves.at
	index := at.index // findings keep it
	b, err := r.leaf(v.labels.of(r.org))
	if unknown := (*leaf.Unknown)(nil); errors.As(err, &unknown) {
		v.findings.add(Changed, Finding{What: r.describe(), Org: r.org, ID: r.id.String(), Leaf: &index,
			Why: fmt.Sprintf("label %s has the value %q, which no record that came into the log had", unknown.Label, unknown.Value)})
		leaves.next()
		return nil
	}
	if err != nil {
		return err
	}
	if h := leaf.Hash(b); !bytes.Equal(h[:], at.hash) {
		v.findings.add(Changed, Finding{What: r.describe(), Org: r.org, ID: r.id.String(), Leaf: &index,
			Why: fmt.Sprintf("what is stored has the hash %x, and its leaf, number %d, has %x", h[:6], at.index, at.hash[:min(6, len(at.hash))])})
	} else {
		v.records.Add(1)
	}
	leaves.next()
	return nil
}

// left is for a leaf whose record is not there.
func (v *verification) left(l stored) {
	if v.isRetired(l.ref) {
		v.retiredLeaves.Add(1)
		return
	}
	v.findings.add(Removed, Finding{What: l.ref.String(), Org: l.org, ID: l.id.String(), Leaf: &l.index,
		Why: fmt.Sprintf("leaf %d is of it, and it is not there", l.index)})
}

// see takes what journals and sums need of a record.
func (v *verification) see(r *row) error {
	if !r.superseded() {
		if err := v.accounts.see(r); err != nil {
			return err
		}
	}
	if r.superseded() || r.kind == leaf.Config || r.kind == leaf.Key {
		return nil
	}
	return v.journals.see(r, v)
}

// describe names a record as people know it.
func (r *row) describe() string {
	s := r.ref.String()
	text := func(name string) string {
		b, err := r.column(name)
		if err != nil {
			return ""
		}
		return string(b)
	}
	switch r.kind {
	case leaf.Config:
		s = fmt.Sprintf("%s %s version %s of org %s (%s)", text("kind"), text("name"), text("version"), r.org, s)
	case leaf.Entry:
		s = fmt.Sprintf("%s (%s)", s, text("kind"))
	}
	return s
}

// instantOf is when a UUIDv7 was made; of other UUIDs it is any time.
func instantOf(id uuid.UUID) time.Time {
	ms := int64(id[0])<<40 | int64(id[1])<<32 | int64(id[2])<<24 | int64(id[3])<<16 | int64(id[4])<<8 | int64(id[5])
	return time.UnixMilli(ms).UTC()
}
