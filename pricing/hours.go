package pricing

import (
	"fmt"
	"time"
)

// hours is a time of day, UTC, from inclusive to exclusive, past midnight where to is
// not after from; the zero value is all day. DeepSeek sells cheaper hours.
type hours struct{ from, to time.Duration }

const clockLayout = "15:04"

func parseHours(text [2]string) (hours, error) {
	if text == [2]string{} {
		return hours{}, nil
	}
	var h hours
	for i, into := range []*time.Duration{&h.from, &h.to} {
		t, err := time.Parse(clockLayout, text[i])
		if err != nil {
			return hours{}, err
		}
		*into = time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
	}
	if h.from == h.to {
		return hours{}, fmt.Errorf("time of day from %s to itself", text[0])
	}
	return h, nil
}

func (h hours) contain(at time.Time) bool {
	if h == (hours{}) {
		return true
	}
	at = at.UTC()
	clock := time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute + time.Duration(at.Second())*time.Second
	if h.to < h.from {
		return clock >= h.from || clock < h.to
	}
	return h.from <= clock && clock < h.to
}

func (h hours) String() string {
	clock := func(d time.Duration) string { return time.Time{}.Add(d).Format(clockLayout) }
	return "daily=" + clock(h.from) + "-" + clock(h.to) + "Z"
}
