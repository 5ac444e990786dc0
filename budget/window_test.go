package budget

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestWindowBounds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, window, zone, at, start, end string
	}{
		{"hour in UTC", "hour", "UTC", "2026-03-29T12:34:56Z", "2026-03-29T12:00:00Z", "2026-03-29T13:00:00Z"},
		{"no zone is UTC", "day", "", "2026-03-29T12:34:56Z", "2026-03-29T00:00:00Z", "2026-03-30T00:00:00Z"},
		{"hour of a zone off by 45 minutes", "hour", "Asia/Kathmandu", "2026-01-01T00:00:00Z", "2025-12-31T23:15:00Z", "2026-01-01T00:15:00Z"},
		{"last hour before clocks go forward", "hour", "Europe/Berlin", "2026-03-29T00:59:59Z", "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"},
		{"hour after clocks went back, shown twice", "hour", "Europe/Berlin", "2026-10-25T01:10:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"},
		{"Lord Howe goes back half an hour: before", "hour", "Australia/Lord_Howe", "2026-04-04T14:59:00Z", "2026-04-04T14:00:00Z", "2026-04-04T15:00:00Z"},
		{"Lord Howe goes back half an hour: the half", "hour", "Australia/Lord_Howe", "2026-04-04T15:10:00Z", "2026-04-04T15:00:00Z", "2026-04-04T15:30:00Z"},
		{"Lord Howe goes forward half an hour", "hour", "Australia/Lord_Howe", "2026-10-03T15:40:00Z", "2026-10-03T15:30:00Z", "2026-10-03T16:00:00Z"},
		{"day of 23 hours", "day", "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"},
		{"day of 25 hours", "day", "Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"},
		{"day whose midnight does not exist", "day", "America/Sao_Paulo", "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"},
		{"eve of a day whose midnight does not exist", "day", "America/Sao_Paulo", "2018-11-04T02:59:59Z", "2018-11-03T03:00:00Z", "2018-11-04T03:00:00Z"},
		{"Beirut skips midnight", "day", "Asia/Beirut", "2022-03-27T10:00:00Z", "2022-03-26T22:00:00Z", "2022-03-27T21:00:00Z"},
		{"Beirut shows 23:00 twice", "day", "Asia/Beirut", "2022-10-29T21:30:00Z", "2022-10-28T21:00:00Z", "2022-10-29T22:00:00Z"},
		{"Havana shows midnight twice: the day starts at the first", "day", "America/Havana", "2022-11-06T05:30:00Z", "2022-11-06T04:00:00Z", "2022-11-07T05:00:00Z"},
		{"St. John's went back at 00:01: the day had begun", "day", "America/St_Johns", "2010-11-07T03:00:00Z", "2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z"},
		{"Samoa had no 30 December 2011", "day", "Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"},
		{"the day before Samoa's jump", "day", "Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"},
		{"week starts on Monday", "week", "UTC", "2026-11-22T23:59:59Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"},
		{"Monday belongs to its week", "week", "UTC", "2026-11-23T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"},
		{"week across New Year and DST", "week", "America/New_York", "2026-03-08T12:00:00Z", "2026-03-02T05:00:00Z", "2026-03-09T04:00:00Z"},
		{"month of another zone", "month", "Europe/Berlin", "2026-10-31T23:30:00Z", "2026-10-31T23:00:00Z", "2026-11-30T23:00:00Z"},
		{"February of a leap year", "month", "UTC", "2028-02-29T00:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"},
		{"quarter", "quarter", "UTC", "2026-06-30T23:59:59Z", "2026-04-01T00:00:00Z", "2026-07-01T00:00:00Z"},
		{"year", "year", "Asia/Tokyo", "2026-12-31T15:00:00Z", "2026-12-31T15:00:00Z", "2027-12-31T15:00:00Z"},
		{"last day of a leap year beyond the tables", "day", "Europe/Berlin", "2040-12-31T12:00:00Z", "2040-12-30T23:00:00Z", "2040-12-31T23:00:00Z"},
		{"lifetime", "lifetime", "Asia/Tokyo", "2026-12-31T15:00:00Z", "0001-01-01T00:00:00Z", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, err := ParseWindow(tt.window, tt.zone)
			if err != nil {
				t.Fatal(err)
			}
			at, err := time.Parse(time.RFC3339, tt.at)
			if err != nil {
				t.Fatal(err)
			}
			start, end := w.Bounds(at)
			gotEnd := ""
			if !end.IsZero() {
				gotEnd = end.Format(time.RFC3339)
			}
			if got := start.Format(time.RFC3339); got != tt.start || gotEnd != tt.end {
				t.Errorf("Bounds(%s) = %s, %s; want %s, %s", tt.at, got, gotEnd, tt.start, tt.end)
			}
		})
	}
}

func TestParseWindowRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ window, zone, want string }{
		{"monthly", "UTC", `unknown window "monthly"; it is one of hour, day, week, month, quarter, year, lifetime, or like rolling 24h`},
		{"", "UTC", `unknown window ""; it is one of hour, day, week, month, quarter, year, lifetime, or like rolling 24h`},
		{"rolling 0h", "UTC", `window "rolling 0h": write its length in minutes, hours or days: rolling 30m, rolling 24h, rolling 7d`},
		{"rolling", "UTC", `unknown window "rolling"; it is one of hour, day, week, month, quarter, year, lifetime, or like rolling 24h`},
		{"rolling 01h", "UTC", `window "rolling 01h": write its length in minutes, hours or days: rolling 30m, rolling 24h, rolling 7d`},
		{"rolling 59s", "UTC", `window "rolling 59s": write its length in minutes, hours or days: rolling 30m, rolling 24h, rolling 7d`},
		{"rolling 1h30m", "UTC", `window "rolling 1h30m": write its length in minutes, hours or days: rolling 30m, rolling 24h, rolling 7d`},
		{"rolling 100000m", "UTC", `window "rolling 100000m": write its length in minutes, hours or days: rolling 30m, rolling 24h, rolling 7d`},
		{"rolling 8785h", "UTC", `window "rolling 8785h": a rolling window is at most 366 days long`},
		{"rolling 367d", "UTC", `window "rolling 367d": a rolling window is at most 366 days long`},
		{"rolling 24h", "Europe/Berlin", `window "rolling 24h": a rolling window begins at no time of any clock; leave timezone out`},
		{"day", "Europe/Berln", `unknown time zone "Europe/Berln"; use an IANA name such as Europe/Berlin`},
		{"day", "../etc/passwd", `unknown time zone "../etc/passwd"; use an IANA name such as Europe/Berlin`},
		{"day", "Local", `time zone "Local" depends on the machine; use an IANA name such as Europe/Berlin`},
	} {
		if _, err := ParseWindow(tt.window, tt.zone); err == nil || err.Error() != tt.want {
			t.Errorf("ParseWindow(%q, %q) = %v; want %s", tt.window, tt.zone, err, tt.want)
		}
	}
}

var testZones = []string{
	"UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Asia/Beirut", "Australia/Lord_Howe", "America/St_Johns",
	"Pacific/Apia", "America/Havana", "Asia/Kathmandu", "Africa/Casablanca", "Pacific/Kwajalein", "Asia/Gaza", "Antarctica/Troll",
}

// Spans tile time: every instant is in the span that Bounds names, the next
// span starts where this one ends, and every instant of a span names it.
func TestWindowsTileTime(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.SampledFrom([]string{"hour", "day", "week", "month", "quarter", "year"}).Draw(t, "unit")
		w, err := ParseWindow(unit, rapid.SampledFrom(testZones).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		at := time.Unix(rapid.Int64Range(0, 4_102_444_800).Draw(t, "unix"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanos"))
		if rapid.Bool().Draw(t, "near a change of clocks") {
			change := w.change(at.Unix(), at.Unix()+366*24*3600)
			at = time.Unix(change+rapid.Int64Range(-7200, 7200).Draw(t, "seconds"), 0)
		}
		start, end := w.Bounds(at)
		if at.Before(start) || !at.Before(end) {
			t.Fatalf("%s is not in [%s, %s)", at.UTC(), start, end)
		}
		if s, e := w.Bounds(end.Add(-1)); s != start || e != end {
			t.Fatalf("the last instant of [%s, %s) is in [%s, %s)", start, end, s, e)
		}
		if s, e := w.Bounds(start); s != start || e != end {
			t.Fatalf("the first instant of [%s, %s) is in [%s, %s)", start, end, s, e)
		}
		if s, _ := w.Bounds(end); s != end {
			t.Fatalf("[%s, %s) is followed by a span from %s", start, end, s)
		}
		if _, e := w.Bounds(start.Add(-1)); e != start {
			t.Fatalf("[%s, %s) is preceded by a span to %s", start, end, e)
		}
		if unit == "hour" && end.Sub(start) > time.Hour {
			t.Fatalf("an hour of %s", end.Sub(start))
		}
	})
}

func BenchmarkWindowBounds(b *testing.B) {
	w, _ := ParseWindow("month", "Europe/Berlin")
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for b.Loop() {
		w.Bounds(at)
	}
}

// A rolling window is sixty buckets, which tile time from 1970 on, each a whole number of seconds.
func TestRollingBuckets(t *testing.T) {
	t.Parallel()
	for window, want := range map[string]time.Duration{
		"rolling 1m": time.Second, "rolling 7m": 7 * time.Second, "rolling 30m": 30 * time.Second, "rolling 24h": 24 * time.Minute,
		"rolling 7d": 168 * time.Minute, "rolling 366d": 8784 * time.Minute,
	} {
		w, err := ParseWindow(window, "UTC")
		if err != nil {
			t.Fatal(err)
		}
		if w.Rolling() != 60*want {
			t.Errorf("%s is %s long", window, w.Rolling())
		}
		rapid.Check(t, func(rt *rapid.T) {
			at := time.Unix(rapid.Int64Range(-1<<33, 1<<34).Draw(rt, "unix"), rapid.Int64Range(0, 1e9-1).Draw(rt, "nanoseconds"))
			start, end := w.Bounds(at)
			if end.Sub(start) != want || at.Before(start) || !at.Before(end) || start.Unix()%int64(want/time.Second) != 0 || start.Nanosecond() != 0 {
				rt.Fatalf("%s: bucket of %s is %s to %s", window, at, start, end)
			}
			if next, _ := w.Bounds(end); !next.Equal(end) {
				rt.Fatalf("%s: after the bucket to %s comes one from %s", window, end, next)
			}
		})
	}
}

func TestLengthOf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		d           time.Duration
		want, inAny string
	}{
		{time.Second, "1 second", " in any second"}, {30 * time.Second, "30 seconds", " in any 30 seconds"}, {90 * time.Second, "90 seconds", " in any 90 seconds"},
		{time.Minute, "1 minute", " in any minute"}, {time.Hour, "1 hour", " in any hour"}, {24 * time.Hour, "24 hours", " in any 24 hours"}, {7 * 24 * time.Hour, "7 days", " in any 7 days"},
	} {
		if got, any := lengthOf(tt.d), inAny(tt.d); got != tt.want || any != tt.inAny {
			t.Errorf("%s: %q, %q", tt.d, got, any)
		}
	}
	if got := inAny(0); got != "" {
		t.Errorf("a calendar window is %q", got)
	}
}
