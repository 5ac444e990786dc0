package main

import (
	"fmt"
	"time"
)

// moment is an instant as people type it: a day (its beginning, UTC) or RFC 3339.
type moment struct{ time.Time }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *moment) UnmarshalText(text []byte) error {
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, string(text)); err == nil {
			m.Time = t.UTC()
			return nil
		}
	}
	return fmt.Errorf("%q is neither a day, such as 2026-10-01, nor a time, such as 2026-10-01T06:00:00Z", text)
}
