package ledger

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"keel/budget"
	"keel/budget/audit/leaf"
	"keel/budget/ledger/pgcopy"
	"keel/budget/ledger/record"
)

// leafLabels are the values of labels in what a transaction writes, for which leaves have commitments. Their salts are read in every
// transaction, and never remembered: one that is remembered may be erased, or of a database that was set back.
type leafLabels struct {
	all  []Label
	seen map[Label]bool
	keys map[string]bool // of accounts

	granted bool // nobody erases until the transaction ends
	stored  time.Time
	salts   map[Label][]byte
}

func newLeafLabels() *leafLabels {
	return &leafLabels{seen: make(map[Label]bool), keys: make(map[string]bool), salts: make(map[Label][]byte)}
}

func (l *leafLabels) add(label, value string) {
	of := Label{label, value}
	if value == "" || l.seen[of] || leaf.Committed(value) || !pgcopy.Plain(value) || !pgcopy.Plain(label) {
		return
	}
	l.seen[of] = true
	l.all = append(l.all, of)
}

// key adds those in the key of an account.
func (l *leafLabels) key(key string) {
	if key == "" || l.keys[key] {
		return
	}
	l.keys[key] = true
	_, _ = leaf.AccountKey(record.Text(key), func(label, value []byte) (string, bool) {
		l.add(string(label), string(value))
		return "", true
	})
}

func (l *leafLabels) decision(d *budget.Decision) {
	for label, value := range d.Subject {
		l.add(label, value)
	}
	for i := range d.Holds {
		l.key(d.Holds[i].Account.Key)
	}
	if d.Denial != nil {
		l.key(d.Denial.Details["account"])
	}
}

func (l *leafLabels) closeout(c *record.Closeout) {
	for i := range c.Charges {
		l.key(c.Charges[i].Account.Key)
	}
}

// queue asks for the salts, with erasures kept away, if that needs no waiting. The lock comes first: a statement sees what
// was committed when it began.
func (l *leafLabels) queue(batch *pgx.Batch, org string) {
	batch.Queue("select now(), pg_try_advisory_xact_lock_shared($1)", int64(EraseLock)).QueryRow(func(row pgx.Row) error { return row.Scan(&l.stored, &l.granted) })
	if len(l.all) > 0 {
		names, values := labelColumns(l.all)
		batch.Queue(selectSalts, org, names, values).Query(func(rows pgx.Rows) error { return eachSalt(rows, l.salts) })
	}
}

// maker makes leaves by the salts, and those that are missing; nil where somebody erases.
func (l *leafLabels) maker(ctx context.Context, tx pgx.Tx, org string) (*leafMaker, error) {
	if !l.granted {
		return nil, nil
	}
	var missing []Label
	for _, of := range l.all {
		if l.salts[of] == nil {
			missing = append(missing, of)
		}
	}
	if len(missing) > 0 {
		made, err := Salts(ctx, tx, org, missing)
		if err != nil {
			return nil, err
		}
		for of, salt := range made {
			l.salts[of] = salt
		}
	}
	m := leafMakers.Get().(*leafMaker)
	m.stored = leaf.AppendTime(m.stored[:0], l.stored)
	clear(m.known)
	for of, salt := range l.salts {
		m.known[of] = leaf.Commit(org, of.Name, of.Value, salt)
	}
	return m, nil
}
