package leaf

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The form is a promise to those who keep proofs: it never changes.
func TestFormIsWhatItWas(t *testing.T) {
	t.Parallel()
	b := Append(nil, Decision, []Field{{"org", "acme"}, {"cost_n", "12"}, {"reason", ""}})
	const want = "000000046c6561660000000f6b65656c2e6465636973696f6e2f31" + "000000036f72670000000461636d65" + "00000006636f73745f6e000000023132" + "00000006726561736f6e00000000"
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := Commit("acme", "user", "ada", []byte("0123456789abcdef")); got != "~19285eeccf98d802cdc21b1e78a3eed246347d066b1416672418ba7ce2eae7eb" {
		t.Errorf("commitment %s", got)
	}
	if got := string(AppendTime(nil, time.Date(2026, 11, 5, 1, 2, 3, 4_000, time.FixedZone("", 3600)))); got != "2026-11-05T00:02:03.000004Z" {
		t.Errorf("time %s", got)
	}
}

// Different records have different leaves, and a leaf is read as what was written.
func TestParse(t *testing.T) {
	t.Parallel()
	field := rapid.Custom(func(t *rapid.T) Field {
		return Field{rapid.SampledFrom([]string{"a", "ab", "leaf", ""}).Draw(t, "name"), rapid.String().Draw(t, "value")}
	})
	rapid.Check(t, func(t *rapid.T) {
		fields := rapid.SliceOf(field).Draw(t, "fields")
		kind := rapid.SampledFrom([]Kind{Decision, Closeout, Entry, Config, Key}).Draw(t, "kind")
		b := Append(nil, kind, fields)
		k, got, err := Parse(b)
		if err != nil || k != kind || !slices.Equal(got, fields) {
			t.Fatalf("%s %v, %v", k, got, err)
		}
		if n := rapid.IntRange(0, len(b)-1).Draw(t, "cut"); n < len(b) {
			if _, short, err := Parse(b[:n]); err == nil && len(short) == len(fields) {
				t.Fatalf("cut at %d of %d, it reads the same", n, len(b))
			}
		}
	})
}

// Instants are written by hand as their layout says.
func TestTimes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		seconds := rapid.OneOf(rapid.Int64Range(-62_400_000_000, 254_000_000_000), rapid.Int64Range(1_700_000_000, 1_900_000_000), rapid.Int64Range(-1<<40, 1<<40)).Draw(t, "seconds")
		at := time.Unix(seconds, rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).In(time.FixedZone("", rapid.IntRange(-14, 14).Draw(t, "hours")*3600))
		if got, want := string(AppendTime([]byte("x"), at)), at.UTC().Format("x"+timeLayout); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
	})
	for _, at := range []time.Time{{}, time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-1, 12, 31, 0, 0, 0, 0, time.UTC)} {
		if got, want := string(AppendTime(nil, at)), at.Format(timeLayout); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func BenchmarkTime(b *testing.B) {
	at := time.Now()
	out := make([]byte, 0, 100)
	for name, append := range map[string]func([]byte, time.Time) []byte{"layout": func(b []byte, t time.Time) []byte { return t.UTC().AppendFormat(b, timeLayout) }, "by hand": AppendTime} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				out = append(out[:0], at)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Append(nil, Closeout, []Field{{"org", "acme"}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, fields, err := Parse(b); err == nil && !bytes.Equal(Append(nil, k, fields), b) {
			t.Errorf("%x is read, and written otherwise", b)
		}
	})
}

func TestLabels(t *testing.T) {
	t.Parallel()
	known := Commitments(func(label, value []byte) (string, bool) {
		return Commit("o", string(label), string(value), []byte("salt")), string(value) != "stranger"
	})
	of := func(label, value string) string { return Commit("o", label, value, []byte("salt")) }
	erased := of("user", "gone")
	for in, want := range map[string]string{
		``:                          ``,
		`user=ada`:                  `user=` + of("user", "ada"),
		`team=a%2Cb,user=%C3%A4%7E`: `team=` + of("team", "a,b") + `,user=` + of("user", "ä~"),
		`user=` + erased:            `user=` + erased,
		`team=,user=ada`:            `team=,user=` + of("user", "ada"),
		`user=%FF`:                  `user=` + of("user", "%FF"),
		`user=aaa~0123,cut`:         `user=` + of("user", "aaa~0123") + `,` + of("", "cut"),
	} {
		if got, err := AccountKey(in, known); err != nil || got != want {
			t.Errorf("%s: %s, want %s; %v", in, got, want, err)
		}
	}
	if _, err := AccountKey("user=stranger", known); err == nil || !strings.Contains(err.Error(), "label user") {
		t.Errorf("a stranger: %v", err)
	}
	for in, want := range map[string]string{
		`{}`:                                  `{}`,
		`{"team": "a", "user": "b\"c"}`:       `{"team": "` + of("team", "a") + `", "user": "` + of("user", `b"c`) + `"}`,
		`{"user": "` + erased + `", "x": ""}`: `{"user": "` + erased + `", "x": ""}`,
		`{"\"key\": \"": "\\"}`:               `{"\"key\": \"": "` + of(`"key": "`, `\`) + `"}`,
	} {
		if got, err := Subject(nil, []byte(in), known); err != nil || string(got) != want {
			t.Errorf("%s: %s, want %s; %v", in, got, want, err)
		}
	}
	for in, want := range map[string]string{
		`[{"end": "infinity", "key": "user=ada", "held": 1}, {"key": "", "budget": "\"key\": \"user=x\""}]`: `[{"end": "infinity", "key": "user=` + of("user", "ada") + `", "held": 1}, {"key": "", "budget": "\"key\": \"user=x\""}]`,
		`[]`: `[]`,
	} {
		if got, err := Keys(nil, []byte(in), "key", known); err != nil || string(got) != want {
			t.Errorf("%s: %s, want %s; %v", in, got, want, err)
		}
	}
}

// Whatever the labels are, no value is left in what was made of them, and it stays JSON.
func FuzzSubject(f *testing.F) {
	f.Add("user", "ada", "team", `a"\`)
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		in, err := json.Marshal(map[string]string{a: b, c: d})
		if err != nil {
			return
		}
		spaced := bytes.ReplaceAll(bytes.ReplaceAll(in, []byte(`":"`), []byte(`": "`)), []byte(`","`), []byte(`", "`))
		known := Commitments(func(label, value []byte) (string, bool) { return Commit("o", string(label), string(value), nil), true })
		out, err := Subject(nil, spaced, known)
		if err != nil {
			return // not as Postgres prints it, because a text has these characters itself
		}
		var got map[string]string
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%s becomes %s: %v", spaced, out, err)
		}
		for label, v := range got {
			if v != "" && !Committed(v) {
				t.Errorf("%s: %q stays", label, v)
			}
		}
	})
}
