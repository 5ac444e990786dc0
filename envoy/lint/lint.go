package lint

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Source is one input.
type Source struct {
	Name string // as findings name it
	Text []byte
}

// Options say how to judge. The zero value is meant.
type Options struct {
	// Complete says that the sources are all that the mesh has: what is missing in
	// them is missing, and no longer unseen.
	Complete bool
}

// A Finding is a rule that a place breaks.
type Finding struct {
	Rule     string   `json:"rule"`
	Severity Severity `json:"severity"`
	Place
	Message string `json:"message"` // what is there
	Danger  string `json:"danger"`
	Fix     string `json:"fix"`
}

// Unseen is what could not be judged.
type Unseen struct {
	Rule string `json:"rule,omitempty"` // that it may break; "" for any
	Place
	Message string `json:"message"`
}

// A Place is where in a source something is.
type Place struct {
	File   string `json:"file"`
	Line   int    `json:"line"`           // 1-based
	Column int    `json:"column"`         // 1-based, in characters
	Path   string `json:"path,omitempty"` // the fields that lead there
}

// A Report is what Lint found, in the order of the sources and their lines.
type Report struct {
	Findings []Finding `json:"findings"`
	Unseen   []Unseen  `json:"unseen"`
}

// Lint judges all sources together. It fails with an UnreadableError for each source
// that can't be parsed, and when none of them is of a kind that it knows.
func Lint(sources []Source, o Options) (*Report, error) {
	l := &linter{
		complete: o.Complete, clusters: map[string]*node{}, assignments: map[string]*node{}, routes: map[string]*node{},
		told: map[string]bool{}, order: map[string]int{},
	}
	var failures []error
	for i, source := range sources {
		f := &file{name: source.Name, text: string(source.Text)}
		l.order[f.name] = i
		documents, err := read(f)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		for _, document := range documents {
			l.collect(document)
		}
	}
	if err := errors.Join(failures...); err != nil {
		return nil, err
	}
	if !l.known {
		name := "nothing"
		if len(sources) > 0 {
			name = sources[0].Name
		}
		return nil, &UnreadableError{File: name, Message: "no configuration of Envoy, Istio or Envoy Gateway is here"}
	}
	l.judge()
	return l.report(), nil
}

// linter is one run.
type linter struct {
	complete bool
	known    bool // something of a kind that is judged was there

	// What the sources say, in order.
	managers    []*manager
	clusters    map[string]*node // by name
	assignments map[string]*node // endpoints, by the name of their cluster
	routes      map[string]*node // route configurations, by name
	objects     []*object
	patches     []*patch  // of EnvoyFilters and EnvoyPatchPolicies
	extProcs    []*policy // see policies
	meshes      []*node   // MeshConfig
	budgets     []*node   // documents of Keel

	filters []*filter // every ext_proc and ext_authz filter, wherever it is

	findings []Finding
	unseens  []Unseen
	told     map[string]bool
	order    map[string]int
}

func (l *linter) judge() {
	l.findFilters()
	for _, m := range l.managers {
		l.judgeManager(m)
	}
	for _, f := range l.filters {
		if f.judged {
			l.judgeFilter(f)
		}
	}
	l.judgeClusters()
	l.judgeMirrorManifests()
	l.judgeIstio()
	l.judgeGateway()
}

// find reports that a rule is broken at a node.
func (l *linter) find(id string, n *node, format string, args ...any) {
	r := ruleOf(id)
	place, message := placeOf(n), fmt.Sprintf(format, args...)
	if key := fmt.Sprint(id, place, message); !l.told[key] {
		l.told[key] = true
		l.findings = append(l.findings, Finding{r.ID, r.Severity, place, message, r.Danger, r.Fix})
	}
}

// unseen tells what can't be judged.
func (l *linter) unseen(id string, n *node, message string) {
	place := placeOf(n)
	if key := fmt.Sprint("unseen", id, place, message); !l.told[key] {
		l.told[key] = true
		l.unseens = append(l.unseens, Unseen{id, place, message})
	}
}

// absent is for what the sources don't have: a finding where they are complete.
func (l *linter) absent(id string, n *node, format string, args ...any) {
	if l.complete {
		l.find(id, n, format, args...)
		return
	}
	l.unseen(id, n, fmt.Sprintf(format, args...))
}

func placeOf(n *node) Place {
	if n == nil {
		return Place{}
	}
	line, column := n.place()
	return Place{n.file.name, line, column, n.path()}
}

func (l *linter) report() *Report {
	order := func(a, b Place) int {
		return cmp.Or(cmp.Compare(l.order[a.File], l.order[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), strings.Compare(a.Path, b.Path))
	}
	slices.SortStableFunc(l.findings, func(a, b Finding) int { return cmp.Or(order(a.Place, b.Place), strings.Compare(a.Rule, b.Rule)) })
	slices.SortStableFunc(l.unseens, func(a, b Unseen) int { return cmp.Or(order(a.Place, b.Place), strings.Compare(a.Rule, b.Rule)) })
	return &Report{Findings: append([]Finding{}, l.findings...), Unseen: append([]Unseen{}, l.unseens...)}
}
