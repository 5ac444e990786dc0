package metering

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"keel/filter/wire/apis"
	"keel/filter/wire/recording"
	"keel/filter/wire/recording/corpus"
	"keel/pricing"
	"keel/pricing/tokens"
)

var update = flag.Bool("update", false, "write docs/accuracy.md anew")

const page = "../../docs/accuracy.md"

// TestAccuracy meters every recorded exchange and holds the figures against what
// Keel promises. docs/accuracy.md says the same figures for people; "make
// accuracy" writes it.
func TestAccuracy(t *testing.T) {
	all := measure(t)
	all.checkUsage(t)
	all.checkCost(t)
	all.checkInput(t)
	all.checkTruncated(t)

	got := all.page(t)
	if *update {
		if err := os.WriteFile(page, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/accuracy.md does not say these figures: run make accuracy and read what changed")
	}
}

// sample is one exchange and what Keel makes of it.
type sample struct {
	*recording.Exchange
	*Result
	want     totals
	expected bool // want is known
}

type measured struct {
	samples []sample
	cuts    cuts
}

// cuts counts what streams and bodies that were cut anywhere read as.
type cuts struct{ made, whole, less int }

func measure(t *testing.T) *measured {
	m := Meter{Book: pricing.Catalog(), Estimator: tokens.New(), At: time.Date(2026, 8, 22, 0, 0, 0, 0, time.UTC)}
	var all measured
	corpus.Each(t, func(x *recording.Exchange) { all.samples = append(all.samples, sample{Exchange: x}) })
	var wait sync.WaitGroup
	var mu sync.Mutex
	for part := range slices.Chunk(all.samples, len(all.samples)/4+1) {
		wait.Go(func() {
			for i := range part {
				s := &part[i]
				s.Result = m.Meter(s.Exchange)
				s.want, s.expected = expected(s.Exchange)
				made := cut(s)
				mu.Lock()
				all.cuts.made += made.made
				all.cuts.whole += made.whole
				all.cuts.less += made.less
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	return &all
}

// cut reads what came before some bytes of a response, all of them before its last one.
func cut(s *sample) (c cuts) {
	codec, ok := apis.Match(s.Result.Provider, s.Method, s.Path)
	body, err := s.Response()
	body = bytes.TrimRight(body, " \r\n")
	if !ok || err != nil || s.Status >= 400 || s.Result.Request == nil || len(body) == 0 {
		return c
	}
	random := rand.New(rand.NewPCG(uint64(len(body)), 7))
	for range 4 {
		at := random.IntN(len(body))
		reader := codec.NewReader(s.Result.Request, s.Status, recording.Header(s.ResponseHeaders))
		var before int64
		for rest := body[:at]; len(rest) > 0; {
			n := min(len(rest), 1+random.IntN(4096))
			reader.Feed(bytes.Clone(rest[:n]), false)
			rest = rest[n:]
			if u := reader.Reading().Usage; u != nil {
				before = max(before, u.OutputTokens())
			}
		}
		got := reader.Reading()
		c.made++
		if got.Terminal && len(bytes.TrimSpace(body[at:])) > 0 && !trailing(body[at:]) {
			c.whole++
		}
		if got.Usage == nil && before > 0 {
			c.less++
		}
	}
	return c
}

// trailing reports whether rest is only what follows a stream's own end.
func trailing(rest []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(rest), []byte("data: [DONE]")) || bytes.Contains([]byte("data: [DONE]\n\n"), rest)
}

// strict are the providers whose every total must be right.
var strict = []string{"openai", "azure", "anthropic", "google", "vertex", "bedrock"}

func (s *sample) right() bool {
	u := s.Reading.Usage
	return u != nil && totalsOf(u) == s.want
}

func (m *measured) checkUsage(t *testing.T) {
	n, right := map[string]int{}, map[string]int{}
	for i := range m.samples {
		s := &m.samples[i]
		if !s.expected {
			continue
		}
		for _, of := range []string{s.Exchange.Provider, "all"} {
			n[of]++
			if s.right() {
				right[of]++
			}
		}
		if !s.right() {
			level := t.Logf
			if slices.Contains(strict, s.Exchange.Provider) {
				level = t.Errorf
			}
			level("%s %s %s %s: usage %v, want %+v of %s (%v)", s.ID, s.Exchange.Provider, s.Exchange.API, s.Op, s.Reading.Usage, s.want, s.UsageExpected, s.Err)
		}
	}
	if n["all"] < 2900 || right["all"]*1000 < n["all"]*995 {
		t.Errorf("usage totals: %d of %d are right", right["all"], n["all"])
	}
}

// explained are reported costs that no price list can reproduce, by what of the
// response tells it, and why.
var explained = []struct{ reason, provider, in string }{
	{"the gateway ran another model as a tool and does not tell its tokens", "openrouter", "advisor"},
	{"the gateway read a PDF for the model and reports no usage of it", "openrouter", "application/pdf"},
	{"the cache was written and read, and the gateway bills both though its counts overlap", "openrouter", `"cache_write_tokens":1`},
	{"a host of the model that has its own price", "openrouter", `"provider"`},
}

func (s *sample) agreement() (pricing.Difference, bool) {
	if s.Reading.ReportedCost == "" {
		return pricing.Difference{}, false
	}
	return pricing.Compare(s.Cost, s.Reading.ReportedCost)
}

func (m *measured) checkCost(t *testing.T) {
	n, right := 0, 0
	for i := range m.samples {
		s := &m.samples[i]
		d, ok := s.agreement()
		if !ok {
			continue
		}
		if s.Exchange.Provider == "xai" {
			if d.Agreement != pricing.Equal {
				t.Errorf("%s xai %s: cost %s, xAI says %s (%s)", s.ID, s.Result.Model, d.Ours, s.Reading.ReportedCost, s.Note)
			}
			continue
		}
		n++
		if d.Agreement == pricing.Equal || d.Agreement == pricing.Close {
			right++
		} else {
			t.Logf("%s %s %s: cost %s, reported %s: %s %s", s.ID, s.Exchange.Provider, s.Result.Model, d.Ours, s.Reading.ReportedCost, d.Agreement, s.Note)
		}
	}
	if n < 150 || right*100 < n*95 {
		t.Errorf("costs within 1 %% of the provider's own: %d of %d", right, n)
	}
}

// group is the estimates of one kind of request.
type group struct {
	errors  []int64 // |expected − actual| in thousandths of actual
	under   int     // expected below actual by more than a tenth
	claimed int     // a bound was claimed
	held    int     // and was not exceeded
	ratios  []int64 // bound by actual in thousandths, of 500 tokens and more
}

func (g *group) add(s *sample) {
	actual := s.want.input
	d := s.Input.Expected - actual
	g.errors = append(g.errors, max(d, -d)*1000/actual)
	if d*10 < -actual {
		g.under++
	}
	if s.Input.Kind != tokens.None {
		g.claimed++
		if s.Input.Bound >= actual {
			g.held++
		}
		if actual >= 500 {
			g.ratios = append(g.ratios, s.Input.Bound*1000/actual)
		}
	}
}

func at(values []int64, percent int) int64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)*percent/100, len(sorted)-1)]
}

// groups are the estimates by provider (and "all") and class.
func (m *measured) groups() map[[2]string]*group {
	groups := map[[2]string]*group{}
	for i := range m.samples {
		s := &m.samples[i]
		if !s.expected || s.want.input == 0 || s.Result.Request == nil || s.Op != "generate" {
			continue
		}
		class := string(s.Input.Key.Class)
		for _, of := range []string{s.Exchange.Provider, "all"} {
			key := [2]string{of, class}
			if groups[key] == nil {
				groups[key] = new(group)
			}
			groups[key].add(s)
		}
	}
	return groups
}

// limits are what estimates must reach, in thousandths; p90 0 is no limit.
var limits = []struct {
	provider, class string
	median, p90     int64
}{
	{"openai", "text", 5, 60}, {"anthropic", "text", 40, 300}, {"google", "text", 50, 180}, {"all", "text", 30, 350},
	{"openai", "tools", 60, 0}, {"anthropic", "tools", 120, 0}, {"google", "tools", 200, 0}, {"all", "tools", 110, 0},
	{"openai", "images", 100, 0}, {"anthropic", "images", 100, 0}, {"google", "images", 100, 0},
}

func (m *measured) checkInput(t *testing.T) {
	groups := m.groups()
	for _, limit := range limits {
		g := groups[[2]string{limit.provider, limit.class}]
		if g == nil {
			t.Errorf("no estimates of %s %s", limit.provider, limit.class)
			continue
		}
		if median := at(g.errors, 50); median > limit.median {
			t.Errorf("%s %s: median error %d ‰, more than %d", limit.provider, limit.class, median, limit.median)
		}
		if p90 := at(g.errors, 90); limit.p90 > 0 && p90 > limit.p90 {
			t.Errorf("%s %s: p90 error %d ‰, more than %d", limit.provider, limit.class, p90, limit.p90)
		}
	}
	var n, claimed, held int
	var ratios []int64
	for _, class := range []string{"text", "schema", "tools"} {
		g := groups[[2]string{"all", class}]
		n, claimed, held = n+len(g.errors), claimed+g.claimed, held+g.held
		ratios = append(ratios, g.ratios...)
	}
	if claimed*100 < n*95 {
		t.Errorf("a bound is claimed for %d of %d text and tool requests", claimed, n)
	}
	if held*1000 < claimed*995 {
		t.Errorf("%d of %d bounds hold", held, claimed)
	}
	if ratio := at(ratios, 50); ratio > 1350 {
		t.Errorf("bound by actual: median %d ‰", ratio)
	}
}

func (m *measured) checkTruncated(t *testing.T) {
	if m.cuts.made < 10_000 || m.cuts.whole > 0 || m.cuts.less > 0 {
		t.Errorf("cut responses: %+v", m.cuts)
	}
}

// page is docs/accuracy.md.
func (m *measured) page(t *testing.T) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `# Accuracy

How near Keel's figures come to what providers themselves said, measured on %d recorded exchanges of 30 providers.
This page is written by `+"`make accuracy`"+` from the recordings beside the repository, and a test fails when it is
out of date. Prices: %s. Estimator: %s.

`, len(m.samples), pricing.Catalog().Version(), m.samples[0].Input.Method)
	m.usageTable(&b)
	m.costTable(&b)
	m.inputTable(&b)
	m.boundTable(&b)
	heldOutTable(t, &b)
	m.outputTable(&b)
	fmt.Fprintf(&b, "## Responses that were cut\n\n%d times a response was cut at a random byte before its end: %d read as whole, %d lost a usage that had been told.\n",
		m.cuts.made, m.cuts.whole, m.cuts.less)
	return b.Bytes()
}

// heldOutTable repeats what package tokens measures on requests that were left out of its fits.
func heldOutTable(t *testing.T, b *bytes.Buffer) {
	table, err := os.ReadFile("../../pricing/tokens/testdata/heldout.md")
	if err != nil {
		t.Fatal(err)
	}
	b.WriteString("## On requests that were never fitted\n\nThe figures above have seen these recordings, so they flatter. Here they are beside those of figures that were fitted without what they\nestimate, from a start that knows what makers publish: without a fifth of the texts at a time, and without all that one\nrepository recorded. Error of the expected input tokens, median / p90; each text of a model counts once, and requests of a maker\nthrough a gateway or a cloud count as the maker's.\n\n")
	b.Write(table)
	b.WriteByte('\n')
}

func (m *measured) usageTable(b *bytes.Buffer) {
	n, right, with := map[[2]string]int{}, map[[2]string]int{}, map[[2]string]int{}
	var wrong []string
	for i := range m.samples {
		s := &m.samples[i]
		key := [2]string{s.Exchange.Provider, string(s.Result.API)}
		n[key]++
		if !s.expected {
			continue
		}
		with[key]++
		if s.right() {
			right[key]++
		} else {
			wrong = append(wrong, fmt.Sprintf("- %s (%s): %s", s.Exchange.Provider, s.Result.API, difference(s)))
		}
	}
	b.WriteString("## Usage\n\nInput, cached input, cache writes, output and reasoning tokens, all equal to the provider's own, normalised\n(what is inside what differs by provider), of the exchanges that have a usage.\n\n| provider | API | exchanges | with usage | equal |\n|---|---|---:|---:|---:|\n")
	for _, key := range slices.SortedFunc(maps.Keys(n), compareKeys) {
		fmt.Fprintf(b, "| %s | %s | %d | %d | %d |\n", key[0], cmp.Or(key[1], "not an API that Keel reads"), n[key], with[key], right[key])
	}
	b.WriteByte('\n')
	if len(wrong) > 0 {
		b.WriteString("Not equal:\n\n" + strings.Join(wrong, "\n") + "\n\n")
	}
}

func difference(s *sample) string {
	u := s.Reading.Usage
	if u == nil {
		return fmt.Sprintf("nothing was read, the provider said %+v", s.want)
	}
	return fmt.Sprintf("read %+v, the provider said %+v", totalsOf(u), s.want)
}

func compareKeys(a, b [2]string) int {
	return cmp.Or(strings.Compare(a[0], b[0]), strings.Compare(a[1], b[1]))
}

func (m *measured) costTable(b *bytes.Buffer) {
	n := map[string]map[pricing.Agreement]int{}
	var others []string
	unpriced := map[string]int{}
	for i := range m.samples {
		s := &m.samples[i]
		if s.Reading.Usage != nil && !s.Priced {
			unpriced[s.Exchange.Provider+"/"+s.Result.Model]++
		}
		d, ok := s.agreement()
		if !ok {
			continue
		}
		if n[s.Exchange.Provider] == nil {
			n[s.Exchange.Provider] = map[pricing.Agreement]int{}
		}
		n[s.Exchange.Provider][d.Agreement]++
		if d.Agreement != pricing.Equal && d.Agreement != pricing.Close {
			others = append(others, fmt.Sprintf("| %s | %s | %s | %s | %s |", s.Exchange.Provider, s.Result.Model, d.Ours, s.Reading.ReportedCost, reason(s)))
		}
	}
	b.WriteString("## Cost\n\nOurs beside the one that the provider reports, where it does.\n\n| provider | equal | within 1 % | over | under | unpriced |\n|---|---:|---:|---:|---:|---:|\n")
	for _, provider := range slices.Sorted(maps.Keys(n)) {
		c := n[provider]
		fmt.Fprintf(b, "| %s | %d | %d | %d | %d | %d |\n", provider, c[pricing.Equal], c[pricing.Close], c[pricing.Over], c[pricing.Under], c[pricing.Unpriced])
	}
	slices.Sort(others)
	b.WriteString("\nThose that differ:\n\n| provider | model | ours, USD | reported | why |\n|---|---|---:|---:|---|\n" + strings.Join(others, "\n") + "\n\n")
	b.WriteString("Models with usage and without a price, which cost `null` and are denied by a budget that enforces:\n\n")
	for _, name := range slices.Sorted(maps.Keys(unpriced)) {
		fmt.Fprintf(b, "- %s (%d)\n", name, unpriced[name])
	}
	b.WriteByte('\n')
}

func reason(s *sample) string {
	request, _ := s.Exchange.Request()
	response, _ := s.Exchange.Response()
	for _, e := range explained {
		if e.provider == s.Exchange.Provider && (bytes.Contains(request, []byte(e.in)) || bytes.Contains(response, []byte(e.in))) {
			return e.reason
		}
	}
	return cmp.Or(s.Note, "the provider rounds its cost to what it prints")
}

func (m *measured) inputTable(b *bytes.Buffer) {
	groups := m.groups()
	b.WriteString("## Input estimates\n\nError of the expected input tokens against what the provider counted; the estimate sees the request alone.\n\n| provider | class | requests | median | p90 | too low by more than 10 % |\n|---|---|---:|---:|---:|---:|\n")
	for _, key := range slices.SortedFunc(maps.Keys(groups), compareKeys) {
		g := groups[key]
		fmt.Fprintf(b, "| %s | %s | %d | %s | %s | %s |\n", key[0], key[1], len(g.errors), percent(at(g.errors, 50)), percent(at(g.errors, 90)), percent(int64(g.under)*1000/int64(len(g.errors))))
	}
	b.WriteByte('\n')
}

func (m *measured) boundTable(b *bytes.Buffer) {
	groups := m.groups()
	b.WriteString("## Input bounds\n\nWhat a hold may rely on. A bound is claimed where its kind is `provable` or `calibrated`; the ratio is over requests of 500 tokens and more.\n\n| provider | class | requests | claimed | held | median bound ÷ actual |\n|---|---|---:|---:|---:|---:|\n")
	for _, key := range slices.SortedFunc(maps.Keys(groups), compareKeys) {
		g := groups[key]
		ratio := "–"
		if len(g.ratios) > 0 {
			ratio = fmt.Sprintf("%d.%02d", at(g.ratios, 50)/1000, at(g.ratios, 50)%1000/10)
		}
		fmt.Fprintf(b, "| %s | %s | %d | %d | %d | %s |\n", key[0], key[1], len(g.errors), g.claimed, g.held, ratio)
	}
	b.WriteByte('\n')
}

func (m *measured) outputTable(b *bytes.Buffer) {
	type counts struct{ n, p50, p90, p99, bound, claimed int }
	groups := map[[2]string]*counts{}
	for i := range m.samples {
		s := &m.samples[i]
		if !s.expected || s.Result.Request == nil || s.Op != "generate" || s.want.output == 0 {
			continue
		}
		for _, of := range []string{s.Exchange.Provider, "all"} {
			key := [2]string{of, ""}
			if groups[key] == nil {
				groups[key] = new(counts)
			}
			g, actual := groups[key], s.want.output
			g.n++
			for _, q := range []struct {
				limit int64
				held  *int
			}{{s.Output.P50, &g.p50}, {s.Output.P90, &g.p90}, {s.Output.P99, &g.p99}} {
				if actual <= q.limit {
					*q.held++
				}
			}
			if s.Output.Kind != tokens.None {
				g.claimed++
				if actual <= s.Output.Bound {
					g.bound++
				}
			}
		}
	}
	b.WriteString("## Output predictions\n\nHow many outputs were within each predicted quantile, and within the bound where one is claimed.\n\n| provider | calls | within p50 | p90 | p99 | bound claimed | held |\n|---|---:|---:|---:|---:|---:|---:|\n")
	for _, key := range slices.SortedFunc(maps.Keys(groups), compareKeys) {
		g := groups[key]
		share := func(n int) string { return percent(int64(n) * 1000 / int64(g.n)) }
		fmt.Fprintf(b, "| %s | %d | %s | %s | %s | %d | %d |\n", key[0], g.n, share(g.p50), share(g.p90), share(g.p99), g.claimed, g.bound)
	}
	b.WriteByte('\n')
}

// percent writes thousandths.
func percent(thousandths int64) string {
	return fmt.Sprintf("%d.%d %%", thousandths/10, thousandths%10)
}
