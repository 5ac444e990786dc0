package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"keel/budget/audit/leaf"
)

// accounts adds up what closeouts charged and entries moved. It is safe for concurrent use.
type accounts struct {
	mu   sync.Mutex
	sums map[accountKey]*amount
}

type accountKey struct{ org, budget, key, start, end string }

func (k accountKey) String() string {
	s := fmt.Sprintf("budget %s of org %s", k.budget, k.org)
	if k.key != "" {
		s += " for " + k.key
	}
	return fmt.Sprintf("%s, window %s to %s", s, k.start, k.end)
}

// amount is a sum in 128 bits.
type amount struct {
	low  int64
	high big.Int // what low could not hold
}

func (a *amount) add(n int64) {
	sum := a.low + n
	if (sum > a.low) != (n > 0) && n != 0 {
		a.high.Add(&a.high, big.NewInt(a.low))
		sum = n
	}
	a.low = sum
}

func (a *amount) total() *big.Int { return new(big.Int).Add(&a.high, big.NewInt(a.low)) }

func newAccounts() *accounts { return &accounts{sums: make(map[accountKey]*amount)} }

func (a *accounts) add(k accountKey, n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	sum := a.sums[k]
	if sum == nil {
		for _, s := range []*string{&k.org, &k.budget, &k.key, &k.start, &k.end} {
			*s = strings.Clone(*s) // of a row that goes
		}
		sum = new(amount)
		a.sums[k] = sum
	}
	sum.add(n)
}

// charge is an element of keel.closeouts.charges.
type charge struct {
	Budget string `json:"budget"`
	Key    string `json:"key"`
	Start  string `json:"start"`
	End    string `json:"end"`
	Amount int64  `json:"amount"`
}

// see adds up what a record settled. Closeouts that were superseded settle nothing any more.
func (a *accounts) see(r *row) error {
	switch {
	case r.source == &closeouts:
		raw, err := r.column("charges")
		if err != nil || len(raw) <= 2 {
			return err
		}
		var charges []charge
		if err := json.Unmarshal(raw, &charges); err != nil {
			return fmt.Errorf("charges: %w", err)
		}
		for i := range charges {
			c := &charges[i]
			a.add(accountKey{r.org, c.Budget, c.Key, micros(c.Start), micros(c.End)}, c.Amount)
		}
	case r.kind == leaf.Entry:
		kind, err := r.column("kind")
		if err != nil {
			return err
		}
		switch string(kind) {
		case "forfeit", "forfeit_fix", "retired":
		default:
			return nil
		}
		return a.seeEntry(r)
	}
	return nil
}

func (a *accounts) seeEntry(r *row) error {
	k := accountKey{org: r.org}
	for _, c := range []struct {
		name string
		into *string
	}{{"budget", &k.budget}, {"account_key", &k.key}, {"window_start", &k.start}, {"window_end", &k.end}} {
		raw, err := r.column(c.name)
		if err != nil {
			return err
		}
		if raw == nil {
			return nil // it only says something
		}
		*c.into = string(raw)
	}
	raw, err := r.column("amount_n")
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err == nil {
		a.add(k, n)
	}
	return err
}

// micros writes an instant of charges, which may have fewer decimals, as the leaves have it.
func micros(text string) string {
	if strings.HasSuffix(text, "infinity") {
		return text
	}
	text = strings.TrimSuffix(text, "Z")
	whole, fraction, _ := strings.Cut(text, ".")
	return whole + "." + (fraction + "000000")[:6] + "Z"
}

// compare holds the sums against the accounts, and returns how many are right.
func (a *accounts) compare(ctx context.Context, tx pgx.Tx, org string, f *findings) (right int64, err error) {
	rows, err := tx.Query(ctx, `
select org, budget, account_key, window_start, window_end, settled_n from keel.accounts where $1 = '' or org = $1`, org)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	r := row{}
	for rows.Next() {
		r.fields, r.values = rows.FieldDescriptions(), rows.RawValues()
		var k accountKey
		for i, into := range []*string{&k.org, &k.budget, &k.key, &k.start, &k.end} {
			raw, err := r.text(i)
			if err != nil {
				return 0, err
			}
			*into = string(raw)
		}
		raw, err := r.text(5)
		if err != nil {
			return 0, err
		}
		sum := new(big.Int)
		if s := a.sums[k]; s != nil {
			sum = s.total()
		}
		delete(a.sums, k)
		if sum.String() == string(raw) {
			right++
			continue
		}
		f.add(Sum, Finding{What: k.String(), Org: k.org, Why: fmt.Sprintf("the account says that %s nano-dollars are settled, its closeouts and entries come to %s", raw, sum)})
	}
	if err := rows.Err(); err != nil {
		return 0, err
	}
	for k, sum := range a.sums {
		if n := sum.total(); n.Sign() != 0 {
			f.add(Sum, Finding{What: k.String(), Org: k.org, Why: fmt.Sprintf("there is no account, and closeouts and entries come to %s nano-dollars", n)})
		}
	}
	return right, nil
}
