package pricing

import (
	"fmt"
	"strings"
	"time"
)

// Hours is a time of day, UTC, from inclusive to exclusive, past midnight where the end is
// not after the start; the zero value is all day. DeepSeek sells cheaper hours.
type Hours struct{ from, to time.Duration }

const clockLayout = "15:04"

// ParseHours reads "16:30-00:30", whole minutes UTC; "" is all day.
func ParseHours(text string) (Hours, error) {
	if text == "" {
		return Hours{}, nil
	}
	from, to, _ := strings.Cut(text, "-")
	var h Hours
	for _, end := range []struct {
		clock string
		into  *time.Duration
	}{{from, &h.from}, {to, &h.to}} {
		t, err := time.Parse(clockLayout, end.clock)
		if err != nil {
			return Hours{}, fmt.Errorf("time of day %q: write it as 16:30-00:30, UTC", text)
		}
		*end.into = time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
	}
	if h.from == h.to {
		return Hours{}, fmt.Errorf("time of day %q is from a time to itself", text)
	}
	return h, nil
}

// Contain reports whether the clock of at, in UTC, is within h.
func (h Hours) Contain(at time.Time) bool {
	if h == (Hours{}) {
		return true
	}
	at = at.UTC()
	clock := time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute + time.Duration(at.Second())*time.Second
	if h.to < h.from {
		return clock >= h.from || clock < h.to
	}
	return h.from <= clock && clock < h.to
}

// String is the inverse of ParseHours.
func (h Hours) String() string {
	if h == (Hours{}) {
		return ""
	}
	clock := func(d time.Duration) string { return time.Time{}.Add(d).Format(clockLayout) }
	return clock(h.from) + "-" + clock(h.to)
}

// Equal reports whether both are the same time of day.
func (h Hours) Equal(other Hours) bool { return h == other }

// MarshalText is String.
func (h Hours) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText is ParseHours.
func (h *Hours) UnmarshalText(text []byte) error {
	parsed, err := ParseHours(string(text))
	if err == nil {
		*h = parsed
	}
	return err
}
