package tokens

import (
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"slices"
	"strings"
)

// A Sample is a recorded request and what its provider counted.
type Sample struct {
	ID              string
	Source          string // the repository that recorded it
	Provider, Model string
	Prompt          *Prompt
	Actual          int64

	of *family
}

// family is that of the sample's model.
func (s *Sample) family() *family {
	if s.of == nil {
		s.of = familyOf(s.Provider, s.Model)
	}
	return s.of
}

// Maker is the company whose model it is, as the accuracy table groups them.
func (s *Sample) Maker() string {
	name := familyOf(s.Provider, s.Model).name
	switch {
	case s.Provider == "openai" || s.Provider == "azure" && !strings.HasPrefix(name, "grok"):
		return "openai"
	case strings.HasPrefix(name, "claude"):
		return "anthropic"
	case strings.HasPrefix(name, "gemini"):
		return "gemini"
	}
	return "others"
}

// knobs are the figures that are fitted.
func (f *figures) knobs() []*int64 {
	return []*int64{&f.text, &f.call, &f.result, &f.rendered, &f.compact, &f.schema, &f.hidden, &f.prompt, &f.message,
		&f.system, &f.calls, &f.tools, &f.flatTools, &f.tool, &f.member, &f.forced, &f.withSchema, &f.thinking, &f.citation}
}

var knobNames = []string{"text", "call", "result", "rendered", "compact", "schema", "hidden", "prompt", "message",
	"system", "calls", "tools", "flatTools", "tool", "member", "forced", "withSchema", "thinking", "citation"}

// loss is the mean relative error, each capped so that one odd recording
// can't pull the figures, in millionths.
func loss(samples []*Sample, most int64) int64 {
	var sum int64
	for _, s := range samples {
		f := s.family()
		off := f.expected(s.Prompt, s.Prompt.measured(f.vocabulary)) - s.Actual
		// Below ten tokens one token is not worth ten percent.
		sum += min(max(off, -off)*ppm/max(s.Actual, 10), most)
	}
	return sum / int64(max(len(samples), 1))
}

// Caps of the loss: wide to find the figures, narrow to settle them.
const wide, narrow = 4 * ppm, ppm * 6 / 10

// What a change of a figure must gain over all samples together, in millionths of one of them: what gains less is an
// accident of theirs. A family needs more to differ from its pool.
const poolGain, ownGain = 40_000, 300_000

// fit moves the figures of a pool together to a local minimum of the loss of all its samples, and then those of each
// family where its own samples ask for it. It begins where the figures are.
func fit(pool []*figures, by map[*figures][]*Sample) {
	var all []*Sample
	for _, f := range pool {
		all = append(all, by[f]...)
	}
	if len(all) == 0 {
		return
	}
	begin := *pool[0]
	var best figures
	least := int64(math.MaxInt64)
	for _, prompt := range []int64{begin.prompt, 0, 10} {
		set(pool, begin)
		for _, f := range pool {
			f.prompt = prompt
		}
		descend(pool, all, wide, poolGain, 256, 64, 16, 4, 1)
		descend(pool, all, narrow, poolGain, 32, 8, 2, 1)
		if now := loss(all, narrow); now < least {
			best, least = *pool[0], now
		}
	}
	set(pool, best)
	if len(pool) == 1 {
		return
	}
	for _, f := range pool {
		if own := by[f]; len(own) > 0 {
			descend([]*figures{f}, own, wide, ownGain, 256, 64, 16, 4, 1)
			descend([]*figures{f}, own, narrow, ownGain, 32, 8, 2, 1)
		}
	}
}

// set gives all of a pool what is fitted of the figures in from.
func set(pool []*figures, from figures) {
	values := from.knobs()
	for i := range values {
		put(pool, i, *values[i])
	}
}

// descend changes one figure of all fs at a time, by steps that shrink.
func descend(fs []*figures, samples []*Sample, most, gain int64, steps ...int64) {
	least := loss(samples, most)
	gain /= int64(len(samples))
	for _, step := range steps {
		for improved, rounds := true, 0; improved && rounds < 20; rounds++ {
			improved = false
			for i, knob := range fs[0].knobs() {
				unit, bottom, top := step, int64(0), int64(2_000)
				if i < 7 { // thousandths
					unit = min(step*10, 500)
				}
				if i < 3 { // vocabularies of a size make about as many tokens of a text
					bottom, top = 900, 1_600
				}
				for _, move := range []int64{unit, -unit, 4 * unit, -4 * unit} {
					before := *knob
					put(fs, i, min(max(before+move, bottom), top))
					if now := loss(samples, most); now < least-gain {
						least, improved = now, true
					} else {
						put(fs, i, before)
					}
				}
			}
		}
	}
}

func put(fs []*figures, knob int, value int64) {
	for _, f := range fs {
		if f.prompted() && f.isPrompt(knob) {
			continue
		}
		*f.knobs()[knob] = value
	}
}

// groups are the samples by the figures that estimate them: those of text, schemas and
// tools, because the rules for images have no figures here.
func groups(samples []*Sample) map[*figures][]*Sample {
	by := map[*figures][]*Sample{}
	for _, s := range samples {
		switch s.Prompt.RequestClass() {
		case ClassText, ClassSchema, ClassTools:
			f := s.family().figures
			by[f] = append(by[f], s)
		}
	}
	return by
}

// pools are the figures that are fitted together first: of makers whose models differ little, in
// the order of the table.
func pools(by map[*figures][]*Sample) [][]*figures {
	var order []string
	pooled := map[string][]*figures{}
	seen := map[*figures]bool{}
	for i := range models {
		f := models[i].figures
		if seen[f] || by[f] == nil {
			continue
		}
		seen[f] = true
		key := poolOf(f)
		if pooled[key] == nil {
			order = append(order, key)
		}
		pooled[key] = append(pooled[key], f)
	}
	var all [][]*figures
	for _, key := range order {
		all = append(all, pooled[key])
	}
	return all
}

func poolOf(f *figures) string {
	name := figureName(f)
	switch {
	case f == claude5 || f == claude47 || f == claude48:
		return "claude-5"
	case f == gemini25Vertex || f == gemini3Vertex || f == gemini2:
		return "gemini-vertex"
	}
	for _, maker := range []string{"claude", "gemini", "grok", "command"} {
		if strings.HasPrefix(name, maker) {
			return maker
		}
	}
	if isPublished(f) {
		return name
	}
	return "others"
}

func (f *figures) isPrompt(knob int) bool {
	k := f.knobs()[knob]
	return k == &f.tools || k == &f.flatTools || k == &f.forced
}

// prompted reports whether the prompt for tools is published.
func (f *figures) prompted() bool { return f.textBytes > 0 }

// isPublished reports whether the figures follow from what OpenAI publishes.
func isPublished(f *figures) bool {
	return (strings.HasPrefix(figureName(f), "gpt") || f == oSeries || f == completion) && f != gptOSS
}

// FitAll prints figures fitted to all samples.
func FitAll(w io.Writer, samples []*Sample) {
	by := groups(samples)
	for _, pool := range pools(by) {
		kept := make([]figures, len(pool))
		before := make([]int64, len(pool))
		for i, f := range pool {
			kept[i], before[i] = *f, loss(by[f], narrow)
			if !isPublished(f) {
				neutral(f)
			}
		}
		fit(pool, by)
		for i, f := range pool {
			fmt.Fprintf(w, "%-18s n %4d loss %5.2f %% -> %5.2f %%:", figureName(f), len(by[f]), float64(before[i])/1e4, float64(loss(by[f], narrow))/1e4)
			for i, knob := range f.knobs() {
				if *knob != 0 {
					fmt.Fprintf(w, " %s: %d,", knobNames[i], *knob)
				}
			}
			fmt.Fprintln(w)
		}
		for i, f := range pool {
			*f = kept[i]
		}
	}
}

func figureName(f *figures) string {
	for i := range models {
		if models[i].figures == f {
			return models[i].name
		}
	}
	return "unknown"
}

// neutral is where a fit begins that may not know what the shipped figures know:
// text as it is, a common template, nothing hidden. Margins stay the shipped ones.
func neutral(f *figures) {
	kept := *f
	*f = figures{text: 1000, call: 1000, result: 1000, compact: 1000, schema: 1000, prompt: 5, message: 4}
	if kept.prompted() {
		f.tools, f.flatTools, f.forced = kept.tools, kept.flatTools, kept.forced
	}
	if kept.vocabulary == gemma3 { // as Google documents it
		*f = figures{text: 1000, call: 1000, result: 1000, rendered: 1000}
	}
	f.vocabulary, f.common = kept.vocabulary, kept.common
	f.margin, f.slack, f.toolSlack, f.flatSlack = kept.margin, kept.slack, kept.toolSlack, kept.flatSlack
	f.toolMargin, f.schemaMargin, f.textBytes, f.hiddenBytes = kept.toolMargin, kept.schemaMargin, kept.textBytes, kept.hiddenBytes
}

// HeldOut estimates each sample with figures that were fitted to the samples of other
// parts alone, from a neutral start: nothing that is estimated was ever fitted. OpenAI's figures stay as they
// are, because they follow from what is published. It returns the estimates in order.
func HeldOut(samples []*Sample, part func(*Sample) string) []Input {
	out := make([]Input, len(samples))
	parts := map[string]bool{}
	for _, s := range samples {
		parts[part(s)] = true
	}
	all := groups(samples)
	for held := range parts {
		var rest []*Sample
		for _, s := range samples {
			if part(s) != held {
				rest = append(rest, s)
			}
		}
		others := groups(rest)
		kept := map[*figures]figures{}
		for _, pool := range pools(all) {
			if isPublished(pool[0]) {
				continue
			}
			for _, f := range pool {
				kept[f] = *f
				neutral(f)
			}
			fit(pool, others)
		}
		for i, s := range samples {
			if part(s) == held {
				out[i] = shipped.Input(s.Provider, s.Model, s.Prompt)
			}
		}
		for f, figures := range kept {
			*f = figures
		}
	}
	return out
}

// ByText holds out a fifth of the texts at a time. Requests that begin with the same
// letters stay together, so that the turns of one conversation and the variants of
// one test do not tell of each other.
func ByText(s *Sample) string {
	h := fnv.New32a()
	n := 0
	for i := range s.Prompt.Segments {
		for _, c := range s.Prompt.Segments[i].JSON {
			if n < 48 && ('a' <= c|0x20 && c|0x20 <= 'z') {
				h.Write([]byte{c | 0x20})
				n++
			}
		}
	}
	return fmt.Sprint(h.Sum32() % 5)
}

// shipped is an Estimator that has learned nothing.
var shipped = New()

// Report prints errors and bounds by maker and class.
func Report(w io.Writer, samples []*Sample, estimates []Input) map[string]*Row {
	rows := map[string]*Row{}
	for i, s := range samples {
		in := estimates[i]
		for _, maker := range []string{s.Maker(), "all"} {
			key := fmt.Sprintf("%-9s %s", maker, in.Key.Class)
			r := rows[key]
			if r == nil {
				r = new(Row)
				rows[key] = r
			}
			r.add(s.Actual, in)
		}
	}
	for _, key := range slices.Sorted(func(yield func(string) bool) {
		for key := range rows {
			if !yield(key) {
				return
			}
		}
	}) {
		fmt.Fprintf(w, "%-18s %v\n", key, rows[key])
	}
	return rows
}

// A Row is the accuracy of one maker and class.
type Row struct {
	errors, ratios    []int64 // millionths; ratios of 500 tokens and more
	N, Claimed, Held  int
	Estimated, Actual int64
}

func (r *Row) add(actual int64, in Input) {
	r.N++
	off := in.Expected - actual
	r.errors = append(r.errors, share(max(off, -off), actual))
	r.Estimated += in.Expected
	r.Actual += actual
	if in.Kind == None {
		return
	}
	r.Claimed++
	if in.Bound >= actual {
		r.Held++
	}
	if actual >= 500 {
		r.ratios = append(r.ratios, share(in.Bound, actual))
	}
}

// Join adds what is in other.
func (r *Row) Join(other *Row) {
	r.errors, r.ratios = append(r.errors, other.errors...), append(r.ratios, other.ratios...)
	r.N, r.Claimed, r.Held = r.N+other.N, r.Claimed+other.Claimed, r.Held+other.Held
	r.Estimated, r.Actual = r.Estimated+other.Estimated, r.Actual+other.Actual
}

// Error is a quantile of the absolute error in percent.
func (r *Row) Error(milli int) float64 { return float64(quantile(r.errors, milli)) / 1e4 }

// Ratio is the median of bound by actual for 500 tokens and more, 0 where there are none.
func (r *Row) Ratio() float64 {
	if len(r.ratios) == 0 {
		return 0
	}
	return float64(quantile(r.ratios, 500)) / ppm
}

func (r *Row) String() string {
	return fmt.Sprintf("n %4d  median %5.1f %%  p90 %6.1f %%  sum %.2f  bound claimed %4d held %4d  bound/actual %.2f (%d)",
		r.N, r.Error(500), r.Error(900), float64(r.Estimated)/float64(max(r.Actual, 1)), r.Claimed, r.Held, r.Ratio(), len(r.ratios))
}
