package ledger

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
)

// Label is a value of a label of an org's subjects.
type Label struct{ Name, Value string }

// EraseLock is the key of the advisory lock that keeps labels from being erased ("keelsalt" in ASCII): shared by transactions that
// announce leaves with commitments to them, alone by one that erases.
const EraseLock = 0x6b65656c73616c74

// NewSalt is a salt for a value that has none: 16 random bytes.
func NewSalt() []byte {
	salt := make([]byte, 16)
	rand.Read(salt)
	return salt
}

// selectSalts takes labels and values. Each is looked up by its key, whatever statistics say.
const selectSalts = `
select m.label, m.value, v.salt from unnest($2::text[], $3::text[]) m (label, value)
cross join lateral (select salt from keel.label_values v where v.org = $1 and v.label = m.label and v.value = m.value limit 1) v`

// Salts returns the salts of values, and makes those that are missing. The caller keeps them from being erased until its transaction ends.
func Salts(ctx context.Context, tx pgx.Tx, org string, labels []Label) (salts map[Label][]byte, err error) {
	// In one order, because another transaction that makes the same ones is waited for.
	labels = slices.SortedFunc(slices.Values(labels), func(a, b Label) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Value, b.Value)) })
	fresh := make([][]byte, len(labels))
	for i := range fresh {
		fresh[i] = NewSalt()
	}
	names, values := labelColumns(labels)
	salts = make(map[Label][]byte, len(labels))
	batch := &pgx.Batch{}
	batch.Queue(`
insert into keel.label_values (org, label, value, salt) select $1, * from unnest($2::text[], $3::text[], $4::bytea[]) on conflict do nothing`, org, names, values, fresh)
	batch.Queue(selectSalts, org, names, values).Query(func(rows pgx.Rows) error { return eachSalt(rows, salts) })
	return salts, tx.SendBatch(ctx, batch).Close()
}

func labelColumns(labels []Label) (names, values []string) {
	names, values = make([]string, len(labels)), make([]string, len(labels))
	for i, l := range labels {
		names[i], values[i] = l.Name, l.Value
	}
	return names, values
}

func eachSalt(rows pgx.Rows, into map[Label][]byte) error {
	var l Label
	var salt []byte
	_, err := pgx.ForEachRow(rows, []any{&l.Name, &l.Value, &salt}, func() error {
		if len(salt) == 0 {
			return errors.New("a salt is empty")
		}
		into[l], salt = salt, nil
		return nil
	})
	return err
}
