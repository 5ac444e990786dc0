package reconcile

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// WriteText prints a report for a person: the cells that differ, then what the differences are made of.
func WriteText(w io.Writer, r *Report) error {
	fmt.Fprintf(w, "%s, org %s, %s to %s, days in %s\n", r.Provider, r.Org, r.Since, r.Until, r.Timezone)
	if r.Zone != "" {
		fmt.Fprintf(w, "the days agree in %s: the statement's begin there\n", r.Zone)
	}
	for _, note := range r.LeftOut {
		fmt.Fprintln(w, "left out:", note)
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	shown := 0
	for i := range r.Cells {
		c := &r.Cells[i]
		differs := len(c.Causes) > 0 || r.Stated == nil && (c.StatedQuantity == nil || *c.StatedQuantity != c.RecordedQuantity)
		if !differs {
			continue
		}
		if shown++; shown == 1 {
			fmt.Fprintln(t, "DAY\tMODEL\tACCOUNT\tMETER\tRECORDED USD\tSTATED USD\tVARIANCE USD\tRECORDED\tSTATED\tWHY")
		}
		stated, quantity := "", ""
		if c.Stated != nil {
			stated = c.Stated.String()
		}
		if c.StatedQuantity != nil {
			quantity = fmt.Sprint(*c.StatedQuantity)
		}
		var why []string
		for _, d := range c.Causes {
			why = append(why, fmt.Sprintf("%s %s", d.Cause, d.USD))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", c.Day, c.Model, c.Account, c.Meter, c.Recorded, stated, c.Variance, c.RecordedQuantity, quantity, strings.Join(why, ", "))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if r.Stated == nil {
		_, err := fmt.Fprintf(w, "%d of %d cells differ; the statement has no costs\n", shown, len(r.Cells))
		return err
	}
	fmt.Fprintf(w, "recorded %s USD, stated %s USD, variance %s USD%s in %d of %d cells\n", r.Recorded, r.Stated, r.Variance, share(r), shown, len(r.Cells))
	for _, d := range r.Causes {
		fmt.Fprintf(w, "  %s %s USD\n", d.Cause, d.USD)
	}
	return nil
}

// share is the variance in hundredths of a percent of what is stated.
func share(r *Report) string {
	if *r.Stated == 0 {
		return ""
	}
	basis := int64(r.Variance) / max(1, int64(*r.Stated)/10_000)
	sign := ""
	if basis < 0 {
		sign, basis = "-", -basis
	}
	return fmt.Sprintf(" (%s%d.%02d%%)", sign, basis/100, basis%100)
}
