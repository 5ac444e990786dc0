package forecast

import (
	"fmt"
	"math/big"
	"testing"
	"time"
)

func TestForecast(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	end := start.AddDate(0, 1, 0)
	for _, c := range []struct {
		spent, held int64
		start, end  *time.Time
		at          time.Duration
		want        string
	}{
		{100, 0, &start, &end, 10 * 24 * time.Hour, "300 spent ÷ 10.0 days × 30.0 days"},
		{100, 0, &start, &end, 7 * 24 * time.Hour, "429 spent ÷ 7.0 days × 30.0 days"}, // rounded up
		{100, 900, &start, &end, 29 * 24 * time.Hour, "1000 spent and held"},
		{100, 0, &start, &end, 24 * time.Hour, "<nil> too early: 24.0 hours of 30.0 days are over"},
		{100, 0, &start, nil, 0, "<nil> a rolling window has no end"},
		{100, 0, nil, nil, 0, "<nil> a lifetime has no end"},
		{100, 0, &start, &end, -time.Second, "<nil> too early: 0 minutes of 30.0 days are over"},
	} {
		amount, how := Of(big.NewInt(c.spent), big.NewInt(c.held), c.start, c.end, start.Add(c.at))
		if got := fmt.Sprint(amount, " ", how); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
