package ledger

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"keel/budget"
	"keel/budget/ledger/escrow"
	"keel/budget/ledger/journal"
	"keel/budget/ledger/record"
	"keel/pricing"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

// lab is a database with a bank, and the replicas of a test: epochs with the numbers of their journals.
type lab struct {
	t    testing.TB
	dsn  string
	pool *pgxpool.Pool
	*Bank
	broken bool // on purpose: not checked at the end

	mu   sync.Mutex
	held map[[2]string][]escrow.Record // what journals held of what was settled, by org and epoch
}

// Settle is the bank's, of records in memory that is used again as soon as it has returned. What it took is compared with what is
// stored whenever the invariants are checked.
func (l *lab) Settle(ctx context.Context, b escrow.Batch) (escrow.Settled, error) {
	m := memories.Get().(*record.Decoder)
	own := lent(l.t, m, b)
	settled, err := l.Bank.Settle(ctx, own)
	for i := range b.Records {
		_, was := payloadOf(&b.Records[i])
		if _, is := payloadOf(&own.Records[i]); !bytes.Equal(is, was) {
			l.t.Errorf("record %d is not what it was before it was settled: %+v", own.Records[i].Seq, own.Records[i])
		}
	}
	m.Reset()
	memories.Put(m)
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.held == nil {
			l.held = make(map[[2]string][]escrow.Record)
		}
		key := [2]string{b.Org, b.Epoch.String()}
		for _, r := range b.Records {
			if !slices.ContainsFunc(l.held[key], func(h escrow.Record) bool { return h.Seq == r.Seq }) {
				l.held[key] = append(l.held[key], r)
			}
		}
	}
	return settled, err
}

var memories = sync.Pool{New: func() any { return new(record.Decoder) }}

// lent is a batch as the uploader has it: decoded, in memory of a decoder.
func lent(t testing.TB, m *record.Decoder, b escrow.Batch) escrow.Batch {
	records := make([]escrow.Record, len(b.Records))
	for i := range b.Records {
		r := &b.Records[i]
		kind, payload := payloadOf(r)
		if payload != nil {
			decoded, err := escrow.Decode(m, journal.Record{Kind: byte(kind), Payload: payload})
			if err != nil {
				t.Fatal(err)
			}
			records[i] = decoded
		}
		records[i].Seq, records[i].Digest = r.Seq, r.Digest
	}
	b.Records = records
	return b
}

func payloadOf(r *escrow.Record) (record.Kind, []byte) {
	switch {
	case r.Decision != nil:
		return record.KindDecision, record.AppendDecision(nil, r.Decision)
	case r.Closeout != nil:
		return record.KindCloseout, record.AppendCloseout(nil, r.Closeout)
	case r.Return != nil:
		return record.KindReturn, record.AppendReturn(nil, r.Return)
	case r.Response != nil:
		return record.KindResponse, record.AppendResponse(nil, r.Response)
	case r.Extension != nil:
		return record.KindExtension, record.AppendExtension(nil, r.Extension)
	}
	return 0, nil
}

// witnessed holds the database against journals.
func (l *lab) witnessed() (all []Difference) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	retired := query[time.Time](l.t, l.dsn, "select greatest(retired, '1970-01-01Z') from keel.db_state")
	defer func() {
		all = slices.DeleteFunc(all, func(d Difference) bool { // what was dropped with its month
			return d.Missing && d.Kind != "entry" && time.Unix(d.Decision.Time().UnixTime()).Before(retired)
		})
	}()
	for key, records := range l.held {
		err := pgx.BeginTxFunc(context.Background(), l.pool, snapshot, func(tx pgx.Tx) error {
			found, err := CompareJournal(context.Background(), tx, escrow.Batch{Org: key[0], Epoch: uuid.MustParse(key[1]), Records: records}, func(string) bool { return false })
			all = append(all, found...)
			return err
		})
		if err != nil {
			l.t.Fatal(err)
		}
	}
	return all
}

// newLab makes a database whose invariants are checked at the end of the test.
func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{t: t, dsn: database(t)}
	var err error
	if l.pool, err = newPool(l.dsn, 32); err != nil {
		t.Fatal(err)
	}
	l.Bank = NewBank(l.pool, BankOptions{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	t.Cleanup(func() {
		if !t.Failed() && !l.broken {
			l.sound()
		}
		l.pool.Close()
	})
	return l
}

// sound checks the invariants.
func (l *lab) sound() {
	l.t.Helper()
	report, err := Check(context.Background(), l.dsn, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, v := range report.Violations {
		l.t.Errorf("%s", v)
	}
	for _, d := range l.witnessed() {
		l.t.Errorf("the journal says otherwise: %+v", d)
	}
	l.leavesAreThoseOfRows()
}

func (l *lab) exec(sql string, args ...any) {
	l.t.Helper()
	if _, err := l.pool.Exec(context.Background(), sql, args...); err != nil {
		l.t.Fatalf("%s: %v", sql, err)
	}
}

// budget makes a monthly budget of org acme with a limit in nano-dollars.
func (l *lab) budget(name string, limit pricing.NanoUSD, window string) {
	l.t.Helper()
	l.exec(`insert into keel.budgets (org, name, limit_usd, "window") values ('acme', $1, $2::bigint * 0.000000001, $3)`, name, int64(limit), window)
}

// testJournal is an epoch and how far its records of org acme are numbered.
type testJournal struct {
	l     *lab
	epoch uuid.UUID
	seq   uint64
}

func (l *lab) journal() *testJournal { return &testJournal{l: l, epoch: uuid.Must(uuid.NewV7())} }

// batch numbers records.
func (j *testJournal) batch(records ...escrow.Record) escrow.Batch {
	for i := range records {
		j.seq++
		records[i].Seq = j.seq
	}
	return escrow.Batch{Epoch: j.epoch, Org: "acme", Records: records}
}

// settle numbers records and settles them.
func (j *testJournal) settle(records ...escrow.Record) escrow.Settled {
	j.l.t.Helper()
	settled, err := j.l.Settle(context.Background(), j.batch(records...))
	if err != nil {
		j.l.t.Fatal(err)
	}
	if settled.Applied != j.seq {
		j.l.t.Fatalf("applied %d, want %d", settled.Applied, j.seq)
	}
	return settled
}

func (j *testJournal) request(a budget.Account, want pricing.NanoUSD) escrow.LeaseRequest {
	return escrow.LeaseRequest{Epoch: j.epoch, Key: escrow.KeyOf(&a), Want: want, Min: want, Share: 1}
}

// lease takes exactly what it wants, or nothing.
func (j *testJournal) lease(a budget.Account, want pricing.NanoUSD) escrow.Lease {
	j.l.t.Helper()
	answer, err := j.l.Lease(context.Background(), j.request(a, want))
	if err != nil {
		j.l.t.Fatal(err)
	}
	return answer
}

// thisMonth is the account of a budget whose window runs.
func thisMonth(name string) budget.Account {
	now := time.Now().UTC()
	start := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	return budget.Account{Org: "acme", Budget: name, WindowStart: start, WindowEnd: start.AddDate(0, 1, 0)}
}

func enforced(a budget.Account, amount pricing.NanoUSD) budget.Hold {
	return budget.Hold{Account: a, Amount: amount, Ceiling: 1 << 60, Limit: 1 << 60, Mode: budget.Enforce}
}

func observed(a budget.Account, amount pricing.NanoUSD) budget.Hold {
	h := enforced(a, amount)
	h.Ceiling, h.Mode = -1, budget.Observe
	return h
}

func admitted(holds ...budget.Hold) *budget.Decision {
	return &budget.Decision{
		Call: budget.Call{ID: uuid.Must(uuid.NewV7()), Org: "acme", At: time.Now(), Subject: budget.Subject{"team": "research"},
			API: "openai-chat", Provider: "openai", Model: "gpt-5", Path: "/v1/chat/completions", Choices: 1},
		Shape:  tokens.Shape{Task: "generate", Messages: 1, Bytes: map[string]int64{"text": 12}},
		Action: budget.Allow, Reason: "fits", Holds: holds, PriceVersion: "2026-11",
		Estimate: budget.Estimate{InputTokens: 3, InputTokensBound: 12, OutputTokens: 100, OutputTokensBound: 1000,
			Expected: 5, Bound: 10, BoundKind: tokens.Provable, Method: "bytes/1"},
		Rules: []budget.Rule{{Kind: budget.KindBudget, Name: "b", Version: 1, Effect: "held"}},
	}
}

func ended(d *budget.Decision, cost pricing.NanoUSD) budget.Closeout {
	return budget.Closeout{ID: d.ID, Org: d.Org, At: time.Now(), Outcome: budget.Complete, Metered: budget.ByProvider,
		Usage: &meter.Usage{meter.Input: 3, meter.CachedInput: 2, meter.Output: 40, meter.Reasoning: 8}, RawUsage: []byte(`{"total_tokens":53}`),
		Cost:      pricing.Cost{Total: cost, Lines: []pricing.Line{{Meter: meter.Input, Quantity: 3, Rate: 1_250_000, Amount: cost}}},
		CostKnown: true, Attempts: 1, HTTPStatus: 200, Model: "gpt-5-2025", Detail: "end of stream"}
}

func decided(d *budget.Decision) escrow.Record { return escrow.Record{Decision: d} }

// extended is an extension of every hold of a decision, or of the first ones.
func extended(d *budget.Decision, more ...pricing.NanoUSD) escrow.Record {
	x := &record.Extension{ID: d.ID, Org: d.Org, At: time.Now(), Debt: d.Debt}
	for i := range d.Holds {
		x.More = append(x.More, record.More{Account: d.Holds[i].Account, Amount: at(more, i), Leased: record.Leased(d, &d.Holds[i])})
	}
	return escrow.Record{Extension: x}
}

// closed is the closeout as the replica that held the decision writes it, which extended it by so much.
func (j *testJournal) closed(d *budget.Decision, end budget.Closeout, more ...pricing.NanoUSD) escrow.Record {
	c := &record.Closeout{Closeout: end, Known: true, Lease: j.epoch, Charges: chargesOf(&end, d, more)}
	return escrow.Record{Closeout: c}
}

// unknown is the closeout as a replica writes it that does not know the decision.
func unknown(end budget.Closeout) escrow.Record {
	return escrow.Record{Closeout: &record.Closeout{Closeout: end}}
}

func back(a budget.Account, amount pricing.NanoUSD) escrow.Record {
	return escrow.Record{Return: &record.Return{Account: a, Amount: amount}}
}

// sums are an account as it is stored.
type sums struct{ settled, leased, held, forced int64 }

func (l *lab) account(name string) (s sums) {
	l.t.Helper()
	if err := l.pool.QueryRow(context.Background(), `select coalesce(sum(settled_n), 0)::bigint, coalesce(sum(leased_n), 0)::bigint, coalesce(sum(held_n), 0)::bigint, coalesce(sum(forced_n), 0)::bigint
		from keel.accounts where org = 'acme' and budget = $1`, name).Scan(&s.settled, &s.leased, &s.held, &s.forced); err != nil {
		l.t.Fatal(err)
	}
	return s
}

func (l *lab) want(name string, want sums) {
	l.t.Helper()
	if got := l.account(name); got != want {
		l.t.Errorf("account %s: %+v, want %+v", name, got, want)
	}
}
