package budget

import (
	"fmt"
	"maps"
	"slices"

	"keel/budget/policy"
)

// A document that compares a pseudonymised label with a plain value would match nobody, and would put the
// value into the database for good, with its history. It is refused: whoever means somebody writes the pseudonym.

// Pseudonymised reports whether an org's calls have pseudonyms in a label.
func (c *Config) Pseudonymised(org, label string) bool {
	for _, rule := range c.SubjectsOf(org) {
		if rule.Label == label && rule.Pseudonym {
			return true
		}
	}
	return false
}

// SubjectsOf are the rules that hold for calls of an org: its own where it has any, else those of the default one.
func (c *Config) SubjectsOf(org string) []SubjectRule {
	if own := c.Subjects(org); len(own) > 0 {
		return own
	}
	return c.Subjects(DefaultOrg)
}

// AnyPseudonym names a document that asks for pseudonyms, "" where none does.
func (c *Config) AnyPseudonym() string {
	for _, org := range slices.Sorted(maps.Keys(c.orgs)) {
		for i := range c.orgs[org].subjects {
			if rule := &c.orgs[org].subjects[i]; rule.Pseudonym {
				return keyOf(rule).String()
			}
		}
	}
	return ""
}

// addSubject refuses rules that would give one label pseudonyms and plain values.
func (o *organisation) addSubject(s *SubjectRule) error {
	for i := range o.subjects {
		if other := &o.subjects[i]; other.Label == s.Label && other.Pseudonym != s.Pseudonym {
			return fmt.Errorf("pseudonym: Subject %s gives label %s, too, and says otherwise: a label has pseudonyms from everywhere or from nowhere", other.Name, s.Label)
		}
	}
	o.subjects = append(o.subjects, *s)
	return nil
}

// plainValues refuses a document that names a plain value of a pseudonymised label. The error does not repeat the value: it
// may end in a log. Subjects come before all other documents.
func (c *compilation) plainValues(doc document) error {
	org := doc.metadata().Org
	if !slices.ContainsFunc(c.SubjectsOf(org), func(s SubjectRule) bool { return s.Pseudonym }) {
		return nil
	}
	var f faults
	check := func(field, label, value string) {
		if _, ok := PseudonymKeyOf(value); !ok && value != "" && c.Pseudonymised(org, label) {
			f.addf(field, "label %s has pseudonyms (Subject says pseudonym: true), and this is a plain value, which no call has: write what \"keel audit pseudonym --label %[1]s VALUE\" prints", label)
		}
	}
	switch doc := doc.(type) {
	case *Budget:
		for _, label := range slices.Sorted(maps.Keys(doc.Selector)) {
			if pattern := doc.Selector[label]; pattern != "*" {
				check("selector."+label, label, pattern)
			}
		}
	case *Policy:
		for _, label := range slices.Sorted(maps.Keys(doc.Do.Tag)) {
			check("do.tag."+label, label, doc.Do.Tag[label])
		}
		program, err := policy.Compile(doc.When)
		if err != nil {
			return nil // addPolicy says so
		}
		read, all := program.Labels()
		for _, label := range read {
			for _, value := range label.Values {
				check("when", label.Name, value)
			}
			if label.Other && c.Pseudonymised(org, label.Name) {
				f.addf("when", "label %s has pseudonyms (Subject says pseudonym: true): a condition can only compare it, by ==, != or in, with pseudonyms that stand there, or ask has(subject.%[1]s)", label.Name)
			}
		}
		for _, rule := range c.SubjectsOf(org) {
			if all && rule.Pseudonym {
				f.addf("when", "label %s has pseudonyms, so a condition has to name the labels that it reads, and can't look at all of them", rule.Label)
				break
			}
		}
	}
	return f.err()
}

// A Named pseudonym stands in a document.
type Named struct {
	Document string // "Budget ada-month of org acme"
	KeyID    string
}

// NamedPseudonyms are those that stand in selectors of budgets: one whose key is not in use matches nobody.
func (c *Config) NamedPseudonyms() (all []Named) {
	for _, org := range slices.Sorted(maps.Keys(c.orgs)) {
		for _, b := range c.orgs[org].budgets {
			for _, label := range slices.Sorted(maps.Keys(b.Selector)) {
				if id, ok := PseudonymKeyOf(b.Selector[label]); ok {
					all = append(all, Named{keyOf(b.Budget).String(), id})
				}
			}
		}
	}
	return all
}
