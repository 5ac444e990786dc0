package leaf

import (
	"testing"
)

// What is printed, and what is not because it is not certain. TestPrinterIsPostgres, of the ledger, holds it against Postgres.
func TestPrint(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{}`:                           `{}`,
		` [ ] `:                        `[]`,
		`{"b":1,"a":[1,2,{}],"aa":{}}`: `{"a": [1, 2, {}], "b": 1, "aa": {}}`,
		`{"zz":{"b":"x","a":"y"},"c":{"d":{"f":1,"e":2}}}`: `{"c": {"d": {"e": 2, "f": 1}}, "zz": {"a": "y", "b": "x"}}`,
		"{\n\t\"a\" : null ,\"b\":true,\"c\":false}":       `{"a": null, "b": true, "c": false}`,
		`"a\"b\\c\n\r\t\b\f é/"`:                           `"a\"b\\c\n\r\t\b\f é/"`,
		`[0,-1,1.50,0.00,12345678901234567890]`:            `[0, -1, 1.50, 0.00, 12345678901234567890]`,

		// Not certain.
		`{"a":1,"a":2}`: "", `{"b":1,"a":2,"b":3}`: "", `{"a\"":1}`: "",
		`1e3`: "", `1E3`: "", `1.5e-3`: "", `-0`: "", `-0.0`: "", `-0.5`: "",
		`"\/"`: "", `"\u0041"`: "", "\"\x01\"": "",
		// Not JSON.
		``: "", `{`: "", `[1`: "", `[1,]`: "", `{"a"}`: "", `{"a":}`: "", `{"a":1,}`: "", `{a:1}`: "", `"a`: "", `"\`: "", `01`: "", `1.`: "", `.5`: "", `-`: "", `tru`: "", `1 2`: "", `[}`: "", `{"a":1]`: "",
	} {
		b, ok := new(Printer).Print([]byte("x"), []byte(in))
		if ok != (want != "") || ok && string(b) != "x"+want {
			t.Errorf("%s: %s, %v, want %s", in, b, ok, want)
		}
	}
}

func TestPrintAllocatesNothing(t *testing.T) {
	in := []byte(`{"prompt_tokens":260,"total_tokens":555,"prompt_tokens_details":{"cached_tokens":128,"audio_tokens":0}}`)
	var p Printer
	b := make([]byte, 0, 1000)
	if n := testing.AllocsPerRun(100, func() { b, _ = p.Print(b[:0], in) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPrint(b *testing.B) {
	in := []byte(`[{"end":"2026-12-01T00:00:00Z","key":"","mode":"enforce","limit":1152921504606846976,"start":"2026-11-01T00:00:00Z","amount":8412500,"budget":"b0","leased":true,"ceiling":1152921504606846976,"version":0,"rolling_s":0}]`)
	var p Printer
	out := make([]byte, 0, 1000)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		out, _ = p.Print(out[:0], in)
	}
}
