package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"keel/budget/audit/leaf"
	"keel/budget/ledger"
)

// Erased is what Erase did.
type Erased struct {
	Pseudonym string // what stands in the place of the value now
	Rows      int64
}

// ErrNoRecord says that no record has the value of a label that was to be erased.
var ErrNoRecord = errors.New("no record has that value")

// Erase takes the value of a label out of every record of an org, and its salt out of the database. What is left
// in its place is the commitment that the leaves have, so leaves and proofs stay what they are; equal
// values become equal pseudonyms, so accounts and their sums stay as well. It is one transaction.
//
// It refuses a value in whose accounts a processor has a slice or an open hold: that would go on
// under the old name. Versions of documents that name the value, in a selector say, are left: they are the
// operator's words.
func Erase(ctx context.Context, dsn, org, label, value string) (e Erased, err error) {
	if label == "" || value == "" || leaf.Committed(value) {
		return e, errors.New("audit: erase: a label and a value that is not erased yet")
	}
	conn, err := connect(ctx, dsn, "keel audit erase")
	if err != nil {
		return e, err
	}
	defer closeConn(conn)
	// It sees what was committed while it waited, whatever a server's default is.
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		x := eraser{ctx: ctx, tx: tx, org: org, label: label, value: value}
		if err := x.run(); err != nil {
			return err
		}
		e = Erased{x.pseudonym, x.rows}
		return nil
	})
	if err != nil {
		return Erased{}, fmt.Errorf("audit: erase %s: %w", label, err)
	}
	return e, nil
}

type eraser struct {
	ctx               context.Context
	tx                pgx.Tx
	org, label, value string
	pseudonym         string
	rows              int64
}

func (x *eraser) run() error {
	// What is being settled comes first, with its leaves; what is settled from now on is announced without.
	if _, err := x.tx.Exec(x.ctx, "select pg_advisory_xact_lock($1)", int64(ledger.EraseLock)); err != nil {
		return err
	}
	// The sequencer waits, and then forgets the salt that it knew.
	if _, err := x.tx.Exec(x.ctx, "update keel.db_state set erasures = erasures + 1"); err != nil {
		return err
	}
	if err := ledger.LockStatements(x.ctx, x.tx, x.org); err != nil {
		return err
	}
	var salt []byte
	err := x.tx.QueryRow(x.ctx, "delete from keel.label_values where org = $1 and label = $2 and value = $3 returning salt", x.org, x.label, x.value).Scan(&salt)
	if errors.Is(err, pgx.ErrNoRows) { // no record with it is in the log yet
		salt, err = ledger.NewSalt(), nil
	}
	if err != nil {
		return err
	}
	x.pseudonym = leaf.Commit(x.org, x.label, x.value, salt)
	keys, err := x.accountKeys()
	if err != nil {
		return err
	}
	var busy int
	if err := x.tx.QueryRow(x.ctx, `
select count(*) from keel.accounts where org = $1 and account_key = any($2) and (leased_n > 0 or held_n > 0)`, x.org, mapKeys(keys)).Scan(&busy); err != nil {
		return err
	}
	if busy > 0 {
		return fmt.Errorf("%d accounts of it have slices or holds that processors still use: stop its calls, wait until idle slices have come back (or stop the processors), and try again", busy)
	}
	if err := x.subjects(); err != nil {
		return err
	}
	for old, new := range keys {
		if err := x.key(old, new); err != nil {
			return err
		}
	}
	if x.rows == 0 {
		return ErrNoRecord
	}
	return nil
}

// accountKeys are the keys that have the value, and what becomes of them.
func (x *eraser) accountKeys() (map[string]string, error) {
	rows, err := x.tx.Query(x.ctx, `
select account_key from keel.accounts where org = $1 and account_key <> '' union select account_key from keel.leases where org = $1 and account_key <> ''
union select account_key from keel.entries where org = $1 and account_key <> ''
union select h->>'key' from keel.decisions d cross join lateral jsonb_array_elements(d.holds) h where d.org = $1 and h->>'key' <> ''
union select denial->'details'->>'account' from keel.decisions where org = $1 and denial->'details'->>'account' <> ''`, x.org)
	if err != nil {
		return nil, err
	}
	keys := make(map[string]string)
	var key string
	_, err = pgx.ForEachRow(rows, []any{&key}, func() error {
		// Values of other labels stay: they are given back as they are written in the key.
		if replaced := replaceInKey(key, x.label, x.value, x.pseudonym); replaced != key {
			keys[key] = replaced
		}
		return nil
	})
	return keys, err
}

// replaceInKey replaces the value of one label in the key of an account.
func replaceInKey(key, label, value, by string) string {
	pairs := strings.Split(key, ",")
	for i, pair := range pairs {
		l, v, ok := strings.Cut(pair, "=")
		if ok && l == label && !leaf.Committed(v) && leaf.PlainValue(v) == value {
			pairs[i] = l + "=" + by
		}
	}
	return strings.Join(pairs, ",")
}

// subjects replaces the value in the labels of decisions, and in the statements that add them up by team.
func (x *eraser) subjects() error {
	if x.label == "team" {
		for _, table := range []string{"statements", "statement_provisional"} {
			if err := x.exec("update keel."+table+" set team = $3 where org = $1 and team = $2", x.org, x.value, x.pseudonym); err != nil {
				return err
			}
		}
	}
	return x.exec(`update keel.decisions set subject = jsonb_set(subject, array[$2], to_jsonb($4::text)) where org = $1 and subject->>$2 = $3`,
		x.org, x.label, x.value, x.pseudonym)
}

// key replaces the key of accounts wherever it stands.
func (x *eraser) key(old, new string) error {
	for _, table := range []string{"accounts", "leases", "entries"} {
		if err := x.exec("update keel."+table+" set account_key = $3 where org = $1 and account_key = $2", x.org, old, new); err != nil {
			return err
		}
	}
	for table, column := range map[string]string{"decisions": "holds", "closeouts": "charges", "superseded_closeouts": "charges"} {
		if err := x.exec(fmt.Sprintf(`
update keel.%[1]s set %[2]s = (select jsonb_agg(case when e.h->>'key' = $2 then jsonb_set(e.h, '{key}', to_jsonb($3::text)) else e.h end order by e.n) from jsonb_array_elements(%[2]s) with ordinality e (h, n))
where org = $1 and %[2]s @> jsonb_build_array(jsonb_build_object('key', $2::text))`, table, column), x.org, old, new); err != nil {
			return err
		}
	}
	if err := x.exec("delete from keel.alerts where org = $1 and facts->>'account' = $2", x.org, old); err != nil { // they are told
		return err
	}
	return x.exec(`update keel.decisions set denial = jsonb_set(denial, '{details,account}', to_jsonb($3::text)) where org = $1 and denial->'details'->>'account' = $2`, x.org, old, new)
}

func (x *eraser) exec(sql string, args ...any) error {
	tag, err := x.tx.Exec(x.ctx, sql, args...)
	x.rows += tag.RowsAffected()
	return err
}

func mapKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	return keys
}
