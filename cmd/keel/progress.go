package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// progress is one line on a terminal that is written over and over. It shows
// nothing where nobody looks.
type progress struct {
	w     io.Writer // nil for none
	start time.Time
	last  time.Time
	shown bool
}

// progressTo returns the progress of a command that writes to w, silent unless w is a terminal.
func progressTo(w io.Writer, quiet bool) *progress {
	p := &progress{start: time.Now()}
	file, ok := w.(*os.File)
	if !ok || quiet {
		return p
	}
	if info, err := file.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		p.w = w
	}
	return p
}

// step is cheap to call for every record.
func (p *progress) step(done, failed int) {
	if p.w == nil || done%64 != 0 {
		return
	}
	now := time.Now()
	if now.Sub(p.last) < 200*time.Millisecond {
		return
	}
	p.last, p.shown = now, true
	rate := float64(done) / max(now.Sub(p.start).Seconds(), 0.001)
	fmt.Fprintf(p.w, "\r%d done, %.0f a second, %d with an error\x1b[K", done, rate, failed)
}

// count shows how many of a total are done.
func (p *progress) count(done, total int64, what string) {
	now := time.Now()
	if p.w == nil || now.Sub(p.last) < 200*time.Millisecond {
		return
	}
	p.last, p.shown = now, true
	rate := float64(done) / max(now.Sub(p.start).Seconds(), 0.001)
	fmt.Fprintf(p.w, "\r%d of about %d %s, %.0f a second\x1b[K", done, total, what, rate)
}

// clear leaves the terminal as it was.
func (p *progress) clear() {
	if p.w != nil && p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
