package ledger

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"keel/budget"
	"keel/pricing"
)

// people are n budgets, each of a user.
func people(n int) (docs budget.Documents) {
	for i := range n {
		name := fmt.Sprintf("user-%05d", i)
		docs.Budgets = append(docs.Budgets, budget.Budget{
			Meta: budget.Meta{Org: "default", Name: name}, Selector: map[string]string{"user": name}, Limit: 5_000_000_000, Window: "month", Mode: budget.Enforce,
		})
	}
	return docs
}

// However many documents one statement changes, the revision of their org is raised once: each raise walks over all those before it
// in its transaction. Every change has a revision of its own nevertheless.
func TestManyDocuments(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	s := store(t, dsn)
	const n = 2500
	if err := execute(t, dsn, `create table public.raises (by bigint not null);
create function public.raised() returns trigger language plpgsql as $$ begin insert into public.raises values (new.revision - old.revision); return null; end $$;
create trigger raised after update on keel.config_revisions for each row execute function public.raised();
create table public.statements (of text not null);
create function public.stated() returns trigger language plpgsql as $$ begin insert into public.statements values (tg_table_name); return null; end $$;
create trigger stated after insert on keel.budgets for each statement execute function public.stated()`); err != nil {
		t.Fatal(err)
	}
	raises := func() string {
		t.Helper()
		defer func() {
			if err := execute(t, dsn, "delete from public.raises; delete from public.statements"); err != nil {
				t.Fatal(err)
			}
		}()
		return query[string](t, dsn, "select coalesce(string_agg(by::text, ' '), '') || ' in ' || (select count(*) from public.statements) from public.raises")
	}
	changes, err := s.Apply(t.Context(), people(n), "ann")
	if err != nil || len(changes) != n || changes[0].Name != "user-00000" || changes[n-1].Name != "user-02499" {
		t.Fatalf("Apply: %d changes, %v", len(changes), err)
	}
	if got := raises(); got != "2500 in 1" {
		t.Errorf("revisions were raised by %s statements", got)
	}
	if changes, err := s.Apply(t.Context(), people(n), "ann"); err != nil || len(changes) != 0 {
		t.Errorf("the same again: %d changes, %v", len(changes), err)
	}
	if got := raises(); got != " in 1" {
		t.Errorf("revisions were raised by %s statements, of nothing new", got)
	}
	if err := execute(t, dsn, "update keel.budgets set limit_usd = 6 where name < 'user-02000'; delete from keel.budgets where name >= 'user-02400'"); err != nil {
		t.Fatal(err)
	}
	if got := raises(); got != "2000 100 in 0" {
		t.Errorf("revisions were raised by %s statements", got)
	}
	if got := query[string](t, dsn, "select concat_ws(' ', min(revision), max(revision), count(distinct revision), count(*), sum(version)) from keel.config_versions"); got != "1 4600 4600 4600 6700" {
		t.Errorf("versions: %s", got)
	}
	if got := query[string](t, dsn, "select string_agg(concat_ws(' ', op, n, before, after), ', ' order by op) from (select op, count(*) as n, count(before) as before, count(after) as after from keel.config_versions group by op) x"); got != "create 2500 0 2500, delete 100 100 0, update 2000 2000 2000" {
		t.Errorf("history: %s", got)
	}
	if got := query[string](t, dsn, "select concat_ws(' ', count(*), sum(cardinality(ids)), max(cardinality(ids)) <= 1000) from keel.outbox where kind = 'config'"); got != "7 4600 t" { // 3 of the first statement, 3 of the second, 1 of the third
		t.Errorf("outbox: %s", got)
	}
}

// One document of many that the database refuses is named, and nothing is kept; one that is there twice is stored twice.
func TestOneOfManyIsRefused(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	s := store(t, dsn)
	docs := people(100)
	docs.Budgets[77].Timezone = "Europe/Atlantis"
	docs.Budgets[42].Mode = "strict"
	_, err := s.Apply(t.Context(), docs, "ann")
	if err == nil || !strings.Contains(err.Error(), "Budget default/user-00042") || !strings.Contains(err.Error(), "mode must be") {
		t.Errorf("%v", err)
	}
	if n := query[int64](t, dsn, "select count(*) from keel.budgets"); n != 0 {
		t.Errorf("%d budgets are there", n)
	}
	docs = people(10)
	again := docs.Budgets[3]
	again.Limit = 7_000_000_000
	docs.Budgets = append(docs.Budgets, again)
	if changes, err := s.Apply(t.Context(), docs, "ann"); err != nil || len(changes) != 11 {
		t.Errorf("%d changes, %v", len(changes), err)
	}
	if limit := query[string](t, dsn, "select limit_usd::text from keel.budgets where name = 'user-00003'"); limit != "7" {
		t.Errorf("limit %s", limit)
	}
}

// A replica that follows reads what changed, and everything only where the history does not have it.
func TestFollowReadsWhatChanged(t *testing.T) {
	t.Parallel()
	ctx, dsn := t.Context(), database(t)
	s := store(t, dsn)
	if _, err := s.Apply(ctx, people(20), "ann"); err != nil {
		t.Fatal(err)
	}
	last, err := s.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	next := func() map[string]pricing.NanoUSD {
		t.Helper()
		err := pgx.BeginTxFunc(ctx, s.pool, snapshot, func(tx pgx.Tx) (err error) {
			last, err = last.follow(ctx, tx)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		limits := make(map[string]pricing.NanoUSD)
		for _, b := range last.Documents.Budgets {
			limits[b.Org+"/"+b.Name] = b.Limit
		}
		return limits
	}
	// 5 is changed where nobody can see it; so it shows whether 5 was read.
	const unseen = "set session_replication_role = replica; update keel.budgets set limit_usd = 55 where name = 'user-00005'; set session_replication_role = origin; "
	if err := execute(t, dsn, unseen+`update keel.budgets set limit_usd = 6 where name = 'user-00001'; update keel.budgets set limit_usd = 7 where name = 'user-00001';
delete from keel.budgets where name = 'user-00002'; insert into keel.budgets (org, name, limit_usd) values ('new', 'its', 8);
delete from keel.budgets where name = 'user-00003'; insert into keel.budgets (name, limit_usd) values ('user-00003', 9)`); err != nil {
		t.Fatal(err)
	}
	got := next()
	if len(got) != 20 || got["default/user-00001"] != 7_000_000_000 || got["default/user-00002"] != 0 || got["default/user-00003"] != 9_000_000_000 || got["new/its"] != 8_000_000_000 {
		t.Errorf("followed to %v", got)
	}
	if got["default/user-00005"] != 5_000_000_000 {
		t.Errorf("what did not change was read: %v", got["default/user-00005"])
	}
	for _, gone := range []string{
		"update keel.config_revisions set revision = revision + 1 where org = 'new'",     // a change without its history
		"update keel.config_revisions set revision = revision - 2 where org = 'default'", // changes that were lost
	} {
		last.Documents.Budgets = last.Documents.Budgets[:1]
		if err := execute(t, dsn, gone); err != nil {
			t.Fatal(err)
		}
		if got := next(); len(got) != 20 || got["default/user-00005"] != 55_000_000_000 {
			t.Errorf("%s: followed to %v", gone, got)
		}
	}
}

// A processor that has just read everything does not read it again when it begins to watch.
func TestWatchGoesOnFromASnapshot(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	s := store(t, dsn)
	if _, err := s.Apply(t.Context(), people(3), "ann"); err != nil {
		t.Fatal(err)
	}
	now, err := s.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	told := 0
	live := func(budget.Documents) { told++ }
	for range 2 {
		if err := poll(t.Context(), conn, &now, live); err != nil || told != 0 {
			t.Fatalf("told %d times of nothing new, %v", told, err)
		}
	}
	if err := execute(t, dsn, "update keel.budgets set limit_usd = 6"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := poll(t.Context(), conn, &now, live); err != nil || told != 1 {
			t.Fatalf("told %d times of one change, %v", told, err)
		}
	}
}
