package audit

import (
	"bytes"
	"context"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"keel/budget/audit/log"
	"keel/budget/ledger"
	"keel/budget/ledger/escrow"
	"keel/pricing"
)

// standby is what a failover goes over to: the database as it is now, which receives no more.
func (l *lab) standby() *lab {
	l.t.Helper()
	u, err := url.Parse(l.dsn)
	if err != nil {
		l.t.Fatal(err)
	}
	from := strings.TrimPrefix(u.Path, "/")
	to := from + "_standby"
	admin := *u
	admin.Path = "/postgres"
	run := func(sql string) {
		l.t.Helper()
		db, err := pgx.Connect(context.Background(), admin.String())
		if err != nil {
			l.t.Fatal(err)
		}
		defer db.Close(context.Background())
		if _, err := db.Exec(context.Background(), sql); err != nil {
			l.t.Fatal(err)
		}
	}
	l.pool.Reset() // nobody may be connected to what is copied
	run("select pg_terminate_backend(pid) from pg_stat_activity where datname = '" + from + "'")
	run("create database " + to + " template " + from)
	u.Path = "/" + to
	s := *l
	s.dsn = u.String()
	if s.pool, err = pgxpool.New(context.Background(), s.dsn); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		s.pool.Close()
		run("drop database " + to + " with (force)")
	})
	s.bank = ledger.NewBank(s.pool, ledger.BankOptions{Logger: quiet})
	return &s
}

// sequenceSaying sequences with a key, and returns what was logged.
func (l *lab) sequenceSaying(key *PrivateKey) string {
	l.t.Helper()
	var said bytes.Buffer
	o := l.sequencer().o
	o.Key, o.Logger = key, slog.New(slog.NewTextHandler(&said, nil))
	if _, err := NewSequencer(o).SequenceOnce(context.Background()); err != nil {
		l.t.Fatal(err)
	}
	return said.String()
}

// found verifies with public keys, and returns the findings in lines.
func (l *lab) found(accept string, keys ...*PrivateKey) (*Report, string) {
	l.t.Helper()
	o := VerifyOptions{Database: l.dsn, Anchors: []Anchor{l.anchor}}
	if accept != "" {
		o.Accept = []string{accept}
	}
	for _, k := range keys {
		if err := o.Keys.Add(k.Public); err != nil {
			l.t.Fatal(err)
		}
	}
	report, err := Verify(context.Background(), o)
	if err != nil {
		l.t.Fatal(err)
	}
	var lines []string
	for _, f := range report.Findings {
		lines = append(lines, f.String())
	}
	return report, strings.Join(lines, "\n")
}

func (l *lab) continueAs(t *testing.T, origin string, old *PrivateKey) (*PrivateKey, *Continuation) {
	t.Helper()
	key, err := NewPrivateKey(origin)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Continue(t.Context(), ContinueOptions{Database: l.dsn, Key: key, Old: old, Anchors: []Anchor{l.anchor}, By: "Ada Byron", Why: "a test", Declare: true})
	if err != nil {
		t.Fatal(err)
	}
	return key, c
}

// A failover lost leaves that were signed. The log ends at what is left of it, and another one goes on; nobody who
// verifies is told that it is whole, and what was lost is counted.
func TestContinueAfterAFailover(t *testing.T) {
	t.Parallel()
	primary := newTampered(t)
	kept := primary.size
	s := primary.standby()
	lost := primary.books.calls(3, "ada") // settled, signed and anchored, and then the primary is gone
	if size := primary.sequence(); size != kept+6 {
		t.Fatalf("%d leaves", size)
	}
	bundle := primary.prove(t, lost[0].ID, false)

	// Processors settle again what their journals keep; nobody signs.
	again := *primary.books
	again.l, again.seq = s, primary.books.seq-6
	for i, d := range lost {
		again.settle(escrow.Record{Decision: d}, closed(d, end(d, pricing.NanoUSD(i+1))))
	}
	if said := s.sequenceSaying(s.key); !strings.Contains(said, "nothing is signed") || !strings.Contains(said, "it lost some") {
		t.Errorf("a processor says %s", said)
	}
	if _, found := s.found("", s.key); !strings.Contains(found, "checkpoint: checkpoint of size 53 in anchor ") {
		t.Errorf("before it is declared:\n%s", found)
	}

	second, c := s.continueAs(t, "keel.example.com/audit/2", s.key)
	if c.Kept != kept || c.Signed != kept+6 || c.Lost() != 6 {
		t.Errorf("%+v", c)
	}
	if said := s.sequenceSaying(s.key); !strings.Contains(said, "nothing is signed") {
		t.Errorf("the old key signs: %s", said)
	}
	if said := s.sequenceSaying(second); said != "" {
		t.Errorf("the new log: %s", said)
	}
	const brk = "break: log keel.example.com/audit: log keel.example.com/audit ended at 47 leaves and goes on as keel.example.com/audit/2: 6 leaves that it had signed are lost, 47 to 52; declared by Ada Byron at "
	for _, key := range []*PrivateKey{s.key, second} { // both signed: who trusts one trusts the other
		report, found := s.found("", key)
		if !strings.HasPrefix(found, brk) || strings.Contains(found, "\n") || len(report.Breaks) != 1 || report.Signed != report.Leaves {
			t.Errorf("%+v\n%s", report, found)
		}
	}
	if report, found := s.found("keel.example.com/audit/2", s.key); found != "" || len(report.Breaks) != 1 || !strings.Contains(strings.Join(report.Notices, "\n"), "6 leaves that it had signed are lost") {
		t.Errorf("accepted: %s; %v", found, report.Notices)
	}
	if _, found := s.found("keel.example.com/audit/3", s.key); !strings.HasPrefix(found, brk) {
		t.Errorf("another one was accepted, and %s", found)
	}
	// What was proven of the lost leaves stays proven, and so does what comes.
	keys, _ := log.ParseKeys(s.key.Public)
	for _, b := range [][]byte{bundle, (&tampered{lab: s}).prove(t, lost[0].ID, false)} {
		if _, err := CheckBundle(bytes.NewReader(b), keys); err != nil {
			t.Error(err)
		}
	}

	// Someone had seen more than was declared.
	more := log.Checkpoint{Origin: s.key.Origin(), Size: kept + 7}
	signed, _ := log.Sign(more, s.key)
	if err := s.anchor.Put(more.Size, signed); err != nil {
		t.Fatal(err)
	}
	if _, found := s.found("keel.example.com/audit/2", s.key); !strings.Contains(found, "truncated: checkpoint of size 54 in anchor ") || !strings.Contains(found, "1 leaves more were signed") {
		t.Errorf("a checkpoint beyond what was declared:\n%s", found)
	}
	if _, err := s.sequencer().SequenceOnce(t.Context()); err != nil {
		t.Fatal(err)
	}

	// Leaves of before the break, and the statement itself, are covered as ever.
	s.exec("set session_replication_role = replica; update keel.closeouts set cost_n = 1 where decision_id = '" + primary.id(3) + "'")
	if _, found := s.found("keel.example.com/audit/2", s.key); !strings.Contains(found, "changed: closeout "+primary.id(3)) {
		t.Errorf("after a break nothing is found: %s", found)
	}
	s.exec("update keel.audit_keys set statement = replace(statement, 'a test', 'no reason') where statement like '%continuation%'")
	if _, found := s.found("keel.example.com/audit/2", s.key); !strings.Contains(found, "changed: key ") || !strings.Contains(found, "signature: keys of the log: the statement of key keel.example.com/audit/2") {
		t.Errorf("another statement: %s", found)
	}
}

// The key is gone for good, and nothing else is.
func TestContinueWithoutTheKey(t *testing.T) {
	t.Parallel()
	x := newTampered(t)
	x.books.calls(2, "ada") // on their way
	options := func(origin string) ContinueOptions {
		key, err := NewPrivateKey(origin)
		if err != nil {
			t.Fatal(err)
		}
		return ContinueOptions{Database: x.dsn, Key: key, Anchors: []Anchor{x.anchor}, By: "Ada Byron", Why: "a test", Declare: true}
	}
	other := options(x.key.Origin())
	for want, o := range map[string]ContinueOptions{
		"which there was already": other,
		"nothing is broken":       func() ContinueOptions { o := options("o/2"); o.Old = x.key; return o }(),
		"the old key":             func() ContinueOptions { o := options("o/2"); o.Old = other.Key; return o }(),
		"why: one line":           func() ContinueOptions { o := options("o/2"); o.Why = "two\nlines"; return o }(),
		"who declares it":         func() ContinueOptions { o := options("o/2"); o.By = ""; return o }(),
	} {
		if _, err := Continue(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	look := options("keel.example.com/audit/2")
	look.Declare = false
	if c, err := Continue(t.Context(), look); err != nil || c.Lost() != 0 || c.Kept != 47 {
		t.Errorf("%+v, %v", c, err)
	}
	x.verified(t) // nothing was changed by looking
	second, _ := x.continueAs(t, "keel.example.com/audit/2", nil)
	if said := x.sequenceSaying(second); said != "" {
		t.Errorf("the new log: %s", said)
	}
	// Whoever knows the old key alone is told, once, and trusts nothing of the new one.
	report, found := x.found("keel.example.com/audit/2", x.key)
	if strings.Count(found, "\n") != 0 || !strings.Contains(found, "no key that is known has signed that") || report.Signed != 47 {
		t.Errorf("%d signed\n%s", report.Signed, found)
	}
	if report, found := x.found("keel.example.com/audit/2", second); found != "" || report.Signed != report.Leaves {
		t.Errorf("with the new key: %+v\n%s", report, found)
	}
	// And it can be rotated as any other.
	third, err := NewPrivateKey(second.Origin())
	if err != nil {
		t.Fatal(err)
	}
	if err := Rotate(t.Context(), x.dsn, second, third); err != nil {
		t.Fatal(err)
	}
	x.books.calls(2, "bob")
	if said := x.sequenceSaying(third); said != "" {
		t.Errorf("after a rotation: %s", said)
	}
	if _, found := x.found("keel.example.com/audit/2", second); found != "" {
		t.Errorf("after a rotation:\n%s", found)
	}
}

// A break that nobody declared is one that somebody made: an administrator who cuts the log and continues it with a key of his own.
func TestContinueDoesNotHide(t *testing.T) {
	t.Parallel()
	x := newTampered(t)
	x.bypass("delete from keel.checkpoints where size = 47", "delete from keel.leaves where index >= 45", "delete from keel.superseded_closeouts",
		"delete from keel.entries", "delete from keel.closeouts where version = 2", "update keel.epochs set applied_seq = 41")
	x.retile()
	mine, err := NewPrivateKey("keel.example.com/audit/2")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Continue(t.Context(), ContinueOptions{Database: x.dsn, Key: mine, By: "root", Why: "maintenance", Declare: true}); err != nil { // and no anchor
		t.Fatal(err)
	}
	x.sequenceSaying(mine)
	_, found := x.found("keel.example.com/audit/2", x.key)
	if !strings.Contains(found, "truncated: checkpoint of size 47 in anchor ") || !strings.Contains(found, "break: log keel.example.com/audit") {
		t.Errorf("with the old key:\n%s", found)
	}
	if _, found = x.found("keel.example.com/audit/2", x.key, mine); !strings.Contains(found, "2 leaves more were signed, and are missing") {
		t.Errorf("with his key:\n%s", found)
	}
}
