package escrow

import (
	"cmp"
	"time"

	"keel/budget"
	"keel/budget/ledger/record"
)

// Key identifies an account as a database keeps it: times in microseconds,
// without zone, text that Postgres can store, so that equal accounts are equal keys.
type Key struct {
	Org, Budget, Account string
	Start, End           int64         // Unix microseconds; Unbounded and -Unbounded for a lifetime
	Rolling              time.Duration // length of the rolling window that this is a bucket of; 0 for none. Not part of a row's key
}

// Unbounded is the End of a window that never ends; minus it, the Start of one that never began.
const Unbounded = 1<<63 - 1

// KeyOf returns the key of an account.
func KeyOf(a *budget.Account) Key {
	k := Key{record.Text(a.Org), record.Text(a.Budget), record.Text(a.Key), -Unbounded, Unbounded, a.Rolling}
	if !a.WindowStart.IsZero() {
		k.Start = a.WindowStart.UnixMicro()
	}
	if !a.WindowEnd.IsZero() {
		k.End = a.WindowEnd.UnixMicro()
	}
	return k
}

// Compare orders keys as every statement that locks several accounts does.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Org, o.Org), cmp.Compare(k.Budget, o.Budget), cmp.Compare(k.Account, o.Account),
		cmp.Compare(k.Start, o.Start), cmp.Compare(k.End, o.End))
}
