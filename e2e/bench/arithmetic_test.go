package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestPercentile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for _, tt := range []struct {
		of   []time.Duration
		p    float64
		want time.Duration
	}{
		{hundred, 50, 50},
		{hundred, 90, 90},
		{hundred, 99, 99},
		{hundred, 100, 100},
		{hundred, 0, 1},
		{hundred[:4], 50, 2},
		{hundred[:5], 50, 3},
		{hundred[:1], 99, 1},
		{nil, 50, 0},
	} {
		if got := percentile(tt.of, tt.p); got != tt.want {
			t.Errorf("p%g of %d values is %d, want %d", tt.p, len(tt.of), got, tt.want)
		}
	}
}

func TestRatios(t *testing.T) {
	rounds := func(p50s ...int) (all []figures) {
		for _, p := range p50s {
			all = append(all, figures{P50: time.Duration(p)})
		}
		return all
	}
	nan := math.NaN()
	for _, tt := range []struct {
		name               string
		above, below, base []figures
		ratio, added       float64
	}{
		{"each round by itself", rounds(20, 200, 2000), rounds(10, 100, 1000), rounds(0, 0, 0), 2, 2},
		{"not of the medians", rounds(10, 20, 90), rounds(10, 10, 30), rounds(5, 5, 10), 2, 3},
		{"an even number of rounds", rounds(10, 30), rounds(10, 10), rounds(5, 5), 2, 3},
		{"a round of both alone counts", rounds(10, 30), rounds(10), rounds(5, 5), 1, 1},
		{"no round", nil, rounds(10), rounds(5), nan, nan},
		{"nothing to divide by", rounds(10), rounds(0), rounds(0), nan, nan},
		{"a floor that seems to add nothing is noise", rounds(20, 20, 20), rounds(5, 10, 15), rounds(10, 10, 10), 2, nan},
		{"in one round of three", rounds(20, 20, 20), rounds(5, 15, 20), rounds(10, 10, 10), 4. / 3, 1.5},
	} {
		if got := median(ratios(tt.above, tt.below, p50Of)); !same(got, tt.ratio) {
			t.Errorf("%s: ratio %g, want %g", tt.name, got, tt.ratio)
		}
		if got := median(addedRatios(tt.above, tt.below, tt.base, p50Of)); !same(got, tt.added) {
			t.Errorf("%s: ratio of what is added %g, want %g", tt.name, got, tt.added)
		}
	}
}

func same(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }

func TestFigures(t *testing.T) {
	f := figures{Requests: 4, Took: 2 * time.Second, Gateway: 40 * time.Millisecond, Processor: 20 * time.Millisecond, Postgres: time.Second}
	if f.perSecond() != 2 || f.cpu() != 15*time.Millisecond {
		t.Errorf("%g a second, CPU %v", f.perSecond(), f.cpu())
	}
	if (figures{}).cpu() != 0 {
		t.Error("no request costs something")
	}
	if got := middle([]figures{{P50: 9}, {P50: 1}, {P50: 3}}, func(f figures) time.Duration { return f.P50 }); got != 3 {
		t.Errorf("the middle of 9, 1, 3 is %d", got)
	}
}

func TestParseStat(t *testing.T) {
	const rest = "S 17 42 42 0 -1 4194560 900 800 3 2 150 50 30 20 20 0 9 0 12345 104857600 %d 18446744073709551615 1 1 0 0 0 0 0"
	page := int64(os.Getpagesize())
	for _, tt := range []struct {
		name, line string
		want       stat
		fails      bool
	}{
		{"plain", "42 (envoy) " + fmt.Sprintf(rest, 100), stat{17, 2 * time.Second, 500 * time.Millisecond, 100 * page}, false},
		{"a name with spaces and parentheses", "42 (a (b) S 1 2) " + fmt.Sprintf(rest, 7), stat{17, 2 * time.Second, 500 * time.Millisecond, 7 * page}, false},
		{"no name", "42 S 1", stat{}, true},
		{"cut", "42 (envoy) S 17 42", stat{}, true},
		{"no number", "42 (envoy) " + strings.Replace(fmt.Sprintf(rest, 7), "150", "x", 1), stat{}, true},
	} {
		got, err := parseStat([]byte(tt.line))
		if (err != nil) != tt.fails || err == nil && got != tt.want {
			t.Errorf("%s: %+v, %v; want %+v", tt.name, got, err, tt.want)
		}
	}
	own, err := readStat(os.Getpid())
	if err != nil || own.resident == 0 || own.parent != os.Getppid() {
		t.Errorf("this process: %+v, %v", own, err)
	}
}

func TestDescends(t *testing.T) {
	all := map[int]stat{2: {parent: 1}, 3: {parent: 2}, 4: {parent: 3}, 5: {parent: 1}, 7: {parent: 8}, 8: {parent: 7}}
	for pid, want := range map[int]bool{3: true, 4: true, 2: false, 5: false, 7: false, 9: false} {
		if descends(all, pid, 2) != want {
			t.Errorf("process %d descends from 2: %v", pid, !want)
		}
	}
}

func TestSumOf(t *testing.T) {
	const envoy = "http.keel.ext_proc.keel.stream_msgs_sent: 12\nhttp.keel.ext_proc.keel.stream_msgs_received: 5\ncluster.openai.ext_proc.keel_attempt.stream_msgs_sent: 30\n"
	const prometheus = "# TYPE keel_journal_waiting_bytes gauge\nkeel_journal_waiting_bytes 1.5e+06\nkeel_open_calls 3\n"
	for _, tt := range []struct {
		page  string
		name  *regexp.Regexp
		want  float64
		found bool
	}{
		{envoy, messagesSent, 42, true},
		{prometheus, waitingBytes, 1.5e6, true},
		{prometheus, openCalls, 3, true},
		{prometheus, messagesSent, 0, false},
	} {
		if got, found := sumOf(tt.page, tt.name); got != tt.want || found != tt.found {
			t.Errorf("%s: %g, %v; want %g, %v", tt.name, got, found, tt.want, tt.found)
		}
	}
}

func TestCellNames(t *testing.T) {
	for _, groups := range [][]group{defaultGroups(), fullGroups()} {
		for _, g := range groups {
			if c, err := parseCell(g.cell.String()); err != nil || c != g.cell {
				t.Errorf("%s reads as %+v, %v; want %+v", g.cell, c, err, g.cell)
			}
		}
	}
	for _, name := range []string{"", "1k", "1k-unique-unary", "0k-unique-unary-c1", "1k-some-unary-c1", "1k-unique-unary-c0", "1k-unique-unary-c1x"} {
		if c, err := parseCell(name); err == nil {
			t.Errorf("%q reads as %s", name, c)
		}
	}
}

// A limit stands on cells and variants by name: a slip would read "not measured" for ever.
func TestMustsAreMeasured(t *testing.T) {
	full := func(without string) *report {
		r := &report{streams: &streamFigures{open: limitStreams, most: 100e6}}
		for _, g := range append(defaultGroups(), group{mustCell(budgetCell), []string{"litellm"}, nil, 1}) {
			m := &measured{cell: g.cell, rounds: map[string][]figures{}}
			for i, name := range g.all() {
				if name != without {
					n := time.Duration(i + 1)
					m.rounds[name] = []figures{{Requests: 1, Took: time.Second, P50: n, Gateway: n}}
				}
			}
			r.results = append(r.results, m)
		}
		return r
	}
	for _, m := range musts {
		if v := m.verdict(full("")); v.word != "PASS" && v.word != "MISS" {
			t.Errorf("%s: %s, with everything measured", m.what, v.word)
		}
	}
	for _, name := range []string{"light", "fast", "envoy-usage-log", "litellm"} {
		missing := 0
		for _, m := range musts {
			if v := m.verdict(full(name)); v.word == "not measured" && v.figure == "not measured" {
				missing++
			}
		}
		if missing == 0 {
			t.Errorf("no limit is on %s", name)
		}
	}
}

func TestVerdict(t *testing.T) {
	nan := math.NaN()
	figure := func(n, low, high float64) func(*report) estimate {
		return func(*report) estimate { return estimate{n, low, high} }
	}
	for _, tt := range []struct {
		m    must
		want verdict
	}{
		{must{limit: 1.15, figure: figure(1.15, 1.1, 1.2)}, verdict{"1.15", "1.10 to 1.20", "", "≤ 1.15", "PASS"}},
		{must{limit: 1.15, figure: figure(1.151, nan, nan), beside: figure(1.3, 1, 2)}, verdict{"1.15", "", "1.30", "≤ 1.15", "MISS"}},
		{must{limit: 30, atLeast: true, figure: figure(29.9, nan, nan)}, verdict{"29.90", "", "", "≥ 30", "MISS"}},
		{must{limit: 30, atLeast: true, figure: figure(30, nan, nan)}, verdict{"30.00", "", "", "≥ 30", "PASS"}},
		{must{limit: 5, unit: " %", figure: figure(2, 0, 4)}, verdict{"2.00 %", "0.00 to 4.00 %", "", "≤ 5 %", "PASS"}},
		{must{limit: 150, unit: " MB", figure: figure(nan, nan, nan), beside: figure(1, 1, 1)}, verdict{"not measured", "", "", "≤ 150 MB", "not measured"}},
	} {
		if got := tt.m.verdict(nil); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

func TestBudgetSpread(t *testing.T) {
	r := &report{results: results{{cell: mustCell(budgetCell), rounds: map[string][]figures{}}}}
	of := func(requests ...int) (rounds []figures) {
		for _, n := range requests {
			rounds = append(rounds, figures{Requests: n, Took: time.Second})
		}
		return rounds
	}
	r.results[0].rounds[budgeted[0]] = of(100, 100, 100, 100, 100)
	r.results[0].rounds[budgeted[1]] = of(99, 98, 98, 104, 90) // may be the same
	r.results[0].rounds[budgeted[2]] = of(93, 97, 92, 93, 94)
	want := estimate{7, 3, 10} // at the least by what the last differs at the least, at most by what the other one does at most
	if got := budgetSpread(r); math.Abs(got.figure-want.figure)+math.Abs(got.low-want.low)+math.Abs(got.high-want.high) > 1e-9 {
		t.Errorf("%+v, want %+v", got, want)
	}
	delete(r.results[0].rounds, budgeted[2])
	if got := budgetSpread(r); !math.IsNaN(got.figure) {
		t.Errorf("without a measurement it differs by %g %%", got.figure)
	}
}

// The true median is between the bounds in nine of ten runs at the least, and not in all: then they would say less than they could.
func TestEstimate(t *testing.T) {
	for _, n := range []int{0, 1, 4} {
		if e := estimated(make([]float64, n)); !math.IsNaN(e.low) || !math.IsNaN(e.high) {
			t.Errorf("%d rounds are between %g and %g", n, e.low, e.high)
		}
	}
	if e := estimated([]float64{5, 1, 4, 2, 3}); e != (estimate{3, 1, 5}) {
		t.Errorf("five rounds: %+v", e)
	}
	if e := estimated([]float64{9, 1, 8, 2, 7, 3, 6, 4, 5}); e != (estimate{5, 2, 8}) {
		t.Errorf("nine rounds: %+v", e)
	}
	r := rand.New(rand.NewPCG(1, 2))
	const runs = 20_000 // good to half a percent
	for n, most := range map[int]float64{5: 0.95, 7: 0.995, 9: 0.97, 60: 0.94} {
		within := 0
		for range runs {
			values := make([]float64, n)
			for i := range values {
				values[i] = r.ExpFloat64() // skewed, with a median of ln 2
			}
			if e := estimated(values); e.low <= math.Ln2 && math.Ln2 <= e.high {
				within++
			}
		}
		if share := float64(within) / runs; share < 0.895 || share > most {
			t.Errorf("%d rounds: the median is within in %.1f %% of runs", n, 100*share)
		}
	}
}

// Bodies are JSON of the size that a cell says, and share what the cell says and nothing else.
func TestBodies(t *testing.T) {
	root, err := checkout()
	if err != nil {
		t.Fatal(err)
	}
	text, err := readProse(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range fullGroups() {
		b := newBodies(text, g.cell)
		one, other := read(t, b.append(nil)), read(t, b.append(nil))
		if one.size < g.Bytes*9/10 || one.size > g.Bytes*12/10+300 {
			t.Errorf("%s: %d bytes", g.cell, one.size)
		}
		if one.Stream != g.SSE || one.Model != model {
			t.Errorf("%s: stream %v, model %s", g.cell, one.Stream, one.Model)
		}
		last := len(one.Messages) - 1
		for i := range one.Messages {
			if shared := one.Messages[i].Content == other.Messages[i].Content; shared != (g.Tail && i < last) {
				t.Errorf("%s: message %d of %d is shared: %v", g.cell, i, last+1, shared)
			}
		}
		if one.Messages[0].Role != "system" || one.Messages[last].Role != "user" {
			t.Errorf("%s: from %s to %s", g.cell, one.Messages[0].Role, one.Messages[last].Role)
		}
	}
}

type sentBody struct {
	size     int
	Model    string
	Stream   bool
	Messages []struct{ Role, Content string }
}

func read(t *testing.T, body []byte) (b sentBody) {
	t.Helper()
	if err := json.Unmarshal(body, &b); err != nil {
		t.Fatalf("%v: %.200s", err, body)
	}
	b.size = len(body)
	return b
}

func TestAsksForStream(t *testing.T) {
	pad := strings.Repeat("x", 70<<10)
	for _, tt := range []struct {
		body string
		want bool
	}{
		{`{"stream":true,"text":"` + pad + `"}`, true},
		{`{"text":"` + pad + `","stream": true}`, true},
		{`{"text":"` + pad + `"}`, false},
		{`{"stream":false}`, false},
		{``, false},
	} {
		if got, err := asksForStream(oneByOne{strings.NewReader(tt.body)}); got != tt.want || err != nil {
			t.Errorf("%.30s…: %v, %v", tt.body, got, err)
		}
	}
}

// oneByOne reads few bytes at a time.
type oneByOne struct{ r *strings.Reader }

func (o oneByOne) Read(b []byte) (int, error) { return o.r.Read(b[:min(len(b), 700)]) }

func TestPlan(t *testing.T) {
	groups, err := options{Cells: []string{"1k-unique-sse-c16", "2k-tail-unary-c3"}, Variants: []string{"full"}, Rounds: 2}.plan()
	if err != nil || len(groups) != 2 || groups[0].rounds != 2 || len(groups[1].variants) != 1 {
		t.Errorf("%+v, %v", groups, err)
	}
	for _, o := range []options{{Cells: []string{"1k"}}, {Variants: []string{"fulll"}}} {
		if _, err := o.plan(); err == nil {
			t.Errorf("%+v makes a plan", o)
		}
	}
	for _, g := range defaultGroups() {
		for _, name := range g.all() {
			if variantOf(name) == nil {
				t.Errorf("%s: no variant %s", g.cell, name)
			}
		}
		if len(g.variants) < 2 || len(inOrder(g.all())) != len(g.all()) {
			t.Errorf("%s compares nothing, or one twice: %q", g.cell, g.all())
		}
	}
	var out, said bytes.Buffer
	if code := run(t.Context(), []string{"--list"}, &out, &said); code != 0 || !strings.Contains(out.String(), "nothing-log") {
		t.Errorf("--list: exit %d: %s%s", code, &out, &said)
	}
	if code := run(t.Context(), []string{"--help"}, &out, &said); code != 0 || !strings.Contains(out.String(), "Examples:") {
		t.Errorf("--help: exit %d: %s%s", code, &out, &said)
	}
	if code := run(t.Context(), []string{"--nonsense"}, &out, &said); code != 2 {
		t.Errorf("an unknown flag: exit %d", code)
	}
}

// The commands that the page and --help show are understood; TestSmoke runs what they do.
func TestCommands(t *testing.T) {
	root, err := checkout()
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile(root + "/Makefile")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(method + (&options{}).Help()) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		for len(words) > 0 && strings.HasPrefix(words[0], "BENCH_") {
			words = words[1:]
		}
		switch {
		case len(words) == 2 && words[0] == "make":
			seen++
			if !bytes.Contains(makefile, []byte("\n"+words[1]+": ")) {
				t.Errorf("%s: no such target", line)
			}
		case len(words) > 2 && words[0] == "go" && words[1] == "run":
			seen++
			var said bytes.Buffer
			o, code := parse(words[3:], &said, &said)
			if code >= 0 {
				t.Errorf("%s: %s", line, &said)
			} else if _, err := o.plan(); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
	if seen < 8 {
		t.Errorf("only %d commands", seen)
	}
}
