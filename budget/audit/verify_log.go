package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"

	"keel/budget/audit/leaf"
	"keel/budget/audit/log"
)

// promised is a checkpoint that the log must still keep.
type promised struct {
	log.Signed
	where  string // "database", or the anchor
	failed error  // it could not be opened
}

// log makes the tree again from the leaves, and holds it against the tiles, the checkpoints and the anchors.
func (v *verification) log(ctx context.Context, tx pgx.Tx) error {
	promises, keys, err := v.promises(ctx, tx)
	if err != nil {
		return err
	}
	sizes := make(map[int64]tlog.Hash) // of which the root is needed
	for _, p := range promises {
		sizes[p.Size] = tlog.Hash{}
	}
	t := &treeCheck{wanted: sizes, upper: make(map[log.TileID][]byte)}
	if err := v.inSnapshot(ctx, func(tiles pgx.Tx) error { return v.readTree(ctx, tx, tiles, t) }); err != nil {
		return err
	}
	v.report.Leaves = t.size
	if err := v.places(ctx, tx, t); err != nil {
		return err
	}
	return v.hold(ctx, tx, t, promises, keys)
}

// promises reads checkpoints, by size, and the keys that may have signed them.
func (v *verification) promises(ctx context.Context, tx pgx.Tx) (all []promised, rules *keyRules, err error) {
	if rules, err = v.keyRules(ctx, tx); err != nil {
		return nil, nil, err
	}
	open := func(note, where string) {
		signed, err := log.Open(note, rules.keys)
		all = append(all, promised{signed, where, err})
	}
	rows, err := tx.Query(ctx, "select size, note, false from keel.checkpoints union all select size, note, true from keel.lost_checkpoints order by 1")
	if err != nil {
		return nil, nil, err
	}
	var size int64
	var note string
	var aside bool
	if _, err := pgx.ForEachRow(rows, []any{&size, &note, &aside}, func() error {
		where := "the database"
		if aside {
			where = "the database, put aside"
		}
		open(note, where)
		v.report.Checkpoints++
		if p := &all[len(all)-1]; p.Size != size && !errors.Is(p.failed, log.ErrCheckpoint) {
			v.findings.add(Checkpoints, Finding{What: fmt.Sprintf("checkpoint of size %d", size), Why: fmt.Sprintf("its note is of size %d", p.Size)})
		}
		return nil
	}); err != nil {
		return nil, nil, err
	}
	for i := range rules.breaks { // what it says of itself has to hold as well
		b := &rules.breaks[i]
		for _, note := range []string{b.kept, b.newest} {
			if note != "" && b.Trusted {
				open(note, "the statement that continues "+b.OldLog)
			}
		}
	}
	for _, a := range v.o.Anchors {
		notes, err := a.All()
		if err != nil {
			return nil, nil, err
		}
		if len(notes) == 0 {
			v.findings.notice("anchor %s has no checkpoint", a)
		}
		for _, note := range notes {
			open(note, "anchor "+a.String())
			v.report.Anchored++
		}
	}
	slices.SortStableFunc(all, func(a, b promised) int { return int(a.Size - b.Size) })
	return all, rules, nil
}

// keyRules are the keys that are trusted, and up to which size of the log each may sign.
type keyRules struct {
	keys  log.Keys
	until map[string]int64 // by "name+hash", the place of the leaf that made the log over to another key

	logs   []string // names that the log had, oldest first
	breaks []Continuation
}

// ended is the break that ended a log, nil for one that goes on.
func (r *keyRules) ended(origin string) *Continuation {
	for i := range r.breaks {
		if r.breaks[i].OldLog == origin {
			return &r.breaks[i]
		}
	}
	return nil
}

// vouched is false for a log that goes on in another one's place by a statement that nobody who is trusted has signed.
func (r *keyRules) vouched(origin string) bool {
	for i := range r.breaks {
		if r.breaks[i].NewLog == origin && !r.breaks[i].Trusted {
			return false
		}
	}
	return true
}

func (v *verification) keyRules(ctx context.Context, tx pgx.Tx) (*keyRules, error) {
	rows, err := tx.Query(ctx, `
select k.vkey, k.statement, coalesce(l.index, -1) from keel.audit_keys k left join keel.leaves l on l.org = '' and l.kind = 'key' and l.id = k.key_id order by k.added_at`)
	if err != nil {
		return nil, err
	}
	rules := &keyRules{keys: v.o.Keys.Clone(), until: make(map[string]int64)}
	var all []keyStatement
	var s keyStatement
	var index int64
	if _, err := pgx.ForEachRow(rows, []any{&s.VKey, &s.Statement, &index}, func() error {
		all = append(all, s)
		if before, _, err := s.check(); err == nil && before != "" && index >= 0 && !s.continues() {
			rules.until[log.KeyName(before)] = index
		}
		if name, _, ok := strings.Cut(s.VKey, "+"); ok && !slices.Contains(rules.logs, name) {
			rules.logs = append(rules.logs, name)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if rules.keys.Len() == 0 && len(all) > 0 {
		v.findings.notice("no public key was given: signatures were checked with the keys that the database itself names")
		for _, s := range all {
			if err := rules.keys.Add(s.VKey); err != nil {
				v.findings.add(Signature, Finding{What: "key " + s.VKey, Why: err.Error()})
			}
		}
	}
	for _, problem := range trust(&rules.keys, all) {
		v.findings.add(Signature, Finding{What: "keys of the log", Why: problem})
	}
	if rules.breaks, err = continuations(ctx, tx); err != nil {
		return nil, err
	}
	v.declared(rules)
	return rules, nil
}

// treeCheck makes a tree from leaves that come in the order of their places. Where a leaf is missing or is not what its
// tile has, the tree goes on with what the tile has: so one leaf that was changed is one finding, and
// whether the tile is what was signed shows in the roots.
type treeCheck struct {
	seen   int64 // leaves that were read, counting those that are missing
	size   int64 // of the tree so far
	lost   []int64
	twice  []int64
	stack  []subtree
	wanted map[int64]tlog.Hash
	tile   []byte                // of level 0, under way, as the leaves make it
	upper  map[log.TileID][]byte // tiles of higher levels, as they should be
	wrong  []misplaced           // leaves that are not what their tile has
	bad    []string              // tiles that are not what they should be
}

type subtree struct {
	height int
	hash   tlog.Hash
}

// misplaced is a leaf whose hash in the tree is another one than that of what keel.leaves has.
type misplaced struct {
	index     int64
	has, tree tlog.Hash
}

// add takes the next leaf.
func (t *treeCheck) add(h tlog.Hash) {
	t.stack = append(t.stack, subtree{0, h})
	t.size++
	for n := len(t.stack); n > 1 && t.stack[n-1].height == t.stack[n-2].height; n = len(t.stack) {
		s := subtree{t.stack[n-2].height + 1, tlog.NodeHash(t.stack[n-2].hash, t.stack[n-1].hash)}
		t.stack = append(t.stack[:n-2], s)
		if s.height%log.TileHeight == 0 {
			level := s.height / log.TileHeight
			id := log.TileID{Level: level, N: (t.size>>s.height - 1) / log.TileWidth}
			t.upper[id] = append(t.upper[id], s.hash[:]...)
		}
	}
	if _, ok := t.wanted[t.size]; ok {
		t.wanted[t.size] = t.root()
	}
}

func (t *treeCheck) root() tlog.Hash {
	h := t.stack[len(t.stack)-1].hash
	for i := len(t.stack) - 2; i >= 0; i-- {
		h = tlog.NodeHash(t.stack[i].hash, h)
	}
	return h
}

// readTree reads leaves and tiles side by side.
func (v *verification) readTree(ctx context.Context, tx, tileTx pgx.Tx, t *treeCheck) error {
	for _, tx := range []pgx.Tx{tx, tileTx} {
		if _, err := tx.Exec(ctx, "set local enable_sort = off; set local jit = off"); err != nil {
			return err
		}
	}
	tiles, err := tileTx.Query(ctx, "select level, n, data from keel.tiles order by level, n")
	if err != nil {
		return err
	}
	defer tiles.Close()
	var id log.TileID
	var data []byte
	more := false
	nextTile := func() error {
		if more = tiles.Next(); more {
			return tiles.Scan(&id.Level, &id.N, &data)
		}
		return tiles.Err()
	}
	if err := nextTile(); err != nil {
		return err
	}
	// flush holds the leaves of a tile against it.
	first := int64(0)
	flush := func() error {
		n := first / log.TileWidth
		for more && id.Level == 0 && id.N < n {
			if err := nextTile(); err != nil {
				return err
			}
		}
		switch {
		case len(t.tile) == 0:
			return nil
		case !more || id.Level > 0 || id.N > n:
			t.bad = append(t.bad, fmt.Sprintf("tile %d of level 0 is missing", n))
		case !bytes.Equal(data, t.tile):
			t.compare(first, data)
		}
		for i := 0; i < len(t.tile); i += tlog.HashSize {
			t.add(tlog.Hash(t.tile[i : i+tlog.HashSize]))
		}
		first, t.tile = first+int64(len(t.tile)/tlog.HashSize), t.tile[:0]
		return nil
	}
	rows, err := tx.Query(ctx, "select index, hash from keel.leaves order by index")
	if err != nil {
		return err
	}
	defer rows.Close()
	var index int64
	var hash []byte
	for rows.Next() {
		if err := rows.Scan(&index, &hash); err != nil {
			return err
		}
		if index < t.seen {
			t.twice = append(t.twice, index)
			continue
		}
		for t.seen < index {
			if t.lost = append(t.lost, t.seen); len(t.lost) > 1<<20 {
				return errors.New("more than a million leaves are missing")
			}
			if err := t.next(tlog.Hash{}, flush); err != nil {
				return err
			}
		}
		if err := t.next(tlog.RecordHash(hash), flush); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if err := flush(); err != nil {
		return err
	}
	for ; more; err = nextTile() {
		if err != nil {
			return err
		}
		want := t.upper[id]
		delete(t.upper, id)
		switch {
		case id.Level == 0 && id.N*log.TileWidth >= t.size:
			t.bad = append(t.bad, fmt.Sprintf("tile %d of level 0 is of leaves that are not there", id.N))
		case id.Level > 0 && !bytes.Equal(data, want):
			t.bad = append(t.bad, fmt.Sprintf("tile %d of level %d is not that of the leaves", id.N, id.Level))
		}
	}
	for id := range t.upper {
		t.bad = append(t.bad, fmt.Sprintf("tile %d of level %d is missing", id.N, id.Level))
	}
	return err
}

func (t *treeCheck) next(h tlog.Hash, flush func() error) error {
	t.tile = append(t.tile, h[:]...)
	t.seen++
	if len(t.tile) == log.TileWidth*tlog.HashSize {
		return flush()
	}
	return nil
}

// compare finds the leaves that differ from their tile, and puts what the tile has in their place.
func (t *treeCheck) compare(first int64, data []byte) {
	for i := 0; i < len(t.tile); i += tlog.HashSize {
		m := misplaced{index: first + int64(i/tlog.HashSize), has: tlog.Hash(t.tile[i : i+tlog.HashSize])}
		if i+tlog.HashSize > len(data) {
			t.wrong = append(t.wrong, m)
			continue
		}
		if m.tree = tlog.Hash(data[i : i+tlog.HashSize]); m.has != m.tree && m.has != (tlog.Hash{}) {
			t.wrong = append(t.wrong, m)
		}
		copy(t.tile[i:], m.tree[:])
	}
	if len(data) > len(t.tile) {
		t.bad = append(t.bad, fmt.Sprintf("tile %d of level 0 has %d hashes, for %d leaves", first/log.TileWidth, len(data)/tlog.HashSize, len(t.tile)/tlog.HashSize))
	}
}

// places reports leaves that are missing, or are not what the tree has in their place.
func (v *verification) places(ctx context.Context, tx pgx.Tx, t *treeCheck) error {
	named := func(index int64) string {
		var r ref
		if err := tx.QueryRow(ctx, "select kind, org, id, version from keel.leaves where index = $1 limit 1", index).Scan(&r.kind, &r.org, &r.id, &r.version); err != nil {
			return fmt.Sprintf("leaf %d", index)
		}
		return fmt.Sprintf("leaf %d (%s)", index, r)
	}
	for _, n := range t.lost {
		v.findings.add(Removed, Finding{What: fmt.Sprintf("leaf %d", n), Leaf: &n, Why: "it is missing from keel.leaves, and with it the name of its record"})
	}
	for _, n := range t.twice {
		v.findings.add(Inserted, Finding{What: named(n), Leaf: &n, Why: "two leaves have this place"})
	}
	at := make(map[tlog.Hash]int64)
	for _, m := range t.wrong {
		at[m.has] = m.index
	}
	for _, m := range t.wrong {
		f := Finding{What: named(m.index), Leaf: &m.index}
		switch other, moved := at[m.tree]; {
		case m.tree == tlog.Hash{}:
			f.Why = "the tree does not have it"
			v.findings.add(Inserted, f)
		case moved:
			f.Why = fmt.Sprintf("the tree has here what stands in place %d now", other)
			v.findings.add(Reordered, f)
		default:
			f.Why = "the tree has another hash in its place"
			v.findings.add(Changed, f)
		}
	}
	for _, bad := range t.bad {
		v.findings.add(Changed, Finding{What: "the tree", Why: bad})
	}
	return nil
}

// hold holds the tree against what was signed.
func (v *verification) hold(ctx context.Context, tx pgx.Tx, t *treeCheck, promises []promised, rules *keyRules) error {
	good, before := int64(0), int64(0) // sizes of the last checkpoint that is kept, and of the last one before this size
	if len(promises) == 0 {
		v.findings.notice("no checkpoint was ever signed: whoever can write to the database can change everything (keel serve --audit-key)")
		return nil
	}
	anchored := false
	for i := range promises {
		p := &promises[i]
		what := Finding{What: fmt.Sprintf("checkpoint of size %d in %s", p.Size, p.where)}
		if i > 0 && promises[i-1].Size < p.Size {
			before = good
		}
		anchored = anchored || p.where != "the database"
		if errors.Is(p.failed, log.ErrUnsigned) && !rules.vouched(p.Origin) {
			continue // the break says so, once
		}
		if p.failed != nil {
			what.Why = p.failed.Error()
			v.findings.add(Signature, what)
			continue
		}
		if by := slices.DeleteFunc(slices.Clone(p.Signers), func(key string) bool {
			until, over := rules.until[key]
			return over && p.Size > until
		}); len(by) == 0 {
			what.Why = fmt.Sprintf("it is signed by %s, which had made the log over to another key at leaf %d", p.Signers[0], rules.until[p.Signers[0]])
			v.findings.add(Signature, what)
		}
		switch end := rules.ended(p.Origin); {
		case !slices.Contains(rules.logs, p.Origin):
			what.Why = fmt.Sprintf("it is of log %q, which no key of the database is of", p.Origin)
			v.findings.add(Checkpoints, what)
		case end != nil && p.Size > end.Signed:
			what.Why = fmt.Sprintf("log %s was declared to have ended, and its newest checkpoint to be of size %d: %d leaves more were signed, and are missing", p.Origin, end.Signed, p.Size-end.Signed)
			v.findings.add(Truncated, what)
		case end != nil && p.Size > end.Kept:
			// Lost, as the break says.
		case p.Size > t.size:
			what.Why = fmt.Sprintf("the log has only %d leaves: %d that were signed are missing from its end", t.size, p.Size-t.size)
			v.findings.add(Truncated, what)
		case p.Size > 0 && t.wanted[p.Size] != p.Root:
			what.Why = fmt.Sprintf("the first %d leaves are not those that were signed: something between leaf %d and leaf %d was changed, removed or inserted since", p.Size, before, p.Size-1)
			v.findings.add(Checkpoints, what)
		default:
			good = p.Size
		}
	}
	v.report.Signed = good
	if !anchored {
		v.findings.notice("no anchor was given: a log that was rewritten as a whole, with its key, would not be found out (--anchor)")
	}
	if rest := t.size - good; rest > 0 {
		var kind string
		if err := tx.QueryRow(ctx, "select kind from keel.leaves where index = $1", good).Scan(&kind); err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		v.findings.notice("%d leaves from place %d (%s) on are not signed yet", rest, good, leaf.Kind(kind))
	}
	return nil
}
