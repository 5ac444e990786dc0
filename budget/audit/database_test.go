package audit

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"keel/budget"
	"keel/budget/ledger"
	"keel/budget/ledger/escrow"
	"keel/budget/ledger/pgserver"
	"keel/budget/ledger/record"
	"keel/pricing"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// lab is a database with books that are kept by the real ledger, a log and an anchor.
type lab struct {
	t      testing.TB
	dsn    string
	pool   *pgxpool.Pool
	bank   *ledger.Bank
	key    *PrivateKey
	anchor Anchor
}

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{t: t, dsn: pgserver.ForTest(t)}
	if err := ledger.Migrate(t.Context(), l.dsn, nil); err != nil {
		t.Fatal(err)
	}
	var err error
	if l.pool, err = pgxpool.New(t.Context(), l.dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.pool.Close)
	l.bank = ledger.NewBank(l.pool, ledger.BankOptions{Logger: quiet})
	if l.key, err = NewPrivateKey("keel.example.com/audit"); err != nil {
		t.Fatal(err)
	}
	if l.anchor, err = OpenAnchor(filepath.Join(t.TempDir(), "anchor")); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *lab) exec(sql string, args ...any) {
	l.t.Helper()
	if _, err := l.pool.Exec(context.Background(), sql, args...); err != nil {
		l.t.Fatalf("%s: %v", sql, err)
	}
}

func query[T any](l *lab, sql string, args ...any) (v T) {
	l.t.Helper()
	if err := l.pool.QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		l.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func (l *lab) sequencer() *Sequencer {
	return NewSequencer(SequencerOptions{Database: l.dsn, Key: l.key, Anchors: []Anchor{l.anchor}, Logger: quiet, Every: 5 * time.Millisecond, AnchorEvery: time.Millisecond})
}

// sequence takes in, signs and anchors all that is announced.
func (l *lab) sequence() int64 {
	l.t.Helper()
	size, err := l.sequencer().SequenceOnce(context.Background())
	if err != nil {
		l.t.Fatal(err)
	}
	return size
}

// books is an epoch of org acme.
type books struct {
	l     *lab
	epoch uuid.UUID
	seq   uint64
}

func (l *lab) books() *books { return &books{l: l, epoch: uuid.Must(uuid.NewV7())} }

func month(name, key string) budget.Account {
	now := time.Now().UTC()
	start := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	return budget.Account{Org: "acme", Budget: name, Key: key, WindowStart: start, WindowEnd: start.AddDate(0, 1, 0)}
}

func call(user string) *budget.Decision {
	hold := func(a budget.Account) budget.Hold {
		return budget.Hold{Account: a, Amount: 30, Ceiling: -1, Limit: 1000, Mode: budget.Observe, Version: 1}
	}
	return &budget.Decision{
		Call: budget.Call{ID: uuid.Must(uuid.NewV7()), Org: "acme", At: time.Now(), Subject: budget.Subject{"team": "research", "user": user},
			API: "openai-chat", Provider: "openai", Model: "gpt-5", Path: "/v1/chat/completions", Choices: 1},
		Shape:  tokens.Shape{Task: "generate", Messages: 1, Bytes: map[string]int64{"text": 12}},
		Action: budget.Allow, Reason: "within every budget", RoutedProvider: "openai", RoutedModel: "gpt-5",
		Holds: []budget.Hold{hold(month("all", "")), hold(month("each", "user="+user))}, PriceVersion: "2026-11",
		Estimate: budget.Estimate{InputTokens: 3, InputTokensBound: 12, OutputTokens: 100, OutputTokensBound: 1000,
			Expected: 5, Bound: 30, BoundKind: tokens.Provable, Method: "bytes/1"},
		Envelope: budget.Envelope{Limit: 30, Attempts: 1},
		Rules:    []budget.Rule{{Kind: budget.KindBudget, Name: "all", Version: 1, Effect: "observed", Saw: "0 of 1 USD"}},
	}
}

func end(d *budget.Decision, cost pricing.NanoUSD) budget.Closeout {
	return budget.Closeout{ID: d.ID, Org: d.Org, At: time.Now(), Outcome: budget.Complete, Metered: budget.ByProvider,
		Usage: &meter.Usage{meter.Input: 3, meter.CachedInput: 2, meter.Output: 40, meter.Reasoning: 8}, RawUsage: []byte(`{"total_tokens":53,"cost":1.50,"ünï":"\"\\/"}`),
		Cost:      pricing.Cost{Total: cost, Lines: []pricing.Line{{Meter: meter.Input, Quantity: 3, Rate: 1_250_000, Amount: cost, Price: "openai/gpt-5"}}},
		CostKnown: true, Attempts: 1, HTTPStatus: 200, Model: "gpt-5-2025", Detail: "end of stream"}
}

// oddEnd is an end that settlement makes no leaf of.
func oddEnd(d *budget.Decision, cost pricing.NanoUSD) budget.Closeout {
	c := end(d, cost)
	c.RawUsage, c.ProviderCost = []byte(`{"total_tokens":53,"cost":1.50e-3,"ünï":"\"\\/"}`), "0.00000010"
	return c
}

func closed(d *budget.Decision, c budget.Closeout) escrow.Record {
	charges := []record.Charge{}
	for _, h := range d.Holds {
		charges = append(charges, record.Charge{Account: h.Account, Held: h.Amount, Amount: c.Cost.Total})
	}
	return escrow.Record{Closeout: &record.Closeout{Closeout: c, Known: true, Charges: charges}}
}

// settle numbers records, gives them a digest as a journal has it, and settles them.
func (b *books) settle(records ...escrow.Record) {
	b.l.t.Helper()
	for i := range records {
		r := &records[i]
		b.seq++
		r.Seq = b.seq
		if c := r.Closeout; c != nil && c.Known {
			c.Lease = b.epoch
		}
		r.Digest = record.DigestOf(record.KindDecision, fmt.Append(nil, b.epoch, r.Seq))
	}
	if _, err := b.l.bank.Settle(context.Background(), escrow.Batch{Epoch: b.epoch, Org: "acme", Records: records}); err != nil {
		b.l.t.Fatal(err)
	}
}

// calls are made and closed, each for 1 nano-dollar more than the one before; users take turns.
func (b *books) calls(n int, users ...string) (all []*budget.Decision) {
	b.l.t.Helper()
	var records []escrow.Record
	for i := range n {
		d := call(users[i%len(users)])
		all = append(all, d)
		records = append(records, escrow.Record{Decision: d}, closed(d, end(d, pricing.NanoUSD(i+1))))
	}
	b.settle(records...)
	return all
}
