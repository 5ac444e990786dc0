package budget

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"keel/budget/policy"
)

// An activePolicy is a policy with what is known of it before a call comes.
type activePolicy struct {
	*Policy
	program *policy.Program
	budgets []*activeBudget // that the condition reads
	effect  string          // of one that warns, tags or chooses a route
}

func (o *organisation) addPolicy(p *Policy) error {
	if p.Do.Route != "" && o.route(p.Do.Route) == nil {
		return fmt.Errorf("do.route: there is no route %q", p.Do.Route)
	}
	program, err := policy.Compile(p.When)
	if err != nil {
		return fmt.Errorf("when: %w", err)
	}
	active := &activePolicy{Policy: p, program: program}
	for _, name := range program.Budgets() {
		b := o.budget(name)
		if b == nil {
			return fmt.Errorf("when: there is no budget %q", name)
		}
		active.budgets = append(active.budgets, b)
	}
	switch {
	case p.Do.Warn != "":
		active.effect = warnedEffect + p.Do.Warn
	case len(p.Do.Tag) > 0:
		active.effect = tagged(p.Do.Tag)
	case p.Do.Route != "":
		active.effect = "chose route " + p.Do.Route
	}
	for _, b := range active.budgets {
		if o.asked == nil {
			o.asked = make(map[string]*activeBudget)
		}
		o.asked[b.Name] = b
	}
	o.when.add(int32(len(o.policies)), program)
	o.policies = append(o.policies, active)
	return nil
}

func tagged(labels map[string]string) string {
	var text []string
	for _, label := range slices.Sorted(maps.Keys(labels)) {
		text = append(text, label+"="+labels[label])
	}
	return "tagged " + strings.Join(text, ", ")
}

// policyIndex finds the policies that can match a call without looking at all of them: one that needs a label to have a
// value is filed under it. Positions are those in the org's policies.
type policyIndex struct {
	labels []policiesByLabel
	rest   []int32 // those of which nothing is known
}

type policiesByLabel struct {
	label    string
	policies map[string][]int32 // by value
}

// add files a policy behind those that are there.
func (x *policyIndex) add(i int32, program *policy.Program) {
	label, values := program.Needs()
	if label == "" {
		x.rest = append(x.rest, i)
		return
	}
	at := slices.IndexFunc(x.labels, func(l policiesByLabel) bool { return l.label == label })
	if at < 0 {
		at = len(x.labels)
		x.labels = append(x.labels, policiesByLabel{label, make(map[string][]int32)})
	}
	for _, value := range values {
		if there := x.labels[at].policies[value]; len(there) == 0 || there[len(there)-1] != i { // a value may stand there twice
			x.labels[at].policies[value] = append(there, i)
		}
	}
}

// candidates appends those that can match a call of this subject to found, each once, in their order.
func (x *policyIndex) candidates(found []int32, subject Subject) []int32 {
	found = append(found, x.rest...)
	for i := range x.labels {
		l := &x.labels[i]
		found = append(found, l.policies[subject[l.label]]...)
	}
	slices.Sort(found)
	return found
}
