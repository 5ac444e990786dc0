package budget

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// all returns every document, as pointers into d's slices.
func (d *Documents) all() []document {
	var all []document
	for i := range d.Subjects {
		all = append(all, &d.Subjects[i])
	}
	for i := range d.Budgets {
		all = append(all, &d.Budgets[i])
	}
	for i := range d.Routes {
		all = append(all, &d.Routes[i])
	}
	for i := range d.Policies {
		all = append(all, &d.Policies[i])
	}
	for i := range d.ExchangeRates {
		all = append(all, &d.ExchangeRates[i])
	}
	for i := range d.Prices {
		all = append(all, &d.Prices[i])
	}
	for i := range d.Settings {
		all = append(all, &d.Settings[i])
	}
	return all
}

// add appends a copy of one document.
func (d *Documents) add(doc document) {
	switch doc := doc.(type) {
	case *Budget:
		d.Budgets = append(d.Budgets, *doc)
	case *Route:
		d.Routes = append(d.Routes, *doc)
	case *Policy:
		d.Policies = append(d.Policies, *doc)
	case *ExchangeRate:
		d.ExchangeRates = append(d.ExchangeRates, *doc)
	case *Price:
		d.Prices = append(d.Prices, *doc)
	case *SubjectRule:
		d.Subjects = append(d.Subjects, *doc)
	case *Settings:
		d.Settings = append(d.Settings, *doc)
	}
}

// clone returns documents that can be changed without changing d: all but
// selectors and rates, which nobody changes.
func (d *Documents) clone() Documents {
	c := Documents{
		slices.Clone(d.Budgets), slices.Clone(d.Routes), slices.Clone(d.Policies),
		slices.Clone(d.ExchangeRates), slices.Clone(d.Prices), slices.Clone(d.Subjects), slices.Clone(d.Settings),
	}
	for i := range c.Routes {
		c.Routes[i].Targets = slices.Clone(c.Routes[i].Targets)
	}
	return c
}

// Append adds the documents of more to d.
func (d *Documents) Append(more Documents) {
	for _, doc := range more.all() {
		d.add(doc)
	}
}

// Over returns d with the documents of newer in place of those of the same
// kind, org and name, and beside the others: what is stored once newer is applied.
func (d Documents) Over(newer Documents) Documents {
	replaced := make(map[documentKey]bool)
	for _, doc := range newer.all() {
		replaced[keyOf(doc)] = true
	}
	var merged Documents
	for _, doc := range d.all() {
		if !replaced[keyOf(doc)] {
			merged.add(doc)
		}
	}
	merged.Append(newer)
	return merged
}

// Select returns the documents for which keep says so.
func (d Documents) Select(keep func(Kind, Meta) bool) Documents {
	var selected Documents
	for _, doc := range d.all() {
		if keep(doc.kind(), *doc.metadata()) {
			selected.add(doc)
		}
	}
	return selected
}

// Metas returns what all documents carry, in no particular order.
func (d Documents) Metas() []Meta {
	var metas []Meta
	for _, doc := range d.all() {
		metas = append(metas, *doc.metadata())
	}
	return metas
}

// A Summary is a document in one line.
type Summary struct {
	Meta
	Kind Kind
	Text string // the rest of it, in the form in which documents are written
}

// Summaries returns a line for every document, by kind, org and name.
func (d Documents) Summaries() []Summary {
	var summaries []Summary
	for _, doc := range sorted(d.all()) {
		var parts []string
		for _, e := range doc.fields() {
			parts = append(parts, e.key+": "+flow(e.value))
		}
		summaries = append(summaries, Summary{*doc.metadata(), doc.kind(), strings.Join(parts, ", ")})
	}
	return summaries
}

// documentKey identifies a document.
type documentKey struct {
	kind      Kind
	org, name string
}

func keyOf(doc document) documentKey {
	m := doc.metadata()
	return documentKey{doc.kind(), cmp.Or(m.Org, DefaultOrg), m.Name}
}

func (k documentKey) String() string {
	if k.org == DefaultOrg {
		return fmt.Sprintf("%s %s", k.kind, k.name)
	}
	return fmt.Sprintf("%s %s of org %s", k.kind, k.name, k.org)
}

// kinds are in the order in which documents are listed and compiled: prices need exchange rates.
var kinds = []Kind{KindSubject, KindBudget, KindRoute, KindPolicy, KindExchangeRate, KindPrice, KindSettings}

// Kinds returns the kinds of config document, in the order in which they are listed.
func Kinds() []Kind { return slices.Clone(kinds) }

func (k documentKey) compare(o documentKey) int {
	return cmp.Or(slices.Index(kinds, k.kind)-slices.Index(kinds, o.kind), cmp.Compare(k.org, o.org), cmp.Compare(k.name, o.name))
}

func sorted(docs []document) []document {
	slices.SortStableFunc(docs, func(a, b document) int { return keyOf(a).compare(keyOf(b)) })
	return docs
}
