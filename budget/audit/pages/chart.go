package pages

import (
	"fmt"
	"math/big"
	"time"
)

// Figures are drawn in whole thousandths of their width and height; the style sheet colours them.

// bar is a budget: what is spent and held, the forecast, and the limit with its tiers.
type bar struct {
	Spent, Held, HeldAt int64
	Limit               int64 // where the limit stands
	Forecast            int64 // where the forecast stands; 0 for none
	Tiers               []mark
	Label               string
}

type mark struct {
	At   int64
	Name string
}

func newBar(b *budgetRow) bar {
	all := b.Limit
	for _, other := range []usd{b.Spent.plus(b.Held), b.Forecast.Amount} {
		if other.above(all) {
			all = other
		}
	}
	out := bar{Spent: b.Spent.permille(all), Held: b.Held.permille(all), Limit: b.Limit.permille(all)}
	out.HeldAt = out.Spent
	if out.Spent == 0 && b.Spent.Positive() {
		out.Spent = 1 // a little is not nothing
	}
	if b.Forecast.Amount.Known() {
		out.Forecast = max(1, b.Forecast.Amount.permille(all))
	}
	for _, t := range b.Tiers {
		var percent int64
		if _, err := fmt.Sscanf(t.At, "%d%%", &percent); err == nil {
			at := new(big.Int).Mul(b.Limit.n, big.NewInt(percent))
			if at := (usd{at.Div(at, big.NewInt(100))}).permille(all); at < 1000 {
				out.Tiers = append(out.Tiers, mark{at, t.At + " " + t.Do})
			}
		}
	}
	out.Label = fmt.Sprintf("%s spent and %s held of %s", b.Spent, b.Held, b.Limit)
	return out
}

// columns is an amount for every day of a month.
type columns struct {
	Days  []column
	Most  usd
	Label string
}

type column struct {
	X, Width, Y, Height int64
	Title               string
	Day                 int
	Labelled            bool
}

// newColumns draws the days of a month; amounts are by day of the month, from 1.
func newColumns(month time.Time, amounts map[int]usd) columns {
	n := month.AddDate(0, 1, -1).Day()
	c := columns{Label: "Cost by day, " + month.Format("January 2006")}
	for _, a := range amounts {
		if !c.Most.Known() || a.above(c.Most) {
			c.Most = a
		}
	}
	step := int64(1000 / n)
	for day := 1; day <= n; day++ {
		a := amounts[day]
		height := a.permille(c.Most) * 200 / 1000
		if height == 0 && a.Positive() {
			height = 1
		}
		title := "nothing"
		if a.Known() {
			title = a.String()
		}
		c.Days = append(c.Days, column{X: int64(day-1) * step, Width: step - 6, Y: 200 - height, Height: height, Day: day,
			Title: month.AddDate(0, 0, day-1).Format("2 January") + ": " + title, Labelled: day == 1 || day%5 == 0})
	}
	return c
}
