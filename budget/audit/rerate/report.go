package rerate

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"keel/budget/audit/spend"
	"keel/pricing"
)

// Row adds up the calls of one name. A call that can't be rated counts what is recorded on both sides.
type Row struct {
	Name       string          `json:"name"`
	Calls      int64           `json:"calls"`
	Recorded   pricing.NanoUSD `json:"recorded_usd"`
	Rerated    pricing.NanoUSD `json:"rerated_usd"`
	Difference pricing.NanoUSD `json:"difference_usd"`
}

// Left are calls that were not rated anew, for one reason.
type Left struct {
	Reason   Reason          `json:"reason"`
	Calls    int64           `json:"calls"`
	Recorded pricing.NanoUSD `json:"recorded_usd"`
	Example  string          `json:"example,omitempty"` // a decision
	Why      string          `json:"why,omitempty"`     // of it
}

// Report is what history costs under other prices.
type Report struct {
	Org    string `json:"org"`
	Since  string `json:"since,omitempty"`
	Until  string `json:"until,omitempty"`
	Prices string `json:"prices"` // version of the book
	Row
	Rated  int64           `json:"rated"`
	Kept   pricing.NanoUSD `json:"kept_usd"` // of calls that were rated: attempts that nobody metered, which stay what they were charged
	Left   []Left          `json:"left"`
	Model  []Row           `json:"by_model"`
	Team   []Row           `json:"by_team"`
	Budget []Row           `json:"by_budget"` // a call counts once in each of its budgets
}

// Change is a call whose cost differs.
type Change struct {
	Record *spend.Record
	Cost   pricing.Cost
}

// Run rates the calls of q. changed, which may be nil, is told every call whose cost differs, in order.
func Run(ctx context.Context, from *spend.Reader, q spend.Query, original, book *pricing.Book, changed func(Change) error) (*Report, error) {
	r := &Report{Org: q.Org, Prices: book.Version(), Left: []Left{}}
	for _, bound := range []struct {
		at   time.Time
		into *string
	}{{q.Since, &r.Since}, {q.Until, &r.Until}} {
		if !bound.at.IsZero() {
			*bound.into = bound.at.UTC().Format(time.RFC3339)
		}
	}
	r.Name = "all"
	left := make(map[Reason]*Left)
	models, teams, budgets := make(map[string]*Row), make(map[string]*Row), make(map[string]*Row)
	err := from.Read(ctx, q, nil, func(record *spend.Record) error {
		rating, err := Rate(record, original, book)
		if err != nil {
			return err
		}
		recorded := pricing.NanoUSD(0)
		if record.Cost != nil {
			recorded = *record.Cost
		}
		rerated := rating.Cost.Total
		if rating.Reason != "" {
			rerated = recorded
			l := left[rating.Reason]
			if l == nil {
				l = &Left{Reason: rating.Reason, Example: record.ID.String(), Why: rating.Why}
				left[rating.Reason] = l
			}
			l.Calls++
			l.Recorded += recorded
		} else {
			r.Rated++
			if r.Kept, err = r.Kept.Add(rating.Kept); err != nil {
				return err
			}
		}
		if err := r.count(record, recorded, rerated, models, teams, budgets); err != nil {
			return err
		}
		if rerated != recorded && changed != nil {
			return changed(Change{record, rating.Cost})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, reason := range slices.Sorted(maps.Keys(left)) {
		r.Left = append(r.Left, *left[reason])
	}
	r.Model, r.Team, r.Budget = rows(models), rows(teams), rows(budgets)
	return r, nil
}

func (r *Report) count(record *spend.Record, recorded, rerated pricing.NanoUSD, models, teams, budgets map[string]*Row) error {
	if err := r.add(recorded, rerated); err != nil {
		return err
	}
	seen := make(map[string]bool)
	for _, by := range []struct {
		rows map[string]*Row
		name string
	}{{models, cmp.Or(record.ModelReported, record.ModelRouted)}, {teams, record.Subject["team"]}} {
		if err := row(by.rows, by.name).add(recorded, rerated); err != nil {
			return err
		}
	}
	for _, c := range record.Charges {
		if !seen[c.Budget] {
			seen[c.Budget] = true
			if err := row(budgets, c.Budget).add(recorded, rerated); err != nil {
				return err
			}
		}
	}
	return nil
}

func row(rows map[string]*Row, name string) *Row {
	if rows[name] == nil {
		rows[name] = &Row{Name: name}
	}
	return rows[name]
}

func (r *Row) add(recorded, rerated pricing.NanoUSD) (err error) {
	r.Calls++
	if r.Recorded, err = r.Recorded.Add(recorded); err == nil {
		r.Rerated, err = r.Rerated.Add(rerated)
	}
	r.Difference = r.Rerated - r.Recorded
	return err
}

// rows are sorted by what they differ, then by name.
func rows(of map[string]*Row) []Row {
	all := make([]Row, 0, len(of))
	for _, r := range of {
		all = append(all, *r)
	}
	slices.SortFunc(all, func(a, b Row) int {
		return cmp.Or(cmp.Compare(max(b.Difference, -b.Difference), max(a.Difference, -a.Difference)), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// WriteText prints a report for a person.
func WriteText(w io.Writer, r *Report) error {
	fmt.Fprintf(w, "org %s under prices %s\n", r.Org, r.Prices)
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "BY\tNAME\tCALLS\tRECORDED USD\tRERATED USD\tDIFFERENCE USD")
	for _, part := range []struct {
		by   string
		rows []Row
	}{{"", []Row{r.Row}}, {"model", r.Model}, {"team", r.Team}, {"budget", r.Budget}} {
		for _, row := range part.rows {
			fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\n", part.by, row.Name, row.Calls, row.Recorded, row.Rerated, row.Difference)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "%d calls were rated\n", r.Rated)
	if r.Kept > 0 {
		fmt.Fprintf(w, "%s USD of them stay: attempts that nobody metered\n", r.Kept)
	}
	for _, l := range r.Left {
		fmt.Fprintf(w, "%d calls for %s USD were left as they are: %s", l.Calls, l.Recorded, l.Reason)
		if l.Why != "" {
			fmt.Fprintf(w, ": %s (such as %s)", l.Why, l.Example)
		}
		fmt.Fprintln(w)
	}
	return nil
}
