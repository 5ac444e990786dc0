package replay

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"keel/budget/audit/spend"
	"keel/pricing"
)

// Sum adds calls up.
type Sum struct {
	Calls      int64           `json:"calls"`
	Recorded   pricing.NanoUSD `json:"recorded_usd"`
	Replayed   pricing.NanoUSD `json:"replayed_usd"`
	Difference pricing.NanoUSD `json:"difference_usd"`
}

func (s *Sum) add(c *Call) (err error) {
	s.Calls++
	if s.Recorded, err = s.Recorded.Add(c.WasCost); err == nil {
		s.Replayed, err = s.Replayed.Add(c.IsCost)
	}
	s.Difference = s.Replayed - s.Recorded
	return err
}

// Row is a Sum of calls that have something in common.
type Row struct {
	Effect Effect `json:"effect"`
	By     string `json:"by,omitempty"`   // document
	Team   string `json:"team,omitempty"` // label of the subject
	Sum
}

// Report is what another configuration would have made of recorded calls.
type Report struct {
	Org         string `json:"org"`
	CountedFrom string `json:"counted_from"` // spend counts from then on: the begin of the earliest window
	Since       string `json:"since"`
	Until       string `json:"until,omitempty"`
	Config      string `json:"config"` // version
	Sum
	Effects       []Row                   `json:"effects"`
	Documents     []Row                   `json:"by_document"`
	Teams         []Row                   `json:"by_team"` // calls that are not the same
	Skipped       map[string]int64        `json:"skipped,omitempty"`
	Approximated  map[Approximation]int64 `json:"approximated"` // calls
	Approximately []string                `json:"approximations"`

	effects, documents, teams map[Row]*Sum
}

// always are approximations of every replay.
var always = []string{
	"prompts are not stored: the input of a call is its recorded count, at every target",
	"calls end when they ended, and cost what they cost, unless their target or their limit differs",
	"speed, region and search context are not recorded, and taken as not stated; labels that policies gave are part of the recorded subject",
	"one processor, a database that never goes away, targets that are all healthy, and no client that reacts to a denial",
}

func newReport(o *Options, begin time.Time) *Report {
	r := &Report{Org: o.Query.Org, Since: o.Query.Since.UTC().Format(time.RFC3339), CountedFrom: "the first record", Config: o.Config.Version,
		Skipped: make(map[string]int64), Approximated: make(map[Approximation]int64), Approximately: always,
		effects: make(map[Row]*Sum), documents: make(map[Row]*Sum), teams: make(map[Row]*Sum)}
	if !begin.IsZero() {
		r.CountedFrom = begin.UTC().Format(time.RFC3339)
	}
	if !o.Query.Until.IsZero() {
		r.Until = o.Query.Until.UTC().Format(time.RFC3339)
	}
	return r
}

// skip notes a record that no decision can be replayed of.
func (r *Report) skip(record *spend.Record) {
	if record.DecidedAt == nil {
		r.Skipped["no_decision"]++
	} else {
		r.Skipped["unmetered"]++
	}
}

func (r *Report) count(c *Call) error {
	if err := r.add(c); err != nil {
		return err
	}
	for _, a := range c.Approx {
		r.Approximated[a]++
	}
	add := func(to map[Row]*Sum, k Row) error {
		if to[k] == nil {
			to[k] = new(Sum)
		}
		return to[k].add(c)
	}
	err := add(r.effects, Row{Effect: c.Effect})
	if c.Effect != Same && err == nil {
		if err = add(r.teams, Row{Effect: c.Effect, Team: c.Subject["team"]}); err == nil && c.By != "" {
			err = add(r.documents, Row{Effect: c.Effect, By: c.By})
		}
	}
	return err
}

func (r *Report) finish() {
	r.Effects, r.Documents, r.Teams = rows(r.effects), rows(r.documents), rows(r.teams)
}

func rows(of map[Row]*Sum) []Row {
	keys := slices.SortedFunc(maps.Keys(of), func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.Effect, b.Effect), cmp.Compare(a.By, b.By), cmp.Compare(a.Team, b.Team))
	})
	all := make([]Row, 0, len(keys))
	for _, k := range keys {
		k.Sum = *of[k]
		all = append(all, k)
	}
	return all
}

// WriteText prints a report for a person.
func WriteText(w io.Writer, r *Report) error {
	fmt.Fprintf(w, "org %s from %s, spend counted from %s, under configuration %s\n", r.Org, r.Since, r.CountedFrom, r.Config)
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "EFFECT\tBY\tTEAM\tCALLS\tRECORDED USD\tREPLAYED USD\tDIFFERENCE USD")
	line := func(row Row) {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", row.Effect, row.By, row.Team, row.Calls, row.Recorded, row.Replayed, row.Difference)
	}
	line(Row{Effect: "all", Sum: r.Sum})
	for _, part := range [][]Row{r.Effects, r.Documents, r.Teams} {
		for _, row := range part {
			line(row)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, why := range slices.Sorted(maps.Keys(r.Skipped)) {
		fmt.Fprintf(w, "%d records were not replayed: %s\n", r.Skipped[why], why)
	}
	for _, a := range slices.Sorted(maps.Keys(r.Approximated)) {
		fmt.Fprintf(w, "%d calls are approximated: %s\n", r.Approximated[a], a)
	}
	for _, note := range r.Approximately {
		fmt.Fprintln(w, "approximated:", note)
	}
	return nil
}
