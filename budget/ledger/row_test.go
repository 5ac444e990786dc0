package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
	"pgregory.net/rapid"

	"keel/budget"
	"keel/budget/audit/leaf"
	"keel/budget/ledger/pgcopy"
	"keel/budget/ledger/record"
	"keel/pricing"
	"keel/pricing/meter"
)

// rowValues draws a decision or a closeout whose strings are texts.
func rowValues[T any](texts *rapid.Generator[string]) *rapid.Generator[T] {
	nothing := rapid.Just[any](nil)
	numbers := rapid.OneOf(rapid.Int64Range(-200, 200), rapid.Int64()).AsAny()
	times := rapid.Custom(func(t *rapid.T) time.Time {
		return time.Unix(rapid.Int64Range(-62135596800, 253402300799).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC()
	}).AsAny()
	return rapid.MakeCustom[T](rapid.MakeConfig{
		Kinds: map[reflect.Kind]*rapid.Generator[any]{reflect.String: texts.AsAny(), reflect.Int64: numbers, reflect.Int: rapid.IntRange(-9, 600).AsAny()},
		Types: map[reflect.Type]*rapid.Generator[any]{
			reflect.TypeFor[time.Time]():     times,
			reflect.TypeFor[time.Duration](): numbers,
			reflect.TypeFor[meter.Kind]():    rapid.Map(rapid.IntRange(0, meter.NumKinds-1), func(k int) meter.Kind { return meter.Kind(k) }).AsAny(),
		},
		Fields: map[reflect.Type]map[string]*rapid.Generator[any]{
			reflect.TypeFor[budget.Call]():     {"Prompt": nothing, "Routable": nothing, "Constrainable": nothing, "Changeable": nothing, "Watchable": nothing},
			reflect.TypeFor[budget.Decision](): {"Alternatives": nothing, "Budgets": nothing, "Constraint": nothing, "Watched": nothing, "Rewrites": nothing},
			reflect.TypeFor[budget.Attempt]():  {"Bill": nothing},
			reflect.TypeFor[budget.Closeout](): {"ProviderCost": rapid.Just("").AsAny(), "RawUsage": rapid.SampledFrom([][]byte{nil, []byte(`{"a":[1,2.5e3,"\u0041"]}`), []byte(`no json`), []byte(`"\u0000"`), []byte(`[1e99999]`)}).AsAny()},
		},
	})
}

// Generators are made anew for each test: rapid's write down their names when they fail to draw, and these run at the same time.
func plainTexts() *rapid.Generator[string] {
	return rapid.StringMatching(`[a-zA-Z0-9 .:/,"<>&\n\t\x{7f}é世🙂\x{2028}-]{0,9}`)
}

func hostileTexts() *rapid.Generator[string] {
	return rapid.OneOf(plainTexts(), rapid.SampledFrom([]string{"\x00", `\u0000`, `\ud800`, "\xff", "a\x01", "é\xf0\x9f", "\\"}))
}

// A row of a COPY says what the INSERT of the same columns says: of every plain record, and of no other one wrongly.
func TestRowsAreWhatIsInserted(t *testing.T) {
	t.Parallel()
	org, epoch := "acme", uuid.Must(uuid.NewV7())
	digest := record.DigestOf(record.KindDecision, []byte("x"))
	for name, texts := range map[string]func() *rapid.Generator[string]{"plain": plainTexts, "hostile": hostileTexts} {
		plain := name == "plain"
		t.Run("decision, "+name, func(t *testing.T) {
			t.Parallel()
			values := rowValues[budget.Decision](texts())
			rapid.Check(t, func(t *rapid.T) {
				d := values.Draw(t, "decision")
				r := newRows()
				defer r.free()
				if !r.decision(org, epoch, 7, &digest, &d) {
					odd(t, r, plain)
					return
				}
				var columns decisionColumns
				columns.add(7, &digest, &d)
				sameRow(t, r, insertDecisions, columns.args(org, epoch))
			})
		})
		t.Run("closeout, "+name, func(t *testing.T) {
			t.Parallel()
			values := rowValues[record.Closeout](texts())
			rapid.Check(t, func(t *rapid.T) {
				c := values.Draw(t, "closeout")
				r := newRows()
				defer r.free()
				if !r.closeout(org, epoch, 7, &digest, &c) {
					odd(t, r, plain)
					return
				}
				var columns closeoutColumns
				columns.add(7, &digest, &c, false)
				sameRow(t, r, insertCloseouts, columns.args(org, epoch))
			})
		})
	}
}

// FuzzForeign holds what is written of somebody else's JSON against storableJSON, printed where that is certain.
func FuzzForeign(f *testing.F) {
	for _, json := range []string{"", `{"b":1,"a":[2.5,"x"]}`, `{"a":"\\ud800"}`, `"\\u0000"`, `"\u0041"`, `[1e3]`, `[1e99999]`, "\"\xff\"", "\"\x7fé\"", `no json`, `-0`, `{"a":1,"a":2}`, ` [true , null] `, strings.Repeat("[", 70) + strings.Repeat("]", 70)} {
		f.Add([]byte(json))
	}
	f.Fuzz(func(t *testing.T, json []byte) {
		got, want := newRows(), newRows()
		defer got.free()
		defer want.free()
		got.begin(1)
		got.foreign(json)
		want.begin(1)
		if storable := storableJSON(json); storable == nil {
			want.Null()
		} else {
			start := want.json()
			if printed, ok := new(leaf.Printer).Print(nil, storable); ok {
				want.B = append(want.B, printed...)
			} else {
				want.B, want.unsure = append(want.B, storable...), true
			}
			want.jsonEnds(start)
		}
		if !bytes.Equal(got.Last(), want.Last()) || got.unsure != want.unsure {
			t.Fatalf("%q is written as %q (unsure %t), want %q (%t)", json, got.Last(), got.unsure, want.Last(), want.unsure)
		}
	})
}

// copyHeader are the bytes before the first row: the signature, flags, and the length of an extension.
const copyHeader = 11 + 4 + 4

func odd(t *rapid.T, r *rowBuffer, plain bool) {
	if plain {
		t.Fatal("a plain row is odd")
	}
	if len(r.B) != copyHeader || r.Count != 0 {
		t.Fatal("something of a row that is refused is left")
	}
}

func sameRow(t *rapid.T, r *rowBuffer, insert string, args []any) {
	names, selects := projection(insert)
	b := r.B[copyHeader:]
	n := int(binary.BigEndian.Uint16(b))
	if b = b[2:]; n != len(names) || n != len(args) {
		t.Fatalf("%d fields, want %d", n, len(names))
	}
	for i, name := range names {
		var field []byte
		size := int32(binary.BigEndian.Uint32(b))
		if b = b[4:]; size >= 0 {
			field, b = b[:size:size], b[size:]
			if field == nil {
				field = []byte{}
			}
		}
		want := args[i]
		if i >= 2 { // the first two are of all rows
			want = reflect.ValueOf(want).Index(0).Interface()
		}
		isJSON := strings.Contains(selects, " "+name+"::jsonb")
		got := readField(t, field, want, isJSON, strings.Contains(selects, " "+name+"::text[]"))
		if diff := cmp.Diff(canonical(want, isJSON), got); diff != "" {
			t.Fatalf("%s: -inserted +copied\n%s", name, diff)
		}
		if isJSON && field != nil && !r.unsure { // a leaf has it as Postgres prints it
			if printed, ok := new(leaf.Printer).Print(nil, field[1:]); ok && string(printed) != string(field[1:]) {
				t.Fatalf("%s: %s, printed %s", name, field[1:], printed)
			}
		}
	}
	if len(b) > 0 {
		t.Fatalf("%d bytes behind the row", len(b))
	}
}

// canonical is a value of a column as readField reads it: nil for null.
func canonical(v any, isJSON bool) any {
	switch v := v.(type) {
	case pgtype.Int8:
		if !v.Valid {
			return nil
		}
		return v.Int64
	case time.Time:
		return v.UnixMicro()
	case []byte:
		return string(v)
	}
	if p := reflect.ValueOf(v); p.Kind() == reflect.Pointer {
		if p.IsNil() {
			return nil
		}
		return canonical(p.Elem().Interface(), isJSON)
	}
	if isJSON {
		return parsed([]byte(v.(string)))
	}
	return v
}

func parsed(text []byte) any {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return fmt.Sprintf("%v: %s", err, text)
	}
	return v
}

func readField(t *rapid.T, field []byte, want any, isJSON, isArray bool) any {
	if field == nil {
		return nil
	}
	if p := reflect.TypeOf(want); p.Kind() == reflect.Pointer {
		want = reflect.Zero(p.Elem()).Interface()
	}
	switch want.(type) {
	case int64, pgtype.Int8:
		return int64(binary.BigEndian.Uint64(field))
	case time.Time:
		return int64(binary.BigEndian.Uint64(field)) + pgcopy.MicrosOfY2K
	case int32:
		return int32(binary.BigEndian.Uint32(field))
	case bool:
		return field[0] == 1
	case uuid.UUID:
		return uuid.UUID(field)
	}
	if isJSON {
		if field[0] != 1 {
			t.Fatalf("version %d of jsonb", field[0])
		}
		return parsed(field[1:])
	}
	if isArray {
		var texts pgtype.FlatArray[string]
		if err := pgtype.NewMap().Scan(pgtype.TextArrayOID, pgtype.BinaryFormatCode, field, &texts); err != nil {
			t.Fatal(err)
		}
		return "{" + strings.Join(texts, ",") + "}"
	}
	return string(field)
}

// Two replicas close a call that neither of them knows, and whose decision has not come: the one waits for the other, and then
// looks at what that wrote.
func TestClosedMeanwhile(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.budget("a", 1000, "month")
	j, one, other := l.journal(), l.journal(), l.journal()
	j.lease(thisMonth("a"), 100)
	d := admitted(enforced(thisMonth("a"), 30))
	end := ended(d, 20)
	first, err := l.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Rollback(t.Context()) }()
	s := settlement{ctx: t.Context(), tx: first, org: "acme", epoch: one.epoch, money: newBooking(), states: make(map[uuid.UUID]string),
		here: make(map[uuid.UUID]*budget.Decision), more: make(map[uuid.UUID][]pricing.NanoUSD)}
	if _, err := s.settle(one.batch(unknown(end)).Records); err != nil {
		t.Fatal(err)
	}
	later := other.batch(unknown(end))
	second := make(chan error)
	go func() {
		_, err := l.Settle(context.Background(), later)
		second <- err
	}()
	for waiting := 0; waiting == 0; {
		if err := l.pool.QueryRow(t.Context(), "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'").Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	j.settle(decided(d))
	l.want("a", sums{settled: 20, leased: 80})
	if n := query[int](t, l.dsn, "select count(*) from keel.entries where kind = 'repeated'"); n != 1 {
		t.Errorf("%d closeouts were in vain, want 1", n)
	}
}

// Months that are made later compress as the first ones do, on a server that can.
func TestRecordsAreCompressedByLZ4(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	if err := execute(t, dsn, "set default_toast_compression = 'lz4'"); err != nil {
		t.Skipf("the server has no lz4: %v", err)
	}
	if err := execute(t, dsn, "select keel.ensure_partitions('2031-01-01Z', '2031-02-01Z')"); err != nil {
		t.Fatal(err)
	}
	const columns = `from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and a.atttypid = 'jsonb'::regtype
		where n.nspname = 'keel' and c.relkind in ('r', 'p') and c.relname ~ '^(decisions|closeouts)'`
	if lz4, all := query[int](t, dsn, "select count(*) "+columns+" and a.attcompression = 'l'"), query[int](t, dsn, "select count(*) "+columns); lz4 != all || all < 2*(7+7) {
		t.Errorf("%d of %d columns are compressed by lz4", lz4, all)
	}
}

// Lists of ids are stored as they are, in both outboxes.
func TestOutboxesAreNotCompressed(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	const columns = "from pg_attribute where attrelid in ('keel.outbox'::regclass, 'keel.statement_outbox'::regclass) and atttypid = 'uuid[]'::regtype and not attisdropped"
	if external, all := query[int](t, dsn, "select count(*) "+columns+" and attstorage = 'e'"), query[int](t, dsn, "select count(*) "+columns); external != all || all != 4 {
		t.Errorf("%d of %d columns are not compressed", external, all)
	}
}
