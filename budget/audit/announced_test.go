package audit

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"keel/budget"
	"keel/budget/audit/leaf"
	"keel/budget/ledger/escrow"
	"keel/pricing"
)

// anyCalls are calls of any kind: usual ones, odd ones, one that is denied, one that is presumed, and one whose closeout is corrected.
func (b *books) anyCalls() (all []*budget.Decision) {
	b.l.t.Helper()
	all = b.calls(6, "ada", "bob, \"=%~", "")
	for i, user := range []string{"ada", "eve"} {
		d, denied := call(user), call(user)
		denied.Action, denied.Denial = budget.Deny, &budget.Denial{Status: 429, Code: "budget", Message: "no", Details: map[string]string{"account": "user=" + user, "budget": "each"}}
		usually, c := usual(user)
		usually.Subject["note"] = "a\nb\"c"
		b.settle(escrow.Record{Decision: d}, closed(d, oddEnd(d, pricing.NanoUSD(i+1))), escrow.Record{Decision: denied}, escrow.Record{Decision: usually}, closed(usually, c))
		all = append(all, d, denied, usually)
	}
	open := call("ada")
	b.settle(escrow.Record{Decision: open})
	b.l.exec("update keel.open_decisions set opened_at = opened_at - interval '2 days'")
	if _, err := b.l.bank.Sweep(context.Background()); err != nil {
		b.l.t.Fatal(err)
	}
	b.settle(closed(open, end(open, 12)))
	return append(all, open)
}

// announced are the hashes that settlement announced, by what they are of.
func (l *lab) announced() map[string]string {
	l.t.Helper()
	return query[map[string]string](l, `
select coalesce(jsonb_object_agg(o.kind || ' ' || i.id, encode(substring(o.hashes from 32 * i.n::int - 31 for 32), 'hex')), '{}')
from keel.outbox o cross join unnest(o.ids) with ordinality i (id, n) where o.hashes is not null`)
}

// A leaf that settlement announces is the one that is made of the stored row.
func TestAnnouncedLeavesAreThoseOfRows(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	all := l.books().anyCalls()
	announced := l.announced()
	if n := len(announced); n != 13+8 { // all decisions; closeouts but two odd ones and two of the call that was presumed
		t.Errorf("%d leaves are announced", n)
	}
	l.exec("update keel.outbox set hashes = null") // as a processor of before announces records
	l.sequence()
	for of, hash := range announced {
		kind, id, _ := strings.Cut(of, " ")
		if got := hex.EncodeToString(query[[]byte](l, "select hash from keel.leaves where kind = $1 and id = $2::text::uuid and version = 1", kind, id)); got != hash {
			t.Errorf("%s was announced with %s, and its row has %s", of, hash, got)
		}
	}
	l.verified(t)
	if len(all) != 13 {
		t.Errorf("%d calls", len(all))
	}
}

// What is erased between settlement and the log stays what it was announced as: with the salt that the leaf was made with.
func TestErasedBeforeTheLog(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	b := l.books()
	b.anyCalls()
	announced := l.announced()
	for _, user := range []string{"ada", "bob, \"=%~"} {
		e, err := Erase(t.Context(), l.dsn, "acme", "user", user)
		if err != nil {
			t.Fatal(err)
		}
		if !leaf.Committed(e.Pseudonym) {
			t.Errorf("%+v", e)
		}
		if n := query[int](l, "select count(*) from keel.decisions where subject->>'user' = $1", e.Pseudonym); n < 2 {
			t.Errorf("%d decisions have the pseudonym", n)
		}
	}
	b.calls(4, "ada", "eve") // she is back, with another salt
	l.sequence()
	l.verified(t)
	for of, hash := range announced {
		kind, id, _ := strings.Cut(of, " ")
		if got := hex.EncodeToString(query[[]byte](l, "select hash from keel.leaves where kind = $1 and id = $2::text::uuid and version = 1", kind, id)); got != hash {
			t.Errorf("%s was announced with %s, and has %s", of, hash, got)
		}
	}
}

// Who changes a record between settlement and the log is found, and so is who changes the hash that it was announced with.
func TestTamperingBeforeTheLog(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, want string }{
		"a closeout":           {"update keel.closeouts set cost_n = cost_n - 1 where decision_id = '%s'", "changed: closeout %s"},
		"a decision":           {"update keel.decisions set reason = 'x' where decision_id = '%s'", "changed: decision %s"},
		"when it was stored":   {"update keel.decisions set stored_at = stored_at - interval '1 microsecond' where decision_id = '%s'", "changed: decision %s"},
		"an announced hash":    {"update keel.outbox set hashes = overlay(hashes placing sha256('x') from 1) where kind = 'decision' and ids[1] = '%s'", "changed: decision %s"},
		"a hash that is short": {"update keel.outbox set hashes = 'x' where ids[1] = '%s'", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			id := l.books().calls(3, "ada")[0].ID
			l.exec(fmt.Sprintf("set session_replication_role = replica; "+c.sql, id))
			l.sequence()
			var found []string
			for _, f := range l.verify(t).Findings {
				found = append(found, f.String())
			}
			if all := strings.Join(found, "\n"); c.want != "" && !strings.Contains(all, fmt.Sprintf(c.want, id)) || c.want == "" && all != "" {
				t.Errorf("found %s", all)
			}
		})
	}
}

// Labels wait to be erased until what is being settled is there, with its leaves.
func TestEraseWaitsForLeaves(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	b := l.books()
	b.calls(2, "ada")
	tx, err := l.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), "select pg_advisory_xact_lock_shared(x'6b65656c73616c74'::bigint)"); err != nil { // as settlement does
		t.Fatal(err)
	}
	erased := make(chan error, 1)
	go func() {
		_, err := Erase(context.Background(), l.dsn, "acme", "user", "ada")
		erased <- err
	}()
	for query[int](l, "select count(*) from pg_locks where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database())") == 0 {
		select {
		case err := <-erased:
			t.Fatalf("it did not wait: %v", err)
		default:
		}
	}
	b.calls(1, "bob") // nobody waits for who waits
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-erased; err != nil {
		t.Fatal(err)
	}
	l.sequence()
	l.verified(t)
}
