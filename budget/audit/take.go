package audit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"keel/budget/audit/leaf"
	"keel/budget/audit/log"
)

// Bounds of one transaction: records, but for one outbox row that has more, and rows of the outbox.
const (
	takeLeaves = 10_000
	takeRows   = 1000
)

// announcement is a row of keel.outbox.
type announcement struct {
	org      string
	id       int64
	kind     leaf.Kind
	ids      []uuid.UUID
	versions []int32
	hashes   []byte // of their leaves, where settlement made them; they go with the ids
}

func (a *announcement) version(i int) int32 {
	if i < len(a.versions) {
		return a.versions[i]
	}
	return 1
}

// hashed reports whether the leaves were made by whoever wrote the records.
func (a *announcement) hashed() bool {
	return len(a.ids) > 0 && len(a.hashes) == len(a.ids)*sha256.Size
}

// errWary says that somebody announced what has a leaf already, or may have one.
var errWary = errors.New("a record was announced twice, or is gone")

// take gives the records of the outbox' first rows the next places of the log, and reports whether there are more. Rows are deleted by who
// takes them, so it does not matter in which order they were committed. Leaves that are there already are looked for where wary,
// and else errWary.
func (w *writer) take(ctx context.Context, tx pgx.Tx, wary bool) (more bool, err error) {
	some, more, err := announcements(ctx, tx)
	if err != nil || len(some) == 0 {
		return false, err
	}
	if wary || slices.ContainsFunc(some, func(a announcement) bool { return !a.hashed() }) {
		if err := w.labels.follow(ctx, tx); err != nil {
			return false, err
		}
		// Thousands of ids are looked up in tables of any size, whose statistics may be those of when they were empty.
		if _, err := tx.Exec(ctx, "set local plan_cache_mode = force_custom_plan; set local enable_seqscan = off; set local jit = off"); err != nil {
			return false, err
		}
	}
	t := &taking{size: w.tree.Size()}
	if wary {
		t.there = make(map[ref]bool)
	}
	taken := make(map[string][]int64) // rows of the outbox, by org
	batch := &pgx.Batch{}
	for i := range some {
		a := &some[i]
		if wary {
			if err := t.look(ctx, tx, a); err != nil {
				return false, err
			}
		}
		gone, versions, err := w.leaves(ctx, tx, a, t)
		if err != nil {
			return false, fmt.Errorf("%s records of org %s: %w", a.kind, a.org, err)
		}
		taken[a.org] = append(taken[a.org], a.id)
		if len(gone) > 0 {
			batch.Queue("insert into keel.outbox (org, kind, ids, versions, missing_since) values ($1, $2, $3, $4, now())", a.org, a.kind, gone, versions)
		}
	}
	for org, ids := range taken {
		batch.Queue("delete from keel.outbox where org = $1 and outbox_id = any($2)", org, ids)
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return false, err
	}
	return more, w.place(ctx, tx, t.placed)
}

// announcements reads the first rows of the outbox, and reports whether there are more.
func announcements(ctx context.Context, tx pgx.Tx) (some []announcement, more bool, err error) {
	rows, err := tx.Query(ctx, `
select org, outbox_id, kind, versions, ids, hashes, looked = $1 or n < total from (
  select *, count(*) over () as looked, sum(cardinality(ids)) over () as total, sum(cardinality(ids)) over (order by outbox_id) as n
  from (select * from keel.outbox where missing_since is null order by outbox_id limit $1) o) x
where n <= $2 or n = cardinality(ids) order by outbox_id`, takeRows, takeLeaves)
	if err != nil {
		return nil, false, err
	}
	var a announcement
	var ids idList
	_, err = pgx.ForEachRow(rows, []any{&a.org, &a.id, &a.kind, &a.versions, &ids, &a.hashes, &more}, func() error {
		a.ids = ids
		some = append(some, a)
		a.versions, a.hashes, ids = nil, nil, nil
		return nil
	})
	return some, more, err
}

// taking is what one transaction takes.
type taking struct {
	placed []placed
	size   int64        // of the log before
	there  map[ref]bool // records that have a leaf; nil where that is not looked for
}

// look finds which of some records have a leaf.
func (t *taking) look(ctx context.Context, tx pgx.Tx, a *announcement) error {
	rows, err := tx.Query(ctx, "select id, version from keel.leaves where org = $1 and kind = $2 and id = any($3)", a.org, a.kind, a.ids)
	if err != nil {
		return err
	}
	r := ref{kind: a.kind, org: a.org}
	_, err = pgx.ForEachRow(rows, []any{&r.id, &r.version}, func() error {
		t.there[r] = true
		return nil
	})
	return err
}

// add gives a leaf the next place.
func (t *taking) add(r ref, hash []byte) {
	if t.there != nil {
		if t.there[r] {
			return
		}
		t.there[r] = true
	}
	t.placed = append(t.placed, placed{r, t.size + int64(len(t.placed)), hash})
}

// leaves adds the leaves of what is announced: those that are announced too, or of what is stored. It returns the records that are
// neither there nor have a leaf, with their versions.
func (w *writer) leaves(ctx context.Context, tx pgx.Tx, a *announcement, t *taking) (gone []uuid.UUID, versions []int32, err error) {
	if a.hashed() {
		for i, id := range a.ids {
			t.add(ref{a.kind, a.org, id, a.version(i)}, a.hashes[i*sha256.Size:(i+1)*sha256.Size])
		}
		return nil, nil, nil
	}
	found, err := w.read(ctx, tx, a)
	if err != nil {
		return nil, nil, err
	}
	for i, id := range a.ids {
		r := ref{a.kind, a.org, id, a.version(i)}
		switch hash := found[r]; {
		case hash != nil:
			t.add(r, hash)
		case t.there == nil:
			return nil, nil, errWary
		case !t.there[r]:
			w.o.Logger.Error("audit log: a record is gone before it could be taken in", "record", r)
			gone, versions = append(gone, id), append(versions, r.version)
		}
	}
	return gone, versions, nil
}

// placed is a leaf with its place.
type placed struct {
	ref
	index int64
	hash  []byte
}

// place writes leaves and the tiles that change.
func (w *writer) place(ctx context.Context, tx pgx.Tx, leaves []placed) error {
	if len(leaves) == 0 {
		return nil
	}
	if err := copyLeaves(ctx, tx, leaves); err != nil {
		return err
	}
	for i := range leaves {
		if err := w.tree.Append(leaves[i].hash); err != nil {
			return err
		}
	}
	batch := &pgx.Batch{}
	for id, data := range w.tree.Grown() {
		batch.Queue("insert into keel.tiles (level, n, data) values ($1, $2, $3) on conflict (level, n) do update set data = excluded.data", id.Level, id.N, data)
	}
	return tx.SendBatch(ctx, batch).Close()
}

// read finds the records that are announced, with the hashes of their leaves.
func (w *writer) read(ctx context.Context, tx pgx.Tx, a *announcement) (map[ref][]byte, error) {
	found := make(map[ref][]byte, len(a.ids))
	for range 2 {
		if err := w.hash(ctx, tx, sources[a.kind], a, found); err != nil {
			return nil, err
		}
		// Once more where values of labels had no salt yet.
		if made, err := w.labels.make(ctx, tx); err != nil || !made {
			return found, err
		}
	}
	return found, nil
}

func (w *writer) hash(ctx context.Context, tx pgx.Tx, s *source, a *announcement, found map[ref][]byte) error {
	where, args := " r where "+s.id+" = any($1)", []any{a.ids}
	if s.org == "r.org" {
		where, args = where+" and r.org = $2", append(args, a.org)
	}
	rows, err := tx.Query(ctx, "select "+s.sql()+" from "+s.table+where, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	r := row{source: s}
	for rows.Next() {
		if err := r.scan(rows); err != nil {
			return err
		}
		b, err := r.leaf(w.labels.orNote(r.org))
		if err != nil {
			return fmt.Errorf("%s: %w", r.ref, err)
		}
		h := leaf.Hash(b)
		found[r.ref] = h[:]
	}
	return rows.Err()
}

// tilesOf reads tiles by a connection.
func tilesOf(ctx context.Context, q querier) log.Tiles { return tileReader{ctx, q} }

type tileReader struct {
	ctx context.Context
	q   querier
}

func (t tileReader) Tile(id log.TileID) (data []byte, err error) {
	err = t.q.QueryRow(t.ctx, "select data from keel.tiles where level = $1 and n = $2", id.Level, id.N).Scan(&data)
	if err != nil {
		return nil, fmt.Errorf("tile %d of level %d: %w", id.N, id.Level, err)
	}
	return data, nil
}
