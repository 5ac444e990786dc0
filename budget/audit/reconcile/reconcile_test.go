package reconcile

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"keel/budget/audit/sample"
	"keel/budget/audit/spend"
	"keel/budget/ledger"
	"keel/budget/ledger/pgserver"
	"keel/pricing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// files are examples of what providers give: testdata/PROVIDER-what.EXT, and beside each FILE.golden, what is read.
func files(t testing.TB) []string {
	names, err := filepath.Glob("testdata/*-*.*")
	if err != nil {
		t.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return strings.HasSuffix(n, ".golden") || strings.HasSuffix(n, ".yaml") })
	if len(names) < 10 {
		t.Fatalf("only %v", names)
	}
	return names
}

func optionsFor(t testing.TB, name string) (provider string, o Options) {
	t.Helper()
	provider, _, _ = strings.Cut(filepath.Base(name), "-")
	o.Rates = map[string]*big.Rat{"EUR": big.NewRat(11, 10)}
	if provider == "generic" {
		text, err := os.ReadFile("testdata/generic-mapping.yaml")
		if err != nil {
			t.Fatal(err)
		}
		if o.Mapping, err = ReadMapping(text); err != nil {
			t.Fatal(err)
		}
	}
	return provider, o
}

func TestReaders(t *testing.T) {
	for _, name := range files(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			provider, o := optionsFor(t, name)
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			s, err := Read(provider, bytes.NewReader(text), o)
			if err != nil {
				t.Fatal(err)
			}
			got := render(s)
			golden := name + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Error(d)
			}
		})
	}
}

func render(s *Statement) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, days in %s\n", s.Provider, s.Zone)
	for _, l := range s.Lines {
		quantity, cost := "-", "-"
		if l.Quantity != nil {
			quantity = l.Quantity.RatString()
		}
		if l.Cost != nil {
			cost = l.Cost.FloatString(12)
		}
		fmt.Fprintf(&b, "%s | %s | %s | %s | %s | %s\n", l.At.In(s.Zone).Format(time.DateOnly), l.Model, l.Account, l.Meter, quantity, cost)
	}
	for _, note := range s.LeftOut {
		fmt.Fprintln(&b, "left out:", note)
	}
	return b.String()
}

func TestReadersRefuse(t *testing.T) {
	for _, c := range []struct{ provider, text, want string }{
		{"openai", "", "the file is empty"},
		{"openai", `{"hello": 1}`, `no "data"`},
		{"openai", `{"data":[{"start_time":1730419200,"end_time":1733011200,"results":[]}]}`, "buckets of a day"},
		{"openai", `{"data":[{"start_time":1730419200,"end_time":1730505600,"results":[{"amount":{"value":1e999,"currency":"usd"}}]}]}`, "is not a number"},
		{"openai", `{"data":[{"start_time":1730419200,"end_time":1730505600,"results":[{"amount":{"value":"x","currency":"usd"}}]}]}`, "invalid number"},
		{"openai", `{"data":[{"start_time":1730419200,"end_time":1730505600,"results":[{"amount":{"value":1,"currency":"gbp"}}]}]}`, "--rate GBP"},
		{"openai", `{"data":[{"start_time":1730419200,"end_time":1730505600,"results":[{"input_tokens":1,"input_cached_tokens":2}]}]}`, "more than input_tokens"},
		{"openai", `{"data":[{"start_time":1730419200,"end_time":1730505600,"results":[{"amount":{"value":1,"currency":"usd"}}]}],"has_more":true,"next_page":"page_2"}`, "there is another, page_2"},
		{"anthropic", `{"data":[{"starting_at":"2026-10-01T00:00:00Z","ending_at":"2026-10-02T00:00:00Z","results":[{"amount":"1","currency":"USD"}]}],"has_more":true,"next_page":"x"}`, "append it to the file"},
		{"google", `{"service":{"description":"Gemini API"},"sku":{"description":"x"},"usage_start_time":"2026-10-02T01:00:00Z","cost":1,"currency":"TWD","currency_conversion_rate":0}`, "is no rate"},
		{"openai", "date,input_tokens\nyesterday,3\n", "line 2"},
		{"openai", "date,input_tokens\n2026-10-01,-3\n", "not a count"},
		{"openai", "date,colour\n2026-10-01,red\n", "not an export"},
		{"anthropic", `{"data":[{"starting_at":"2026-10-01T00:00:00Z","ending_at":"2026-11-01T00:00:00Z","results":[]}]}`, "buckets of a day"},
		{"bedrock", "a,b\n1,2\n", "not a Cost and Usage Report"},
		{"bedrock", "lineItem/UsageType,lineItem/ProductCode\nx,AmazonEC2\n", "other than Bedrock"},
		{"google", "a,b\n1,2\n", "not a billing export"},
		{"openrouter", "date,model\n2026-10-01,x\n", "not an export of activity"},
		{"openrouter", "date,usage\n2026-10-01,1/3\n", "not a number"},
		{"generic", "x", "needs a mapping"},
		{"nobody", "x", "there are openai"},
	} {
		_, err := Read(c.provider, strings.NewReader(c.text), Options{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %q: %v, want %q", c.provider, c.text, err, c.want)
		}
	}
	for text, want := range map[string]string{
		"provider: x\n":                                             "columns.day",
		"provider: x\ncolumns: {day: d}\n":                          "columns.cost",
		"provider: x\ncolumns: {day: d, quantity: q}\n":             "columns.meter",
		"provider: x\ncolumns: {day: d, cost: c}\nmeters: {a: b}\n": "unknown meter",
		"provider: x\ncolour: red\n":                                "unknown field",
		"provider: x\ncolumns: {day: d, cost: c}\ntimezone: Mars\n": "timezone",
	} {
		if _, err := ReadMapping([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// A reader takes any bytes: it reads or refuses, and what it read makes a report whose causes add up.
func FuzzRead(f *testing.F) {
	for _, name := range files(f) {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		provider, _ := optionsFor(f, name)
		f.Add(provider, text)
	}
	mapping, err := os.ReadFile("testdata/generic-mapping.yaml")
	if err != nil {
		f.Fatal(err)
	}
	m, err := ReadMapping(mapping)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, provider string, text []byte) {
		s, err := Read(provider, bytes.NewReader(text), Options{Mapping: m, Rates: map[string]*big.Rat{"EUR": big.NewRat(11, 10)}})
		if err != nil {
			return
		}
		since, until := s.Days()
		recorded := []Recorded{{At: since, Model: s.Lines[0].Model, Meter: "input", Quantity: 10, Nano: 1000, Calls: 0}, {At: since, Meter: "unmetered", Nano: 77, Estimated: true, Calls: 1}}
		addsUp(t, Compare(s, recorded, Scope{Since: since, Until: until}, func(string) bool { return true }))
	})
}

func FuzzMapping(f *testing.F) {
	f.Add([]byte("provider: x\ncolumns: {day: d, cost: c}\nmeters: {a: input}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if m, err := ReadMapping(text); err == nil && m.Columns.Day == "" {
			t.Error("a mapping without a day")
		}
	})
}

func addsUp(t testing.TB, r *Report) {
	t.Helper()
	var causes, cells pricing.NanoUSD
	for i := range r.Cells {
		c := &r.Cells[i]
		var sum pricing.NanoUSD
		for _, d := range c.Causes {
			sum += d.USD
		}
		if sum != c.Variance || c.Stated != nil && *c.Stated-c.Recorded != c.Variance {
			t.Errorf("%s %s %s: causes sum to %s, variance %s", c.Day, c.Model, c.Meter, sum, c.Variance)
		}
		cells += c.Variance
	}
	for _, d := range r.Causes {
		causes += d.USD
	}
	if causes != cells || cells != r.Variance {
		t.Errorf("causes %s, cells %s, variance %s", causes, cells, r.Variance)
	}
}

var known = func(model string) bool { return !strings.Contains(model, "nobody") }

// statement makes one of lines "day|model|meter|quantity|cost".
func statement(t testing.TB, zone string, lines ...string) *Statement {
	t.Helper()
	loc, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{Options: &Options{}, s: Statement{Provider: "openai", Zone: loc}}
	for _, text := range lines {
		f := strings.Split(text, "|")
		at, err := r.day(f[0])
		if err != nil {
			t.Fatal(err)
		}
		l := Line{At: at, Model: f[1], Meter: f[2]}
		if f[3] != "" {
			if l.Quantity, err = number(f[3]); err != nil {
				t.Fatal(err)
			}
		}
		if f[4] != "" {
			if err := r.cost(&l, f[4], "usd"); err != nil {
				t.Fatal(err)
			}
		}
		r.add(l)
	}
	return &r.s
}

func at(text string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		panic(err)
	}
	return t
}

func TestCauses(t *testing.T) {
	metered := Recorded{At: at("2026-10-01 10:00"), Model: "gpt-5-2025-08-07", Meter: "input", Quantity: 1_000_000, Nano: 1_250_000_000}
	seen := Recorded{At: at("2026-10-01 10:00"), Model: "gpt-5-2025-08-07", Meter: "unmetered", Calls: 3}
	for _, c := range []struct {
		name      string
		statement []string
		recorded  []Recorded
		want      string
	}{
		{"equal", []string{"2026-10-01|gpt-5-2025-08-07|input|1000000|1.25"}, []Recorded{metered, seen}, ""},
		{"another name of the model", []string{"2026-10-01|GPT-5|input|1000000|1.25"}, []Recorded{metered, seen}, ""},
		{"rounding", []string{"2026-10-01|gpt-5|input|1000000|1.2"}, []Recorded{metered, seen}, "rounding -0.05"},
		{"price", []string{"2026-10-01|gpt-5|input|1000000|1.000000"}, []Recorded{metered, seen}, "price_difference -0.25"},
		{"calls that nobody recorded", []string{"2026-10-01|gpt-5|input|3000000|3.750000"}, []Recorded{metered, seen}, "missing_in_keel 2.5"},
		{"more calls at another price", []string{"2026-10-01|gpt-5|input|2000000|2.000000"}, []Recorded{metered, seen}, "missing_in_keel 1, price_difference -0.25"},
		{"unmetered calls", []string{"2026-10-01|gpt-5|input|3000000|3.750000"}, []Recorded{metered, seen, {At: at("2026-10-01 11:00"), Meter: "unmetered", Calls: 4, Unmetered: 4}}, "unmetered_calls 2.5"},
		{"fewer calls", []string{"2026-10-01|gpt-5|input|600000|0.750000"}, []Recorded{metered, seen}, "missing_at_provider -0.5"},
		{"a stream that was cut", []string{"2026-10-01|gpt-5|input|600000|0.750000"}, []Recorded{{At: metered.At, Model: "gpt-5", Meter: "input", Quantity: 1_000_000, Nano: 1_250_000_000, Estimated: true}}, "estimated -0.5"},
		{"a hold for what the provider never billed", []string{"2026-10-01|gpt-5|input|1000000|1.250000"}, []Recorded{metered, {At: metered.At, Model: "gpt-5", Meter: "unmetered", Nano: 90_000_000, Calls: 1, Estimated: true}}, "estimated -0.09"},
		{"nothing on the statement", []string{"2026-10-01|gpt-4o|input|1|0.000001"}, []Recorded{metered, seen}, "missing_at_provider -1.25, missing_in_keel 0.000001"},
		{"a model that nobody knows", []string{"2026-10-01|gpt-5|input|1000000|1.25", "2026-10-01|gpt-nobody-knows|input|5|0.5"}, []Recorded{metered, seen}, "unknown_model 0.5"},
		{"costs alone, and a call without a price", []string{"2026-10-01|gpt-5|||1.400000"}, []Recorded{metered, {At: metered.At, Model: "gpt-5", Meter: "unmetered", Calls: 1, Unpriced: 1}}, "unpriced 0.15"},
		{"costs alone", []string{"2026-10-01||||1.500000"}, []Recorded{metered, seen}, "unexplained 0.25"},
		{"a model without meters among others with", []string{"2026-10-01|gpt-5|input|1000000|1.250000", "2026-10-01|text-embedding-3-small|||0.000020"},
			[]Recorded{metered, seen, {At: metered.At, Model: "text-embedding-3-small", Meter: "input", Quantity: 1000, Nano: 20_000}}, ""},
		{"reasoning is output", []string{"2026-10-01|gpt-5|output|30|0.000300"}, []Recorded{{At: metered.At, Model: "gpt-5", Meter: "output", Quantity: 10, Nano: 100_000}, {At: metered.At, Model: "gpt-5", Meter: "reasoning", Quantity: 20, Nano: 200_000}}, ""},
	} {
		s := statement(t, "UTC", c.statement...)
		since, until := s.Days()
		r := Compare(s, c.recorded, Scope{Since: since, Until: until}, known)
		addsUp(t, r)
		var got []string
		for i := range r.Cells {
			for _, d := range r.Cells[i].Causes {
				got = append(got, fmt.Sprintf("%s %s", d.Cause, d.USD))
			}
		}
		slices.Sort(got)
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%s: %s, want %s", c.name, strings.Join(got, ", "), c.want)
		}
	}
}

// Days that begin in another zone are found out, and are no money.
func TestTimeZone(t *testing.T) {
	var recorded []Recorded
	var lines []string
	day := make(map[string]int64)
	pacific, err := time.LoadLocation("America/Los_Angeles")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 96 {
		when := at("2026-10-01 12:00").Add(time.Duration(i) * 30 * time.Minute)
		nano := int64(1_000_000 * (i + 1))
		recorded = append(recorded, Recorded{At: when, Model: "gemini-2.5-flash", Meter: "unmetered", Nano: nano, Calls: 1})
		day[when.In(pacific).Format(time.DateOnly)] += nano
	}
	for d, nano := range day {
		lines = append(lines, fmt.Sprintf("%s|gemini-2.5-flash|||%s", d, pricing.NanoUSD(nano)))
	}
	slices.Sort(lines)
	s := statement(t, "UTC", lines...)
	since, until := s.Days()
	r := Compare(s, recorded, Scope{Since: since, Until: until}, known)
	addsUp(t, r)
	if r.Zone != "America/Los_Angeles" {
		t.Errorf("zone %q", r.Zone)
	}
	for _, d := range r.Causes {
		if d.Cause != TimeZone && d.Cause != Rounding {
			t.Errorf("%s %s", d.Cause, d.USD)
		}
	}
	if s = statement(t, "America/Los_Angeles", lines...); len(lines) < 3 {
		t.Fatal(lines)
	}
	since, until = s.Days()
	if r = Compare(s, recorded, Scope{Since: since, Until: until}, known); r.Variance != 0 || len(r.Causes) != 0 || r.Zone != "" {
		t.Errorf("in its own zone: %s, %v", r.Variance, r.Causes)
	}
}

// What is recorded, told by the provider in OpenAI's form, is what is recorded; then one cell is dearer, and accepting it
// books that once.
func TestAgainstTheLedger(t *testing.T) {
	t.Parallel()
	dsn := pgserver.ForTest(t)
	if err := ledger.Migrate(t.Context(), dsn, nil); err != nil {
		t.Fatal(err)
	}
	if err := sample.Fill(t.Context(), dsn, 440); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	scope := Scope{Org: sample.Org, Provider: "openai", Since: sample.Begin.Truncate(24 * time.Hour), Until: sample.Begin.Truncate(24*time.Hour).AddDate(0, 0, 3)}
	reader, err := spend.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	recorded, err := ReadRecorded(t.Context(), reader.Tx(), scope)
	if err != nil {
		t.Fatal(err)
	}
	var sum, ledgerSum int64
	for _, r := range recorded {
		sum += r.Nano
	}
	if err := conn.QueryRow(t.Context(), "select (sum(actual_cost_usd) * 1000000000)::bigint from keel.spend_records where provider = 'openai' and outcome <> 'denied'").Scan(&ledgerSum); err != nil {
		t.Fatal(err)
	}
	if sum != ledgerSum || sum == 0 {
		t.Errorf("%d nano-dollars, the ledger has %d", sum, ledgerSum)
	}
	page := func(more string) string {
		days := make(map[int64][]string)
		for _, r := range recorded {
			start := r.At.UTC().Truncate(24 * time.Hour).Unix()
			if r.Nano != 0 {
				days[start] = append(days[start], fmt.Sprintf(`{"object":"organization.costs.result","amount":{"value":%s,"currency":"usd"},"line_item":%q}`, pricing.NanoUSD(r.Nano), r.Model))
			}
		}
		var buckets []string
		for _, start := range slices.Sorted(maps.Keys(days)) {
			results := days[start]
			if more != "" { // always on the same day
				results, more = append(results, more), ""
			}
			buckets = append(buckets, fmt.Sprintf(`{"object":"bucket","start_time":%d,"end_time":%d,"results":[%s]}`, start, start+86400, strings.Join(results, ",")))
		}
		return `{"object":"page","data":[` + strings.Join(buckets, ",") + `]}`
	}
	compare := func(text string) (*Report, Scope) {
		t.Helper()
		s, err := Read("openai", strings.NewReader(text), Options{})
		if err != nil {
			t.Fatal(err)
		}
		sc := scope
		sc.Since, sc.Until = s.Days()
		return Compare(s, recorded, sc, known), sc
	}
	if r, _ := compare(page("")); r.Variance != 0 || len(r.Causes) != 0 || int64(r.Recorded) != ledgerSum {
		t.Errorf("variance %s of %s: %v", r.Variance, r.Recorded, r.Causes)
	}
	r, sc := compare(page(`{"object":"organization.costs.result","amount":{"value":1.25,"currency":"usd"},"line_item":"gpt-5-2025-08-07"}`))
	addsUp(t, r)
	if r.Variance != 1_250_000_000 {
		t.Fatalf("variance %s", r.Variance)
	}
	before := fingerprint(t, conn)
	from := Source{Actor: "ada", File: "costs.json", SHA256: "x"}
	for i, want := range []int64{1, 0} {
		b, err := Book(t.Context(), dsn, r, sc, from, Accepted)
		if err != nil {
			t.Fatal(err)
		}
		if b.Entries != want {
			t.Errorf("accepted for the %d. time: %d entries, %s USD", i+1, b.Entries, b.Accepted)
		}
	}
	checked := func() {
		t.Helper()
		report, err := ledger.Check(t.Context(), dsn, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range report.Violations {
			if strings.HasPrefix(v.Invariant, "I14") {
				t.Error(v)
			}
		}
	}
	checked()
	if after := fingerprint(t, conn); after != before {
		t.Error("a record or an account was changed")
	}
	watched, err := Watch(t.Context(), dsn, sample.Begin.AddDate(0, 0, -1))
	if err != nil || len(watched) != 1 || watched[0].Open != 0 || watched[0].Stated != *r.Stated {
		t.Errorf("%v, watched %+v", err, watched)
	}
	var text string
	if err := conn.QueryRow(t.Context(), "select json_agg(a)::text from (select source, provider, model, cause, amount_n, actor from keel.adjustments) a").Scan(&text); err != nil {
		t.Fatal(err)
	}
	var entries []map[string]any
	if err := json.Unmarshal([]byte(text), &entries); err != nil || len(entries) != 1 || entries[0]["amount_n"] != 1.25e9 || entries[0]["source"] != "reconcile" {
		t.Errorf("%v %s", err, text)
	}
	// A later statement says less: what was accepted is corrected, and comes to what that one says.
	less, sc := compare(page(`{"object":"organization.costs.result","amount":{"value":0.75,"currency":"usd"},"line_item":"gpt-5-2025-08-07"}`))
	if b, err := Book(t.Context(), dsn, less, sc, from, Accepted); err != nil || b.Entries != 1 || b.Accepted != -500_000_000 {
		t.Errorf("%v %+v", err, b)
	}
	checked()
	for _, sql := range []string{"update keel.adjustments set amount_n = 0", "delete from keel.reconciled", "truncate keel.reconciliations"} {
		if _, err := conn.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "never changed") {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

// fingerprint is of everything that a reconciliation must not touch.
func fingerprint(t *testing.T, conn *pgx.Conn) (sum string) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), `select md5(string_agg(x, '|' order by x)) from (select to_jsonb(c)::text as x from keel.closeouts c union all select to_jsonb(d)::text from keel.decisions d
		union all select to_jsonb(a)::text from keel.accounts a) y`).Scan(&sum); err != nil {
		t.Fatal(err)
	}
	return sum
}

// Models have many names, and those of one model are found to be.
func TestNamesOfAModel(t *testing.T) {
	for _, names := range [][]string{
		{"claude-opus-4-6", "Claude4.6Opus", "Claude Opus 4.6", "us.anthropic.claude-opus-4-6-v1:0"},
		{"claude-sonnet-4-5-20250929", "anthropic/claude-4.5-sonnet-20250929", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", "Claude Sonnet 4.5"},
		{"claude-3-5-sonnet-20240620", "Claude3.5Sonnet"},
		{"gemini-3.1-flash-lite-preview", googleModel("Generate content output token count gemini 3.1 flash lite preview text")},
		{"gemini-2.5-flash", googleModel("Gemini 2.5 Flash GA Thinking Text Output - Predictions"), googleModel("Generate content input token count gemini 2.5 flash short input text")},
		{"gpt-5.5-2026-04-23", "gpt-5.5"},
	} {
		for _, name := range names[1:] {
			if key(name) != key(names[0]) {
				t.Errorf("%s is %s, and %s is %s", name, key(name), names[0], key(names[0]))
			}
		}
	}
}
