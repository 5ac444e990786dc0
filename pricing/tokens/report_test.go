package tokens

import (
	"bytes"
	"fmt"
	"io"
	"slices"
)

// Report prints errors and bounds by maker and class.
func Report(w io.Writer, samples []*Sample, estimates []Input) map[string]*Row {
	rows := map[string]*Row{}
	for i, s := range samples {
		in := estimates[i]
		for _, maker := range []string{s.Maker(), "all"} {
			key := rowKey(maker, in.Key.Class)
			r := rows[key]
			if r == nil {
				r = new(Row)
				rows[key] = r
			}
			r.add(s.Actual, in)
		}
	}
	for _, key := range slices.Sorted(func(yield func(string) bool) {
		for key := range rows {
			if !yield(key) {
				return
			}
		}
	}) {
		fmt.Fprintf(w, "%-18s %v\n", key, rows[key])
	}
	return rows
}

func rowKey(maker string, class RequestClass) string { return fmt.Sprintf("%-9s %s", maker, class) }

// A Row is the accuracy of one maker and class.
type Row struct {
	errors, ratios    []int64 // millionths; ratios of 500 tokens and more
	N, Claimed, Held  int
	Estimated, Actual int64
}

func (r *Row) add(actual int64, in Input) {
	r.N++
	off := in.Expected - actual
	r.errors = append(r.errors, share(max(off, -off), actual))
	r.Estimated += in.Expected
	r.Actual += actual
	if in.Kind == None {
		return
	}
	r.Claimed++
	if in.Bound >= actual {
		r.Held++
	}
	if actual >= 500 {
		r.ratios = append(r.ratios, share(in.Bound, actual))
	}
}

// Join adds what is in other.
func (r *Row) Join(other *Row) {
	r.errors, r.ratios = append(r.errors, other.errors...), append(r.ratios, other.ratios...)
	r.N, r.Claimed, r.Held = r.N+other.N, r.Claimed+other.Claimed, r.Held+other.Held
	r.Estimated, r.Actual = r.Estimated+other.Estimated, r.Actual+other.Actual
}

// Error is a quantile of the absolute error in percent.
func (r *Row) Error(milli int) float64 { return float64(quantile(r.errors, milli)) / 1e4 }

// Ratio is the median of bound by actual for 500 tokens and more, 0 where there are none.
func (r *Row) Ratio() float64 {
	if len(r.ratios) == 0 {
		return 0
	}
	return float64(quantile(r.ratios, 500)) / ppm
}

func (r *Row) String() string {
	return fmt.Sprintf("n %4d  median %5.1f %%  p90 %6.1f %%  sum %.2f  bound claimed %4d held %4d  bound/actual %.2f (%d)",
		r.N, r.Error(500), r.Error(900), float64(r.Estimated)/float64(max(r.Actual, 1)), r.Claimed, r.Held, r.Ratio(), len(r.ratios))
}

// Bounded are the requests that a bound is promised for, text and function tools, as one row.
func Bounded(rows map[string]*Row) *Row {
	var both Row
	for _, class := range []RequestClass{ClassText, ClassTools} {
		if r := rows[rowKey("all", class)]; r != nil {
			both.Join(r)
		}
	}
	return &both
}

// A Split is estimates of all samples by figures that were fitted in one way.
type Split struct {
	Name      string
	Estimates []Input
}

// Table is what docs/accuracy.md says of the splits.
func Table(samples []*Sample, splits []Split) []byte {
	var b bytes.Buffer
	b.WriteString("| requests | class | n |")
	for _, split := range splits {
		fmt.Fprintf(&b, " %s |", split.Name)
	}
	b.WriteString("\n|---|---|---:|" + string(bytes.Repeat([]byte("---:|"), len(splits))) + "\n")
	rows := make([]map[string]*Row, len(splits))
	for i, split := range splits {
		rows[i] = Report(io.Discard, samples, split.Estimates)
	}
	line := func(maker string, class string, n int, cell func(map[string]*Row) string) {
		fmt.Fprintf(&b, "| %s | %s | %d |", maker, class, n)
		for _, r := range rows {
			fmt.Fprintf(&b, " %s |", cell(r))
		}
		b.WriteByte('\n')
	}
	for _, class := range []RequestClass{ClassText, ClassTools, ClassSchema, ClassImages} {
		for _, maker := range []string{"openai", "anthropic", "gemini", "others", "all"} {
			key := rowKey(maker, class)
			if rows[0][key] == nil {
				continue
			}
			line(maker, string(class), rows[0][key].N, func(r map[string]*Row) string {
				return fmt.Sprintf("%.1f / %.1f %%", r[key].Error(500), r[key].Error(900))
			})
		}
	}
	both := Bounded(rows[0])
	line("bounds that hold", "text, tools", both.Claimed, func(r map[string]*Row) string {
		both := Bounded(r)
		return fmt.Sprintf("%.2f %%", float64(both.Held)*100/float64(max(both.Claimed, 1)))
	})
	line("median bound ÷ actual, from 500 tokens", "text, tools", len(both.ratios), func(r map[string]*Row) string {
		return fmt.Sprintf("%.2f", Bounded(r).Ratio())
	})
	return b.Bytes()
}
