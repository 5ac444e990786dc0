package tokens

import (
	"fmt"
	"io"
	"math"
)

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
	for _, prompt := range []int64{begin.prompt, 0, 10, residual} {
		set(pool, begin)
		place(pool, all, prompt)
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
		own := by[f]
		if len(own) == 0 {
			continue
		}
		one := []*figures{f}
		var best figures
		least := int64(math.MaxInt64)
		common := *f
		for _, prompt := range []int64{f.prompt, residual} {
			set(one, common)
			place(one, own, prompt)
			descend(one, own, wide, ownGain, 256, 64, 16, 4, 1)
			descend(one, own, narrow, ownGain, 32, 8, 2, 1)
			if now := loss(own, narrow); now < least {
				best, least = *f, now-ownGain/int64(len(own)) // what comes later must be better by as much
			}
		}
		set(one, best)
	}
}

// residual asks for a prompt of what texts have beyond what is known, and tools of what those have: templates
// differ by hundreds of tokens, which no small steps lead to.
const residual = -1

func place(pool []*figures, samples []*Sample, prompt int64) {
	if prompt != residual {
		for _, f := range pool {
			f.prompt = prompt
		}
		return
	}
	for _, tools := range []bool{false, true} {
		var beyond []int64
		for _, s := range samples {
			if (s.Prompt.RequestClass() == ClassTools) == tools {
				f := s.family()
				beyond = append(beyond, s.Actual-f.expected(s.Prompt, s.Prompt.measured(f.vocabulary)))
			}
		}
		if len(beyond) == 0 {
			continue
		}
		for _, f := range pool {
			switch by := quantile(beyond, 500); {
			case !tools:
				f.prompt = max(f.prompt+by, 0)
			case !f.prompted():
				f.tools, f.flatTools = max(f.tools+by, 0), max(f.flatTools+by, 0)
			}
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
