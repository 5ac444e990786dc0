package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/note"

	"keel/budget/audit/log"
)

// ContinueOptions say how a log goes on as another one. Database, Key, By and Why are needed.
type ContinueOptions struct {
	Database string
	Key      *PrivateKey // of the new log, which has another name
	Old      *PrivateKey // the key so far, where it is still there: it signs, too
	Anchors  []Anchor    // all that there are: what they have and the database has not is what was lost
	Journals []string    // folders of processors' journals, which must have nothing that the database lacks
	By, Why  string
	Declare  bool // false: look, and change nothing
}

// Continue declares that a log ended, at its last checkpoint that holds, and goes on as another one. It is the way on
// where the key was lost, or the database lost leaves that were signed; it refuses where neither can be.
// The statement becomes a leaf, and whoever verifies is told of it for good.
func Continue(ctx context.Context, o ContinueOptions) (*Continuation, error) {
	conn, err := connect(ctx, o.Database, "keel audit continue")
	if err != nil {
		return nil, err
	}
	defer closeConn(conn)
	if err := o.restored(ctx, conn); err != nil {
		return nil, fmt.Errorf("audit: continue: %w", err)
	}
	var c *Continuation
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if c, err = o.look(ctx, tx); err != nil || !o.Declare {
			return err
		}
		return o.declare(ctx, tx, c)
	})
	if err != nil {
		return nil, fmt.Errorf("audit: continue: %w", err)
	}
	return c, nil
}

// restored refuses to go on while journals can bring back what the database lost.
func (o *ContinueOptions) restored(ctx context.Context, conn *pgx.Conn) error {
	if len(o.Journals) == 0 {
		return nil
	}
	retired, err := readRetired(ctx, conn)
	if err != nil {
		return err
	}
	d := &diskCheck{ctx: ctx, conn: conn, gone: retiredMonths(retired), found: func(Wrong, Finding) {}, notice: func(string, ...any) {}}
	if err := d.run(o.Journals); err != nil {
		return err
	}
	if n := d.lacking + d.waiting; n > 0 {
		return fmt.Errorf("journals hold %d records that the database lacks: start the processors on these folders, which settles them, and declare the break then", n)
	}
	return nil
}

// look finds where the log ends. The lock on keys keeps everybody from signing until the transaction ends.
func (o *ContinueOptions) look(ctx context.Context, tx pgx.Tx) (*Continuation, error) {
	if err := errors.Join(checkWords("who declares it", o.By), checkWords("why", o.Why)); err != nil {
		return nil, err
	}
	last, err := lastKey(ctx, tx)
	if err != nil {
		return nil, err
	}
	if last == "" {
		return nil, errors.New("nothing was ever signed: a processor with --audit-key begins a log")
	}
	if o.Old != nil && o.Old.Public != last {
		return nil, fmt.Errorf("the old key: %w: that is %s", ErrKey, last)
	}
	keys, logs, err := keysOf(ctx, tx)
	if err != nil {
		return nil, err
	}
	if slices.Contains(logs, o.Key.Origin()) {
		return nil, fmt.Errorf("the new key is of log %q, which there was already: make one with another name, such as %s/2", o.Key.Origin(), o.Key.Origin())
	}
	old, err := note.NewVerifier(last)
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", last, err)
	}
	c := &Continuation{OldLog: old.Name(), OldKey: last, NewLog: o.Key.Origin(), NewKey: o.Key.Public, By: o.By, Why: o.Why, At: time.Now().UTC().Truncate(time.Second),
		Leaf: -1, CoSign: o.Old != nil}
	before, err := continuations(ctx, tx)
	if err != nil {
		return nil, err
	}
	signed, err := o.signed(ctx, tx, keys, func(s log.Signed) bool {
		return s.Origin == c.OldLog || slices.ContainsFunc(before, func(b Continuation) bool { return b.OldLog == s.Origin && s.Size <= b.Kept })
	})
	if err != nil {
		return nil, err
	}
	var size int64
	if err := tx.QueryRow(ctx, "select coalesce(max(index) + 1, 0) from keel.leaves").Scan(&size); err != nil {
		return nil, err
	}
	// If a checkpoint holds, those before it do.
	tree := log.NewTree(tilesOf(ctx, tx), size)
	broken := sort.Search(len(signed), func(i int) bool {
		s := &signed[i]
		if s.Size > size {
			return true
		}
		root, rootErr := tree.Root(s.Size)
		return rootErr != nil || root != s.Root
	})
	if broken > 0 {
		c.kept = signed[broken-1].Note
	}
	if len(signed) > 0 {
		c.newest = signed[len(signed)-1].Note
	}
	if err := c.readNotes(); err != nil {
		return nil, err
	}
	if c.Lost() == 0 && o.Old != nil {
		return nil, errors.New("every checkpoint holds, and the key is there: nothing is broken; to go over to another key, run keel audit keys rotate")
	}
	return c, nil
}

// keysOf are all that the log was signed with, and the names of its logs.
func keysOf(ctx context.Context, q querier) (keys log.Keys, logs []string, err error) {
	rows, err := q.Query(ctx, "select vkey from keel.audit_keys order by added_at, key_id")
	if err != nil {
		return keys, nil, err
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return keys, nil, err
	}
	for _, text := range all {
		v, err := note.NewVerifier(text)
		if err != nil {
			return keys, nil, fmt.Errorf("key %q: %w", text, err)
		}
		if err := keys.Add(text); err != nil {
			return keys, nil, err
		}
		if !slices.Contains(logs, v.Name()) {
			logs = append(logs, v.Name())
		}
	}
	return keys, logs, nil
}

// signed are the checkpoints that count and that keys of the log signed, in the database and in the anchors, by size.
func (o *ContinueOptions) signed(ctx context.Context, tx pgx.Tx, keys log.Keys, counts func(log.Signed) bool) (all []log.Signed, err error) {
	rows, err := tx.Query(ctx, "select note from keel.checkpoints")
	if err != nil {
		return nil, err
	}
	notes, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	for _, a := range o.Anchors {
		anchored, err := a.All()
		if err != nil {
			return nil, err
		}
		notes = append(notes, anchored...)
	}
	for _, text := range notes {
		if s, err := log.Open(text, keys); err == nil && counts(s) {
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(a, b log.Signed) int { return int(a.Size - b.Size) })
	return all, nil
}

// declare signs the statement, and puts checkpoints that do not hold aside: the new log will reach their sizes.
func (o *ContinueOptions) declare(ctx context.Context, tx pgx.Tx, c *Continuation) error {
	signers := []note.Signer{o.Key}
	if o.Old != nil {
		signers = append(signers, o.Old)
	}
	signed, err := note.Sign(&note.Note{Text: c.text()}, signers...)
	if err != nil {
		return fmt.Errorf("sign the statement: %w", err)
	}
	if _, err := parseContinuation(string(signed), o.Key.Public); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
with lost as (delete from keel.checkpoints where size > $1 returning size, note, at) insert into keel.lost_checkpoints (size, note, at) select * from lost on conflict do nothing`, c.Kept)
	if err == nil {
		_, err = tx.Exec(ctx, "insert into keel.audit_keys (vkey, statement, added_at) values ($1, $2, clock_timestamp())", o.Key.Public, string(signed))
	}
	return err
}

// Continuations are the breaks of the log that were declared, oldest first, as the database says.
func Continuations(ctx context.Context, tx pgx.Tx) ([]Continuation, error) {
	return continuations(ctx, tx)
}

// continuations are the breaks that were declared, oldest first. A statement that does not hold is left out: verify names it.
func continuations(ctx context.Context, q querier) (all []Continuation, err error) {
	rows, err := q.Query(ctx, `
select k.vkey, k.statement, coalesce(l.index, -1) from keel.audit_keys k left join keel.leaves l on l.org = '' and l.kind = 'key' and l.id = k.key_id order by k.added_at, k.key_id`)
	if err != nil {
		return nil, err
	}
	var s keyStatement
	var index int64
	_, err = pgx.ForEachRow(rows, []any{&s.VKey, &s.Statement, &index}, func() error {
		if s.continues() {
			if c, err := parseContinuation(s.Statement, s.VKey); err == nil {
				c.Leaf = index
				all = append(all, *c)
			}
		}
		return nil
	})
	return all, err
}
