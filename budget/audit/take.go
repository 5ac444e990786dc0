package audit

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"keel/budget/audit/leaf"
	"keel/budget/audit/log"
)

// takeLeaves bounds the records of one transaction, but for one outbox row that has more.
const (
	takeLeaves = 10_000
	takeRows   = 100 // of the outbox
)

// announcement is a row of keel.outbox.
type announcement struct {
	Org      string
	ID       int64
	Kind     leaf.Kind
	IDs      []uuid.UUID
	Versions []int32
}

func (a *announcement) version(i int) int32 {
	if i < len(a.Versions) {
		return a.Versions[i]
	}
	return 1
}

// take gives the records of the outbox' first rows the next places of the log. Rows are deleted by who takes
// them, so it does not matter in which order they were committed.
func (w *writer) take(ctx context.Context, tx pgx.Tx) (more bool, err error) {
	if err := w.labels.follow(ctx, tx); err != nil {
		return false, err
	}
	// Thousands of ids are looked up in tables of any size, whose statistics may be those of when they were empty.
	if _, err := tx.Exec(ctx, "set local plan_cache_mode = force_custom_plan; set local enable_seqscan = off; set local jit = off"); err != nil {
		return false, err
	}
	rows, err := tx.Query(ctx, `
select org, outbox_id, kind, ids, versions from (
  select *, sum(cardinality(ids)) over (order by outbox_id) as n from (select * from keel.outbox where missing_since is null order by outbox_id limit $1) o) x
where n <= $2 or n = cardinality(ids) order by outbox_id`, takeRows, takeLeaves)
	if err != nil {
		return false, err
	}
	some, err := pgx.CollectRows(rows, pgx.RowToStructByPos[announcement])
	if err != nil || len(some) == 0 {
		return false, err
	}
	var leaves []placed
	batch := &pgx.Batch{}
	for i := range some {
		a := &some[i]
		found, err := w.read(ctx, tx, a)
		if err != nil {
			return false, fmt.Errorf("%s records of org %s: %w", a.Kind, a.Org, err)
		}
		var gone []uuid.UUID
		var versions []int32
		for i, id := range a.IDs {
			r := ref{a.Kind, a.Org, id, a.version(i)}
			switch hash, ok := found[r]; {
			case !ok:
				w.o.Logger.Error("audit log: a record is gone before it could be taken in", "record", r)
				gone, versions = append(gone, id), append(versions, r.version)
			case hash != nil:
				leaves = append(leaves, placed{r, w.tree.Size() + int64(len(leaves)), hash})
				found[r] = nil // announced twice
			}
		}
		batch.Queue("delete from keel.outbox where org = $1 and outbox_id = $2", a.Org, a.ID)
		if len(gone) > 0 {
			batch.Queue("insert into keel.outbox (org, kind, ids, versions, missing_since) values ($1, $2, $3, $4, now())", a.Org, a.Kind, gone, versions)
		}
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return false, err
	}
	return true, w.place(ctx, tx, leaves)
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
	if _, err := tx.CopyFrom(ctx, pgx.Identifier{"keel", "leaves"}, []string{"org", "kind", "id", "version", "index", "hash"},
		pgx.CopyFromSlice(len(leaves), func(i int) ([]any, error) {
			l := &leaves[i]
			return []any{l.org, string(l.kind), l.id, l.version, l.index, l.hash}, nil
		})); err != nil {
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

// read finds the records that are announced, with the hashes of their leaves; nil for those that have one already.
func (w *writer) read(ctx context.Context, tx pgx.Tx, a *announcement) (map[ref][]byte, error) {
	found := make(map[ref][]byte, len(a.IDs))
	for range 2 {
		if err := w.hash(ctx, tx, sources[a.Kind], a, found); err != nil {
			return nil, err
		}
		// Once more where values of labels had no salt yet.
		if made, err := w.labels.make(ctx, tx); err != nil || !made {
			break
		}
	}
	rows, err := tx.Query(ctx, "select id, version from keel.leaves where org = $1 and kind = $2 and id = any($3)", a.Org, a.Kind, a.IDs)
	if err != nil {
		return nil, err
	}
	r := ref{kind: a.Kind, org: a.Org}
	_, err = pgx.ForEachRow(rows, []any{&r.id, &r.version}, func() error {
		found[r] = nil
		return nil
	})
	return found, err
}

func (w *writer) hash(ctx context.Context, tx pgx.Tx, s *source, a *announcement, found map[ref][]byte) error {
	where, args := " r where "+s.id+" = any($1)", []any{a.IDs}
	if s.org == "r.org" {
		where, args = where+" and r.org = $2", append(args, a.Org)
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
