package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"keel/budget/audit/leaf"
)

// Proven is a record in its canonical form, with its place in the log.
type Proven struct {
	Kind    leaf.Kind   `json:"kind"`
	Org     string      `json:"org"`
	ID      uuid.UUID   `json:"id"`
	Version int32       `json:"version"`
	Fields  [][2]string `json:"fields"` // names and values, in the order of the leaf
	Leaf    []byte      `json:"leaf"`   // the canonical form
	Index   int64       `json:"index"`
	Proof   [][]byte    `json:"proof"` // of inclusion in the tree of the checkpoint: RFC 6962

	hash [32]byte
}

// readRecords reads the records with one id, and those that belong to it: of a decision its closeouts, those that
// were replaced too, the entries that refer to it, and the versions of the documents that its rules name.
func readRecords(ctx context.Context, q querier, labels commitments, org string, id uuid.UUID) (all []Proven, err error) {
	add := func(s *source, where string, args ...any) error {
		found, err := recordsWhere(ctx, q, labels, s, where, args...)
		all = append(all, found...)
		return err
	}
	err = errors.Join(
		add(&decisions, "r.org = $1 and r.decision_id = $2", org, id),
		add(&closeouts, "r.org = $1 and r.decision_id = $2 order by r.version", org, id),
		add(&entries, "r.org = $1 and (r.entry_id = $2 or r.decision_id = $2) order by r.at, r.entry_id", org, id),
		add(&configs, `r.org = $1 and (r.change_id = $2 or (r.kind, r.name, r.version) in (
  select x.kind, x.name, x.version from keel.decisions d cross join lateral jsonb_to_recordset(d.rules) as x(kind text, name text, version bigint)
  where d.org = $1 and d.decision_id = $2)) order by r.revision`, org, id),
	)
	if err == nil && org == "" {
		err = add(&auditKeys, "r.key_id = $1", id)
	}
	return all, err
}

func recordsWhere(ctx context.Context, q querier, labels commitments, s *source, where string, args ...any) (all []Proven, err error) {
	rows, err := q.Query(ctx, "select "+s.sql()+" from "+s.table+" r where "+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	r := row{source: s}
	for rows.Next() {
		if err := r.scan(rows); err != nil {
			return nil, err
		}
		b, err := r.leaf(labels.of(r.org))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.ref, err)
		}
		_, fields, err := leaf.Parse(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.ref, err)
		}
		p := Proven{Kind: r.kind, Org: r.org, ID: r.id, Version: r.version, Leaf: slices.Clone(b), hash: leaf.Hash(b)}
		for _, f := range fields {
			p.Fields = append(p.Fields, [2]string{f.Name, f.Value})
		}
		all = append(all, p)
	}
	return all, rows.Err()
}

// orgOf finds whose record an id is.
func orgOf(ctx context.Context, q querier, id uuid.UUID) (org string, err error) {
	err = q.QueryRow(ctx, `
select org from (select org from keel.decisions where decision_id = $1 union all select org from keel.closeouts where decision_id = $1
  union all select org from keel.entries where entry_id = $1 union all select org from keel.config_versions where change_id = $1
  union all select '' from keel.audit_keys where key_id = $1) x limit 1`, id).Scan(&org)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", fmt.Errorf("no record has the id %s", id)
	}
	return org, err
}

// field is a value by its name.
func (p *Proven) field(name string) (string, bool) {
	for _, f := range p.Fields {
		if f[0] == name {
			return f[1], true
		}
	}
	return "", false
}

// idField is the name of the field that a record is found by.
func (p *Proven) idField() string {
	switch p.Kind {
	case leaf.Entry:
		return "entry_id"
	case leaf.Config:
		return "change_id"
	case leaf.Key:
		return "key_id"
	}
	return "decision_id"
}

// check holds what a bundle says of a record against its leaf.
func (p *Proven) check() error {
	kind, fields, err := leaf.Parse(p.Leaf)
	if err != nil {
		return err
	}
	same := kind == p.Kind && len(fields) == len(p.Fields)
	for i := 0; same && i < len(fields); i++ {
		same = p.Fields[i] == [2]string{fields[i].Name, fields[i].Value}
	}
	if !same {
		return errors.New("its fields are not those of its leaf")
	}
	if id, _ := p.field(p.idField()); id != p.ID.String() {
		return fmt.Errorf("its leaf is of %q", id)
	}
	if org, ok := p.field("org"); ok && org != p.Org {
		return fmt.Errorf("its leaf is of org %q", org)
	}
	if p.Kind == leaf.Closeout {
		if version, _ := p.field("version"); version != strconv.Itoa(int(p.Version)) {
			return fmt.Errorf("its leaf is of version %s", version)
		}
	}
	p.hash = leaf.Hash(p.Leaf)
	return nil
}

func (p *Proven) ref() ref { return ref{p.Kind, p.Org, p.ID, p.Version} }
