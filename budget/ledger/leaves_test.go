package ledger

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"keel/budget"
	"keel/budget/audit/leaf"
	"keel/budget/ledger/record"
)

// leafAsStored makes the leaf of a row again, of what Postgres prints: field by field, by nothing that settlement makes it with.
type leafAsStored struct {
	kind leaf.Kind
	sql  string
}

// asPrinted is how a column of a type is selected.
var asPrinted = map[string]string{
	"text": "r.%s", "bigint": "r.%s::text", "integer": "r.%s::text", "boolean": "r.%s::text", "uuid": "r.%s::text", "numeric": "r.%s::text", "jsonb": "r.%s::text",
	"bytea": "encode(r.%s, 'hex')", "ARRAY": "to_jsonb(r.%s)::text", "timestamp with time zone": `to_char(r.%s at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`,
}

func newLeafAsStored(ctx context.Context, q querier, kind leaf.Kind) (*leafAsStored, error) {
	rows, err := q.Query(ctx, "select column_name::text, data_type::text from information_schema.columns where table_schema = 'keel' and table_name = $1", string(kind)+"s")
	if err != nil {
		return nil, err
	}
	types := make(map[string]string)
	var name, of string
	if _, err := pgx.ForEachRow(rows, []any{&name, &of}, func() error { types[name] = of; return nil }); err != nil {
		return nil, err
	}
	var columns []string
	for _, c := range kind.Columns() {
		columns = append(columns, fmt.Sprintf(asPrinted[types[c.Name]], c.Name))
	}
	of = "keel.decisions"
	if kind == leaf.Closeout {
		of = "(select * from keel.closeouts where version = 1 union all select (jsonb_populate_record(null::keel.closeouts, to_jsonb(s))).* from keel.superseded_closeouts s where version = 1)"
	}
	return &leafAsStored{kind, "select r.decision_id, array[" + strings.Join(columns, ", ") + "] from " + of + " r where r.org = $1 and r.decision_id = any($2)"}, nil
}

func (s *leafAsStored) hashes(ctx context.Context, q querier, org string, ids []uuid.UUID) (map[uuid.UUID]string, error) {
	labels := make(map[Label]string)
	rows, err := q.Query(ctx, "select label, value, salt from keel.label_values where org = $1", org)
	if err != nil {
		return nil, err
	}
	var l Label
	var salt []byte
	if _, err := pgx.ForEachRow(rows, []any{&l.Name, &l.Value, &salt}, func() error {
		labels[l] = leaf.Commit(org, l.Name, l.Value, salt)
		return nil
	}); err != nil {
		return nil, err
	}
	if rows, err = q.Query(ctx, s.sql, org, ids); err != nil {
		return nil, err
	}
	hashes := make(map[uuid.UUID]string)
	var id uuid.UUID
	var values []*string
	_, err = pgx.ForEachRow(rows, []any{&id, &values}, func() error {
		var fields []leaf.Field
		for i, c := range s.kind.Columns() {
			if values[i] == nil {
				continue
			}
			value, err := c.Labels.Append(nil, []byte(*values[i]), func(label, value []byte) (string, bool) {
				c, ok := labels[Label{string(label), string(value)}]
				return c, ok
			})
			if err != nil {
				return fmt.Errorf("%s of %s: %w", c.Name, id, err)
			}
			fields = append(fields, leaf.Field{Name: c.Name, Value: string(value)})
		}
		h := leaf.Hash(leaf.Append(nil, s.kind, fields))
		hashes[id] = string(h[:])
		return nil
	})
	return hashes, err
}

// hashed are the leaves that are announced, by kind and id.
func (l *lab) hashed() map[leaf.Kind]map[uuid.UUID]string {
	l.t.Helper()
	rows, err := l.pool.Query(context.Background(), "select kind, ids, hashes from keel.outbox where hashes is not null and org = 'acme'")
	if err != nil {
		l.t.Fatal(err)
	}
	all := map[leaf.Kind]map[uuid.UUID]string{leaf.Decision: {}, leaf.Closeout: {}}
	var kind leaf.Kind
	var ids []uuid.UUID
	var hashes []byte
	if _, err := pgx.ForEachRow(rows, []any{&kind, &ids, &hashes}, func() error {
		if len(hashes) != 32*len(ids) {
			return fmt.Errorf("%d bytes for %d leaves", len(hashes), len(ids))
		}
		for i, id := range ids {
			all[kind][id] = string(hashes[32*i : 32*i+32])
		}
		return nil
	}); err != nil {
		l.t.Fatal(err)
	}
	return all
}

// leavesAreThoseOfRows compares every leaf that settlement made with what is stored. Every test that settles does.
func (l *lab) leavesAreThoseOfRows() {
	l.t.Helper()
	for kind, announced := range l.hashed() {
		s, err := newLeafAsStored(context.Background(), l.pool, kind)
		if err != nil {
			l.t.Fatal(err)
		}
		stored, err := s.hashes(context.Background(), l.pool, "acme", slices.Collect(maps.Keys(announced)))
		if err != nil {
			l.t.Fatal(err)
		}
		for id, hash := range announced {
			if stored[id] != hash {
				l.t.Errorf("%s %s is announced with a leaf that is not that of its row", kind, id)
			}
		}
	}
}

// The usual call is announced with its leaves; what is odd, what meets others, and what is corrected is not.
func TestSettlementMakesLeaves(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.budget("a", 1000, "month")
	j, other := l.journal(), l.journal()
	j.lease(thisMonth("a"), 500)
	usual := admitted(enforced(thisMonth("a"), 10))
	usual.Subject = budget.Subject{"team": "research", "user": "ada, \"=%~\n", "app": "", "é": "世"}
	usual.Holds[0].Account.Key = "user=ada%2C%20\"%3D%25%7E%0A,app="
	usual.Shape.Bytes = map[string]int64{"text": 1, "b": 2, "system": 3, "aa": 4}
	denied := admitted()
	denied.Action, denied.Denial = budget.Deny, &budget.Denial{Status: 429, Code: "budget", Message: "no", Details: map[string]string{"account": "user=bob", "budget": "a", "a": "x"}}
	j.settle(decided(usual), j.closed(usual, ended(usual, 3)), decided(denied))
	odd := admitted(enforced(thisMonth("a"), 10))
	odd.Path = "/\xff"
	exponent := ended(odd, 3)
	exponent.RawUsage = []byte(`{"cost":1e-7}`)
	j.settle(decided(odd), j.closed(odd, exponent))
	foreign, late := admitted(enforced(thisMonth("a"), 10)), admitted(enforced(thisMonth("a"), 10))
	j.settle(decided(foreign))
	other.settle(unknown(ended(foreign, 2)), unknown(ended(late, 2)))
	j.settle(decided(late)) // its closeout has version 2 now
	stream := admitted(enforced(thisMonth("a"), 10))
	j.settle(decided(stream), extended(stream, 5), j.closed(stream, ended(stream, 12), 5), j.closed(stream, ended(stream, 13), 5))

	hashed := l.hashed()
	for name, c := range map[string]struct {
		id   uuid.UUID
		want [2]bool
	}{"usual": {usual.ID, [2]bool{true, true}}, "denied": {denied.ID, [2]bool{true, false}}, "odd": {odd.ID, [2]bool{false, false}}, "foreign": {foreign.ID, [2]bool{true, false}},
		"late": {late.ID, [2]bool{true, false}}, "stream": {stream.ID, [2]bool{true, true}}} {
		_, decision := hashed[leaf.Decision][c.id]
		_, closeout := hashed[leaf.Closeout][c.id]
		if got := [2]bool{decision, closeout}; got != c.want {
			t.Errorf("%s: decision and closeout have leaves: %v, want %v", name, got, c.want)
		}
	}
	if n := query[int](t, l.dsn, "select count(*) from keel.label_values"); n < 4 {
		t.Errorf("%d labels have salts", n)
	}
}

// While somebody erases settlement does not wait, and leaves the leaves to the sequencer; who erases waits for what is being settled.
func TestLeavesKeepErasuresAway(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.budget("a", 1000, "month")
	j := l.journal()
	j.lease(thisMonth("a"), 500)
	d := admitted(enforced(thisMonth("a"), 10))
	tx, err := l.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	if _, err := tx.Exec(t.Context(), "select pg_advisory_xact_lock($1)", int64(EraseLock)); err != nil {
		t.Fatal(err)
	}
	j.settle(decided(d), j.closed(d, ended(d, 3)))
	if hashed := l.hashed(); len(hashed[leaf.Decision])+len(hashed[leaf.Closeout]) > 0 {
		t.Error("leaves were made while labels are erased")
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	d = admitted(enforced(thisMonth("a"), 10))
	if tx, err = l.pool.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := settlement{ctx: t.Context(), tx: tx, org: "acme", epoch: j.epoch, money: newBooking(), states: make(map[uuid.UUID]string),
		here: make(map[uuid.UUID]*budget.Decision)}
	if _, err := s.settle(j.batch(decided(d), j.closed(d, ended(d, 3))).Records); err != nil {
		t.Fatal(err)
	}
	const alone = "select pg_try_advisory_xact_lock($1)"
	if query[bool](t, l.dsn, alone, int64(EraseLock)) {
		t.Error("labels can be erased while leaves are made")
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !query[bool](t, l.dsn, alone, int64(EraseLock)) {
		t.Error("the lock stays")
	}
	if hashed := l.hashed(); len(hashed[leaf.Decision]) != 1 || len(hashed[leaf.Closeout]) != 1 {
		t.Errorf("%v", hashed)
	}
}

// Whatever a record holds: its leaf is that of the row that Postgres keeps, or there is none.
func TestLeavesOfAnyRecord(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.broken = true // there are rows without accounts
	tx, err := l.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	texts := rapid.OneOf(plainTexts(), rapid.SampledFrom([]string{"account", `"key": "`, `x"account": "user=y`, "~", "user=ada,b=%22", "a\"b", "\u007f", leaf.Commit("acme", "a", "b", []byte("x"))}))
	raws := rapid.SampledFrom([]string{``, `{"b":1.50,"a":{"y":[1,{}],"x":"\"\\\n/"}}`, ` {"a" : [ ] } `, `{"a":1,"a":2}`, `1e5`, `-0.0`, `-1.25`, `"\u00e9\/"`, `{"key":"user=x","account":"user=y"}`, `no json`, `[0.10,true,null,"é世"]`})
	made := 0
	check := func(t *rapid.T, kind leaf.Kind, labels *leafLabels, copySQL string, write []func(*rowBuffer, *leafMaker) (uuid.UUID, [32]byte, bool)) {
		batch := &pgx.Batch{}
		labels.queue(batch, "acme")
		if err := tx.SendBatch(context.Background(), batch).Close(); err != nil {
			t.Fatal(err)
		}
		leaves, err := labels.maker(context.Background(), tx, "acme")
		if err != nil {
			t.Fatal(err)
		}
		want := make(map[uuid.UUID]string)
		if err := copyRows(context.Background(), tx.Conn(), copySQL, func(r *rowBuffer) bool {
			if len(write) == 0 {
				return false
			}
			if id, hash, ok := write[0](r, leaves); ok {
				want[id] = string(hash[:])
			}
			write = write[1:]
			return true
		}); err != nil {
			t.Fatal(err)
		}
		s, err := newLeafAsStored(context.Background(), tx, kind)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.hashes(context.Background(), tx, "acme", slices.Collect(maps.Keys(want)))
		if err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(got, want) {
			t.Fatalf("of %d leaves of %ss some are not those of the rows", len(want), kind)
		}
		made += len(want)
	}
	decisions, closeouts := rowValues[budget.Decision](texts), rowValues[record.Closeout](texts)
	digest := record.DigestOf(record.KindDecision, []byte("x"))
	rapid.Check(t, func(t *rapid.T) {
		labels := newLeafLabels()
		var write []func(*rowBuffer, *leafMaker) (uuid.UUID, [32]byte, bool)
		for range 10 {
			d := decisions.Draw(t, "decision")
			d.ID = uuid.Must(uuid.NewV7())
			labels.decision(&d)
			write = append(write, func(r *rowBuffer, leaves *leafMaker) (id uuid.UUID, hash [32]byte, ok bool) {
				if r.decision("acme", d.ID, 7, &digest, &d) {
					hash, ok = leaves.hash(decisionLeaves, r)
				}
				return d.ID, hash, ok
			})
		}
		check(t, leaf.Decision, labels, copyDecisions, write)
	})
	if made == 0 {
		t.Error("no decision has a leaf")
	}
	made = 0
	rapid.Check(t, func(t *rapid.T) {
		labels := newLeafLabels()
		var write []func(*rowBuffer, *leafMaker) (uuid.UUID, [32]byte, bool)
		for range 10 {
			c := closeouts.Draw(t, "closeout")
			c.ID, c.Outcome, c.Metered, c.RawUsage = uuid.Must(uuid.NewV7()), budget.Complete, budget.ByProvider, []byte(raws.Draw(t, "usage"))
			if c.Cost.Total < 0 {
				c.Cost.Total = -(c.Cost.Total + 1)
			}
			labels.closeout(&c)
			write = append(write, func(r *rowBuffer, leaves *leafMaker) (id uuid.UUID, hash [32]byte, ok bool) {
				if r.closeout("acme", c.ID, 7, &digest, &c) {
					hash, ok = leaves.hash(closeoutLeaves, r)
				}
				return c.ID, hash, ok
			})
		}
		check(t, leaf.Closeout, labels, copyCloseouts, write)
	})
	if made == 0 {
		t.Error("no closeout has a leaf")
	}
}

// What the printer prints is what Postgres does.
func TestPrinterIsPostgres(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	texts := rapid.OneOf(rapid.StringMatching(`[a-c]{0,2}`), rapid.StringMatching(`[ -~é世\x{7f}]{0,6}`), rapid.SampledFrom([]string{`\n`, `\"`, `\\`, `\b\f\r\t`, `\/`, `\u0041`, `\u000b`}))
	quoted := rapid.Map(texts, func(s string) string {
		if !strings.HasPrefix(s, `\`) {
			s = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s)
		}
		return `"` + s + `"`
	})
	numbers := rapid.OneOf(rapid.StringMatching(`-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,20})?`), rapid.StringMatching(`-?[0-9](\.0)?([eE][+-]?[0-9]{1,2})?`))
	space := rapid.SampledFrom([]string{"", "", " ", "\n\t\r "})
	var value func(depth int) *rapid.Generator[string]
	value = func(depth int) *rapid.Generator[string] {
		scalars := rapid.OneOf(quoted, numbers, rapid.SampledFrom([]string{"true", "false", "null"}))
		if depth == 0 {
			return scalars
		}
		inner := rapid.Custom(func(t *rapid.T) string {
			return space.Draw(t, "space") + value(depth-1).Draw(t, "value") + space.Draw(t, "space")
		})
		members := rapid.Custom(func(t *rapid.T) string { return quoted.Draw(t, "name") + ":" + inner.Draw(t, "value") })
		return rapid.OneOf(scalars,
			rapid.Map(rapid.SliceOfN(inner, 0, 4), func(v []string) string { return "[" + strings.Join(v, ",") + "]" }),
			rapid.Map(rapid.SliceOfN(members, 0, 5), func(v []string) string { return "{" + strings.Join(v, ",") + "}" }))
	}
	var p leaf.Printer
	printed, all := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		var in, got []string
		for _, json := range rapid.SliceOfN(value(3), 20, 20).Draw(t, "json") {
			all++
			if b, ok := p.Print(nil, []byte(json)); ok {
				in, got = append(in, json), append(got, string(b))
			}
		}
		printed += len(in)
		var want []string
		if err := l.pool.QueryRow(context.Background(), "select coalesce(array_agg(x::jsonb::text order by n), '{}') from unnest($1::text[]) with ordinality j (x, n)", in).Scan(&want); err != nil {
			t.Fatal(err)
		}
		for i := range in {
			if got[i] != want[i] {
				t.Fatalf("%s is printed as %s, and by Postgres as %s", in[i], got[i], want[i])
			}
		}
	})
	if printed < all/4 {
		t.Errorf("%d of %d were printed", printed, all)
	}
}

// Columns are read as what they are.
func TestLeafForms(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	for kind, f := range map[leaf.Kind]*leafForm{leaf.Decision: decisionLeaves, leaf.Closeout: closeoutLeaves} {
		got := make(map[string]string)
		if len(f.columns) != len(kind.Columns()) {
			t.Fatalf("%s: settlement writes %d of %d columns: those that it does not write must be null when it does", kind, len(f.columns), len(kind.Columns()))
		}
		for i, c := range kind.Columns() {
			got[c.Name] = map[form]string{asText: "text", asInt: "bigint", asBool: "boolean", asID: "uuid", asTime: "timestamp with time zone", asStored: "timestamp with time zone", asBytes: "bytea",
				asJSON: "jsonb", asTexts: "ARRAY", asFirst: "bigint"}[f.columns[i].form]
		}
		if kind == leaf.Closeout {
			got["provider_cost_usd"] = "numeric" // a row that has one is odd
		}
		want := query[map[string]string](t, dsn, "select jsonb_object_agg(column_name, case data_type when 'integer' then 'bigint' else data_type end) from information_schema.columns where table_schema = 'keel' and table_name = $1", string(kind)+"s")
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", kind, got, want)
		}
	}
}

// BenchmarkLeaves writes the rows of a usual call, with and without their leaves.
func BenchmarkLeaves(b *testing.B) {
	j := &testJournal{epoch: uuid.Must(uuid.NewV7())}
	d, c := usualCall(j)
	labels := newLeafLabels()
	labels.decision(d.Decision)
	m := leafMakers.Get().(*leafMaker)
	for _, l := range labels.all {
		m.known[l] = leaf.Commit("acme", l.Name, l.Value, []byte("salt"))
	}
	for name, leaves := range map[string]*leafMaker{"rows": nil, "rows and leaves": m} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := newRows()
				_, first := r.decision("acme", j.epoch, 1, &d.Digest, d.Decision), false
				if _, first = leaves.hash(decisionLeaves, r); first != (leaves != nil) {
					b.Fatal("no leaf")
				}
				r.closeout("acme", j.epoch, 2, &c.Digest, c.Closeout)
				_, _ = leaves.hash(closeoutLeaves, r)
				r.free()
			}
		})
	}
}
