package budget

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // so that every replica reads the same zones, on machines without them too
)

// A Window cuts time into the spans that a budget counts over. The spans of
// one Window follow each other without gap or overlap, whatever the time zone
// does. The zero Window is not valid: see ParseWindow.
type Window struct {
	unit    windowUnit
	zone    *time.Location
	rolling time.Duration // length of a rolling window
}

// Rolling is the length of a rolling window, 0 for others. The spans of a rolling
// window are its buckets: it is any time of that length, in steps of a bucket.
func (w Window) Rolling() time.Duration { return w.rolling }

type windowUnit uint8

const (
	hour windowUnit = iota
	day
	week
	month
	quarter
	year
	lifetime
	rolling
)

var windowUnits = map[string]windowUnit{
	"hour": hour, "day": day, "week": week, "month": month, "quarter": quarter, "year": year, "lifetime": lifetime,
}

// ParseWindow reads the window and time zone of a budget. The zone is an IANA
// name; "" is UTC.
func ParseWindow(window, timezone string) (Window, error) {
	zone, err := parseZone(timezone)
	if err != nil {
		return Window{}, err
	}
	if length, ok := strings.CutPrefix(window, "rolling "); ok {
		w := Window{unit: rolling, zone: time.UTC}
		if w.rolling, err = parseRolling(length); err != nil {
			return Window{}, fmt.Errorf("window %q: %w", window, err)
		}
		if zone != time.UTC {
			return Window{}, fmt.Errorf("window %q: a rolling window begins at no time of any clock; leave timezone out", window)
		}
		return w, nil
	}
	unit, ok := windowUnits[window]
	if !ok {
		return Window{}, fmt.Errorf("unknown window %q; it is one of hour, day, week, month, quarter, year, lifetime, or like rolling 24h", window)
	}
	return Window{unit: unit, zone: zone}, nil
}

var rollingPattern = regexp.MustCompile(`^([1-9][0-9]{0,4})([mhd])$`)

// parseRolling reads 30m, 24h or 7d, from a minute to 366 days.
func parseRolling(length string) (time.Duration, error) {
	parts := rollingPattern.FindStringSubmatch(length)
	if parts == nil {
		return 0, errors.New("write its length in minutes, hours or days: rolling 30m, rolling 24h, rolling 7d")
	}
	n, err := strconv.Atoi(parts[1])
	if err != nil {
		return 0, err
	}
	d := time.Duration(n) * map[string]time.Duration{"m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[parts[2]]
	if d > 366*24*time.Hour {
		return 0, errors.New("a rolling window is at most 366 days long")
	}
	return d, nil
}

// bucketsPerWindow cuts a rolling window: spending leaves it a bucket at a time.
const bucketsPerWindow = 60

// bucketBounds is the bucket of a rolling window, a whole number of seconds long.
func (w Window) bucketBounds(t time.Time) (start, end time.Time) {
	length := max(1, int64(w.rolling/time.Second)/bucketsPerWindow)
	s := t.Unix() - mod(t.Unix(), length)
	return time.Unix(s, 0).UTC(), time.Unix(s+length, 0).UTC()
}

func parseZone(name string) (*time.Location, error) {
	switch name {
	case "":
		return time.UTC, nil
	case "Local": // would differ between replicas
		return nil, errors.New(`time zone "Local" depends on the machine; use an IANA name such as Europe/Berlin`)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("unknown time zone %q; use an IANA name such as Europe/Berlin", name)
	}
	return zone, nil
}

// Bounds returns the span that t is in: start ≤ t < end, in UTC. Both are the
// zero time for a lifetime.
func (w Window) Bounds(t time.Time) (start, end time.Time) {
	t = t.In(w.zone)
	switch w.unit {
	case lifetime:
		return time.Time{}, time.Time{}
	case hour:
		return w.hourBounds(t)
	case rolling:
		return w.bucketBounds(t)
	}
	date := w.firstDate(t)
	start, end = w.dateStart(date), w.dateStart(w.nextDate(date))
	// A local date can lie beside the span by a few minutes: where clocks were
	// set back across midnight, the day has begun and its eve is shown again.
	for !t.Before(end) {
		date = w.nextDate(date)
		start, end = end, w.dateStart(w.nextDate(date))
	}
	return start, end
}

// hourBounds cuts at the full hours of the local clock, and where the clock
// changes in between (as by the half hour of Lord Howe): no span is longer
// than an hour.
func (w Window) hourBounds(t time.Time) (start, end time.Time) {
	at := t.Unix()
	offset := w.offset(at)
	s := at - mod(at+offset, 3600)
	e := s + 3600
	if w.offset(s) != offset {
		s = w.change(s, at)
	}
	if w.offset(e) != offset {
		e = w.change(at, e)
	}
	return time.Unix(s, 0).UTC(), time.Unix(e, 0).UTC()
}

func mod(a, b int64) int64 { return (a%b + b) % b }

// firstDate is the first calendar date of the span that the local date of t
// lies in, as midnight UTC of that date.
func (w Window) firstDate(t time.Time) time.Time {
	y, m, d := t.Date()
	switch w.unit {
	case week:
		d -= (int(t.Weekday()) + 6) % 7 // ISO: weeks start on Monday
	case month:
		d = 1
	case quarter:
		m, d = (m-1)/3*3+1, 1
	case year:
		m, d = time.January, 1
	}
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

func (w Window) nextDate(date time.Time) time.Time {
	switch w.unit {
	case day:
		return date.AddDate(0, 0, 1)
	case week:
		return date.AddDate(0, 0, 7)
	case month:
		return date.AddDate(0, 1, 0)
	case quarter:
		return date.AddDate(0, 3, 0)
	}
	return date.AddDate(1, 0, 0)
}

// dateStart is the first instant at which the local clock shows the date or
// later. That is not always midnight: some zones skip it, or the whole day,
// and some show it twice. time.Date leaves open what it answers then.
func (w Window) dateStart(date time.Time) time.Time {
	const most = 26 * 3600 // no zone is or was further from UTC, skipped days included
	wall := date.Unix()
	for from := wall - most; ; {
		offset, to := w.offset(from), w.change(from, wall+most)
		if to+offset > wall { // always at the last: to is then wall + most
			return time.Unix(max(from, wall-offset), 0).UTC()
		}
		from = to
	}
}

// offset is what the local clock is ahead of UTC, in seconds.
func (w Window) offset(unix int64) int64 {
	_, offset := time.Unix(unix, 0).In(w.zone).Zone()
	return int64(offset)
}

// change returns the first second after from, up to to, at which the local
// clock is set, or to if it is not. It does not ask Time.ZoneBounds, which (Go
// 1.26) gives ends that lie in the past on the last day of leap years after 2037.
func (w Window) change(from, to int64) int64 {
	const step = 6 * 3600 // clocks are not set twice within it
	offset := w.offset(from)
	for from < to {
		next := min(from+step, to)
		if w.offset(next) == offset {
			from = next
			continue
		}
		for next-from > 1 {
			if middle := from + (next-from)/2; w.offset(middle) == offset {
				from = middle
			} else {
				next = middle
			}
		}
		return next
	}
	return to
}
