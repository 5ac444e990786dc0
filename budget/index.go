package budget

import (
	"maps"
	"slices"
)

// budgetIndex finds the budgets that can match without looking at all of them:
// each is filed under one pattern of its selector, by what the pattern spells out: a
// whole value, how values begin, or how they end. Of its patterns it is the one that
// the fewest budgets share, so that a call looks at those of its own values only.
type budgetIndex struct {
	labels []labelIndex
	rest   []int32 // budgets whose selector spells out nothing: {} and {model: "*"}
}

// Positions are those in the org's budgets.
type labelIndex struct {
	label      string
	exact      map[string][]int32
	begin, end affixIndex
}

// affixIndex is looked at once for every length that an affix has: the values
// are short, and thousands of budgets have affixes of a few lengths.
type affixIndex struct {
	lengths []int // ascending
	budgets map[string][]int32
}

// A filing is a place in the index.
type filing struct {
	label string
	part  filedBy
	text  string
}

type filedBy uint8

const (
	byValue filedBy = iota
	byBegin
	byEnd
)

// filings are the places where a budget with this pattern can be found.
func (s *labelGlob) filings() []filing {
	first, last := s.glob.parts[0], s.glob.parts[len(s.glob.parts)-1]
	switch {
	case s.glob.exact():
		return []filing{{s.label, byValue, first}}
	case first != "" && last != "":
		return []filing{{s.label, byBegin, first}, {s.label, byEnd, last}}
	case first != "":
		return []filing{{s.label, byBegin, first}}
	case last != "":
		return []filing{{s.label, byEnd, last}}
	}
	return nil
}

func indexBudgets(budgets []*activeBudget) (index budgetIndex) {
	shared := make(map[filing]int)
	for _, b := range budgets {
		for i := range b.selector {
			for _, f := range b.selector[i].filings() {
				shared[f]++
			}
		}
	}
	labels := make(map[string]*labelIndex)
	for i, b := range budgets {
		best, ok := b.filing(shared)
		if !ok {
			index.rest = append(index.rest, int32(i))
			continue
		}
		if labels[best.label] == nil {
			labels[best.label] = &labelIndex{label: best.label, exact: map[string][]int32{}, begin: newAffixIndex(), end: newAffixIndex()}
		}
		labels[best.label].add(best, int32(i))
	}
	for _, label := range slices.Sorted(maps.Keys(labels)) {
		index.labels = append(index.labels, *labels[label])
	}
	return index
}

// filing is the place that the fewest budgets share; of equal ones a whole value, then the longest text.
func (b *activeBudget) filing(shared map[filing]int) (best filing, ok bool) {
	better := func(f filing) bool {
		switch {
		case shared[f] != shared[best]:
			return shared[f] < shared[best]
		case (f.part == byValue) != (best.part == byValue):
			return f.part == byValue
		}
		return len(f.text) > len(best.text)
	}
	for i := range b.selector {
		for _, f := range b.selector[i].filings() {
			if !ok || better(f) {
				best, ok = f, true
			}
		}
	}
	return best, ok
}

func newAffixIndex() affixIndex { return affixIndex{budgets: map[string][]int32{}} }

func (l *labelIndex) add(f filing, budget int32) {
	switch f.part {
	case byValue:
		l.exact[f.text] = append(l.exact[f.text], budget)
	case byBegin:
		l.begin.add(f.text, budget)
	case byEnd:
		l.end.add(f.text, budget)
	}
}

func (x *affixIndex) add(affix string, budget int32) {
	x.budgets[affix] = append(x.budgets[affix], budget)
	if i, found := slices.BinarySearch(x.lengths, len(affix)); !found {
		x.lengths = slices.Insert(x.lengths, i, len(affix))
	}
}

// find appends the budgets that can match a value of the label.
func (l *labelIndex) find(found []int32, value string) []int32 {
	found = append(found, l.exact[value]...)
	for _, n := range l.begin.lengths {
		if n > len(value) {
			break
		}
		found = append(found, l.begin.budgets[value[:n]]...)
	}
	for _, n := range l.end.lengths {
		if n > len(value) {
			break
		}
		found = append(found, l.end.budgets[value[len(value)-n:]]...)
	}
	return found
}

// candidates appends those that can match to found, each once, in no particular order.
func (x *budgetIndex) candidates(found []int32, t *traits) []int32 {
	found = append(found, x.rest...)
	for i := range x.labels {
		l := &x.labels[i]
		found = l.find(found, t.label(l.label))
	}
	return found
}

// matching appends the budgets that a call to a target falls under to found, by name.
func (o *organisation) matching(found []*activeBudget, t *traits) []*activeBudget {
	var scratch [64]int32
	candidates := o.index.candidates(scratch[:0], t)
	slices.Sort(candidates)
	for _, i := range candidates {
		if b := o.budgets[i]; b.matches(t) {
			found = append(found, b)
		}
	}
	return found
}
