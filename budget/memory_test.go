package budget

import (
	"context"
	"sync"
	"testing"

	"github.com/google/uuid"

	"keel/pricing"
)

// memoryLedger is a Ledger in memory: the rules of the interface and nothing else.
type memoryLedger struct {
	mu       sync.Mutex
	err      error // what Permit returns, to play an outage
	accounts map[Account]Standing
	open     map[uuid.UUID]*Decision
	extended map[uuid.UUID][]pricing.NanoUSD
	closed   map[uuid.UUID]*Closeout
	recorded []*Decision
	owes     []*Decision
	owed     map[Account]pricing.NanoUSD
	oweErr   error
	permits  int
}

func newMemoryLedger() *memoryLedger {
	return &memoryLedger{accounts: map[Account]Standing{}, open: map[uuid.UUID]*Decision{}, extended: map[uuid.UUID][]pricing.NanoUSD{}, closed: map[uuid.UUID]*Closeout{}, owed: map[Account]pricing.NanoUSD{}}
}

func (l *memoryLedger) Permit(_ context.Context, d *Decision) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.permits++
	if l.err != nil {
		return l.err
	}
	for _, h := range d.Holds {
		s := l.accounts[h.Account]
		if h.Ceiling >= 0 && s.Settled+s.Held+h.Amount > h.Ceiling {
			return &Refused{Hold: h, Standing: s}
		}
	}
	l.take(d)
	return nil
}

func (l *memoryLedger) Extend(_ context.Context, id uuid.UUID, more []pricing.NanoUSD) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.open[id]
	if d == nil || l.err != nil {
		return ErrUnavailable
	}
	for i, h := range d.Holds {
		h.Amount = more[i]
		if s := l.accounts[h.Account]; h.Ceiling >= 0 && !d.Debt && more[i] > 0 && s.Settled+s.Held+more[i] > h.Ceiling {
			return &Refused{Hold: h, Standing: s}
		}
		if owed := l.owed[h.Account]; h.Ceiling >= 0 && d.Debt && h.Debt != NoDebtCap && more[i] > 0 && owed+more[i] > h.Debt {
			return &Refused{Hold: h, Standing: Standing{Held: owed}}
		}
	}
	if l.extended[id] == nil {
		l.extended[id] = make([]pricing.NanoUSD, len(more))
	}
	for i, h := range d.Holds {
		s := l.accounts[h.Account]
		s.Held += more[i]
		l.accounts[h.Account] = s
		if d.Debt {
			l.owed[h.Account] += more[i]
		}
		l.extended[id][i] += more[i]
	}
	return nil
}

func (l *memoryLedger) take(d *Decision) {
	for _, h := range d.Holds {
		s := l.accounts[h.Account]
		s.Held += h.Amount
		l.accounts[h.Account] = s
	}
	l.open[d.ID] = d
}

func (l *memoryLedger) Record(d *Decision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recorded = append(l.recorded, d)
}

func (l *memoryLedger) Owe(d *Decision) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.oweErr != nil {
		return l.oweErr
	}
	for _, h := range d.Holds {
		if owed := l.owed[h.Account]; h.Ceiling >= 0 && h.Debt != NoDebtCap && owed+h.Amount > h.Debt {
			return &Refused{Hold: h, Standing: Standing{Held: owed}}
		}
	}
	for _, h := range d.Holds {
		l.owed[h.Account] += h.Amount
	}
	l.owes = append(l.owes, d)
	l.take(d)
	return nil
}

func (l *memoryLedger) Await(context.Context, Receipt, Durability) error { return nil }

func (l *memoryLedger) CloseOut(c *Closeout) Receipt {
	l.closeOut(c)
	return Receipt{}
}

func (l *memoryLedger) closeOut(c *Closeout) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d, ok := l.open[c.ID]
	if !ok {
		return
	}
	delete(l.open, c.ID)
	l.closed[c.ID] = c
	for i, h := range d.Holds {
		if more := l.extended[c.ID]; more != nil {
			h.Amount += more[i]
		}
		s := l.accounts[h.Account]
		s.Held -= h.Amount
		if c.CostKnown {
			s.Settled += c.Cost.Total
		} else {
			s.Settled += h.Amount
		}
		l.accounts[h.Account] = s
	}
}

func (l *memoryLedger) CloseOutResponse(*Closeout) {}

func (l *memoryLedger) Annotate(Annotation) {}

func (l *memoryLedger) Standing(a Account) Standing {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.accounts[a]
}

// owe is a debt of the budget's only account at testTime.
func (l *memoryLedger) owe(tb testing.TB, cfg *Config, name, amount string) {
	tb.Helper()
	for _, b := range cfg.org(DefaultOrg).budgets {
		if b.Name == name {
			l.owed[b.account(&traits{}, testTime)] = usd(tb, amount)
		}
	}
}

// spend puts money into the account of the org's budget at testTime.
func (l *memoryLedger) spend(tb testing.TB, cfg *Config, name, key string, settled, held string) {
	tb.Helper()
	for _, b := range cfg.org(DefaultOrg).budgets {
		if b.Name == name {
			a := b.account(&traits{}, testTime)
			a.Key = key
			l.accounts[a] = Standing{Settled: usd(tb, settled), Held: usd(tb, held)}
			return
		}
	}
	tb.Fatalf("no budget %s", name)
}

func usd(tb testing.TB, amount string) pricing.NanoUSD {
	tb.Helper()
	n, err := pricing.ParseUSD(amount)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}
