package tokens

import (
	"fmt"
	"hash/fnv"
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
		key := poolOf(f, len(by[f]))
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

func poolOf(f *figures, samples int) string {
	name := figureName(f)
	switch {
	case f == claude5 || f == claude47 || f == claude48:
		return "claude-5"
	case f == gemini25Vertex || f == gemini3Vertex || f == gemini2:
		return "gemini-vertex"
	}
	for _, maker := range []string{"claude", "gemini"} {
		if strings.HasPrefix(name, maker) {
			return maker
		}
	}
	if isPublished(f) || samples >= 2*leastRecordings {
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

// leastRecordings is how many must tell of a family before its bounds rest on them.
const leastRecordings = 5

// few reports whether too few samples tell of f. Families of a maker that all count alike tell of each other.
func few(pool []*figures, f *figures, by map[*figures][]*Sample) (texts, tools bool) {
	of := []*figures{f}
	if f.prompted() || f.vocabulary == gemma3 {
		of = pool
	}
	var n, withTools int
	for _, f := range of {
		for _, s := range by[f] {
			if s.Prompt.RequestClass() == ClassTools {
				withTools++
			} else {
				n++
			}
		}
	}
	return n < leastRecordings, withTools < leastRecordings
}

// Scarce are the families whose figures do not say, or say wrongly, that too few samples tell of them.
func Scarce(samples []*Sample) []string {
	by := groups(samples)
	var wrong []string
	for _, pool := range pools(by) {
		for _, f := range pool {
			if texts, tools := few(pool, f, by); !isPublished(f) && (texts != f.fewTexts || tools != f.fewTools) {
				wrong = append(wrong, fmt.Sprintf("%s: few texts %v, few with tools %v", figureName(f), texts, tools))
			}
		}
	}
	return wrong
}

// isPublished reports whether the figures follow from what OpenAI publishes.
func isPublished(f *figures) bool {
	return (strings.HasPrefix(figureName(f), "gpt") || f == oSeries || f == completion) && f != gptOSS
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
	f.fewTexts, f.fewTools = kept.fewTexts, kept.fewTools
}

// HeldOut estimates each sample with figures that were fitted to the samples of other
// parts alone, from a neutral start: nothing that is estimated was ever fitted. OpenAI's figures stay as they
// are, because they follow from what is published. It returns the estimates in order.
func HeldOut(samples []*Sample, part func(*Sample) string) []Input {
	out := make([]Input, len(samples))
	for i, s := range samples {
		out[i] = shipped.Input(s.Provider, s.Model, s.Prompt)
	}
	for _, pool := range pools(groups(samples)) {
		if !isPublished(pool[0]) {
			holdOut(pool, samples, part, out)
		}
	}
	return out
}

// holdOut makes the estimates of a pool's samples.
func holdOut(pool []*figures, samples []*Sample, part func(*Sample) string, out []Input) {
	parts := map[string][]int{}
	for i, s := range samples {
		if slices.Contains(pool, s.family().figures) {
			parts[part(s)] = append(parts[part(s)], i)
		}
	}
	kept := make([]figures, len(pool))
	for i, f := range pool {
		kept[i] = *f
	}
	for held, indexes := range parts {
		var rest []*Sample
		for other, indexes := range parts {
			for _, i := range indexes {
				if other != held {
					rest = append(rest, samples[i])
				}
			}
		}
		for _, f := range pool {
			neutral(f)
		}
		by := groups(rest)
		fit(pool, by)
		for _, f := range pool {
			f.fewTexts, f.fewTools = few(pool, f, by)
		}
		for _, i := range indexes {
			out[i] = shipped.Input(samples[i].Provider, samples[i].Model, samples[i].Prompt)
		}
		for i, f := range pool {
			*f = kept[i]
		}
	}
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

// BySource holds out all that one repository recorded: who asks Keel is nobody whose requests were fitted.
func BySource(s *Sample) string { return s.Source }

// shipped is an Estimator that has learned nothing.
var shipped = New()
