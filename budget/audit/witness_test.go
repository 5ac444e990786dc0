package audit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/budget/ledger"
	"keel/budget/ledger/record"
	"keel/pricing"
)

// processed is a lab whose records a real Ledger wrote: to a journal, and from there to the database. It is closed.
func processed(t *testing.T, n int) (l *lab, dir string, calls []*budget.Decision) {
	t.Helper()
	l, dir = newLab(t), t.TempDir()
	l.exec(`insert into keel.budgets (org, name, limit_usd, mode) values ('acme', 'all', 1, 'observe')`)
	p, err := ledger.Open(t.Context(), l.dsn, ledger.Options{Logger: quiet, Journal: dir, JournalSegment: 1 << 20, MaxConns: 4, SweepEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		d := call([]string{"ada", "bob"}[i%2])
		d.Holds = d.Holds[:1]
		if i%7 == 3 {
			d.Action, d.Denial = budget.Deny, &budget.Denial{Status: 429, Code: "budget_exceeded", Message: "no", Details: map[string]string{"account": "user=ada"}}
		}
		if err := p.Permit(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if calls = append(calls, d); d.Action != budget.Deny {
			end := end(d, pricing.NanoUSD(i+1))
			p.CloseOut(&end)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := p.Close(ctx); err != nil {
		t.Fatal(err)
	}
	return l, dir, calls
}

// withJournals verifies, and returns the findings in lines.
func (l *lab) withJournals(dirs ...string) (*Report, string) {
	l.t.Helper()
	o := VerifyOptions{Database: l.dsn, Journals: dirs}
	if err := o.Keys.Add(l.key.Public); err != nil {
		l.t.Fatal(err)
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

// Who changes a record before it comes into the log, and takes away the leaf that it was announced with, changes its leaf as well: the
// journal contradicts him.
func TestJournalsAreWitnesses(t *testing.T) {
	t.Parallel()
	l, dir, calls := processed(t, 20)
	report, found := l.withJournals(dir)
	if found != "" || report.OnDisk != 37 || report.Waiting != 0 {
		t.Fatalf("before anybody tampered: %+v\n%s", report, found)
	}
	id := calls[5].ID.String()
	const bypass = "set session_replication_role = replica; %s; set session_replication_role = origin"
	l.exec(fmt.Sprintf(bypass, "update keel.closeouts set cost_n = 1, charges = jsonb_set(charges, '{0,amount}', '1') where decision_id = '"+id+"'; "+
		"update keel.accounts set settled_n = settled_n - 5, forced_n = forced_n - 5 where budget = 'all'; update keel.decisions set model = 'gpt-4', expected_n = expected_n + 1 where decision_id = '"+id+"'"))
	l.exec("update keel.outbox set hashes = null")
	l.sequence() // and only now it gets its leaf
	l.verified(t)
	_, found = l.withJournals(dir)
	for _, want := range []string{"changed: closeout " + id + " of org acme: journal ", "in record 11: cost_n, charges", "changed: decision " + id + " of org acme", "model, expected_n"} {
		if !strings.Contains(found, want) {
			t.Errorf("nothing says %q in\n%s", want, found)
		}
	}
	if n := strings.Count(found, "\n"); n != 1 {
		t.Errorf("found\n%s", found)
	}
}

// A record that is gone with all that tells of it was never in the log, and is still in the journal.
func TestJournalsTellWhatIsGone(t *testing.T) {
	t.Parallel()
	l, dir, calls := processed(t, 20)
	last := calls[19].ID.String()
	epoch := query[uuid.UUID](l, "select epoch from keel.epochs")
	head := record.ChainStart(epoch, "acme")
	digests := query[[][]byte](l, `select array_agg(digest order by seq) from (select seq, digest from keel.decisions where seq is not null union all select seq, digest from keel.closeouts where seq is not null
		union all select seq, digest from keel.entries where seq is not null) x where seq <= 35`)
	for i, d := range digests {
		head = record.ChainNext(head, uint64(i+1), record.Digest(d))
	}
	l.exec("set session_replication_role = replica; delete from keel.closeouts where decision_id = '" + last + "'; delete from keel.decisions where decision_id = '" + last +
		"'; delete from keel.outbox where kind <> 'config'; insert into keel.outbox (org, kind, ids) select 'acme', 'decision', array_agg(decision_id) from keel.decisions" +
		" union all select 'acme', 'closeout', array_agg(decision_id) from keel.closeouts union all select 'acme', 'entry', array_agg(entry_id) from keel.entries having count(*) > 0; update keel.accounts set settled_n = settled_n - 20, forced_n = forced_n - 20 where budget = 'all'")
	l.exec("update keel.epochs set applied_seq = 35, chain = $1", head[:])
	l.exec("delete from keel.entries where seq > 35")
	l.sequence()
	l.verified(t) // the database alone is in order
	if _, found := l.withJournals(dir); !strings.Contains(found, "removed: records 36 to 37 of journal "+epoch.String()) || strings.Contains(found, "\n") {
		t.Errorf("found\n%s", found)
	}
	second, err := NewPrivateKey("keel.example.com/audit/2")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Continue(t.Context(), ContinueOptions{Database: l.dsn, Key: second, Journals: []string{dir}, By: "Ada Byron", Why: "a test", Declare: true}); err == nil || !strings.Contains(err.Error(), "journals hold 2 records that the database lacks") {
		t.Errorf("a break was declared while a journal could mend it: %v", err)
	}
	// One in the middle, whose number an entry takes.
	id := calls[4].ID.String()
	l.exec("set session_replication_role = replica; insert into keel.entries (org, epoch, seq, kind, decision_id, digest) select org, epoch, seq, 'return', decision_id, digest from keel.closeouts where decision_id = '" + id + "'; delete from keel.closeouts where decision_id = '" + id + "'")
	if _, found := l.withJournals(dir); !strings.Contains(found, "removed: closeout "+id+" of org acme: journal "+epoch.String()+" has it on disk as record ") {
		t.Errorf("found\n%s", found)
	}
}

// What is no difference: a value that was erased; what waits. And what can't be compared is said.
func TestJournalsThatAgree(t *testing.T) {
	t.Parallel()
	l, dir, _ := processed(t, 20)
	l.sequence()
	if _, err := Erase(t.Context(), l.dsn, "acme", "user", "ada"); err != nil {
		t.Fatal(err)
	}
	if report, found := l.withJournals(dir); found != "" || report.OnDisk != 37 {
		t.Errorf("after an erasure: %+v\n%s", report, found)
	}
	// A journal that nobody settles yet.
	p, err := ledger.Open(t.Context(), l.dsn, ledger.Options{Logger: quiet, Journal: filepath.Join(t.TempDir(), "second"), MaxConns: 4, SweepEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(context.Background()) })
	if _, err := Verify(t.Context(), VerifyOptions{Database: l.dsn, Journals: []string{filepath.Join(dir, "nowhere")}}); err == nil {
		t.Error("a folder that is not there was verified")
	}
	empty := t.TempDir()
	report, found := l.withJournals(empty)
	notices := strings.Join(report.Notices, "\n")
	if found != "" || !strings.Contains(notices, "has no journal") || !strings.Contains(notices, "was settled from within 24 hours, and is in none of the folders") {
		t.Errorf("%s\n%s", found, notices)
	}
	// The disk lies.
	names, err := filepath.Glob(filepath.Join(dir, "*", "000001.*"))
	if err != nil || len(names) != 1 {
		t.Fatalf("%v, %v", names, err)
	}
	data, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	data[5000] ^= 1
	if err := os.WriteFile(names[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, found := l.withJournals(dir); !strings.Contains(found, "changed: journal ") || !strings.Contains(found, "on disk: ") {
		t.Errorf("a journal that was changed:\n%s", found)
	}
}
