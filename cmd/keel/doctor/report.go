package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// A Status says how a check came out.
type Status string

const (
	OK      Status = "ok"
	Unseen  Status = "unseen"  // it could not be judged; no finding
	Warning Status = "warning" // it works, worse than it could, or until something else goes wrong
	Error   Status = "error"   // calls fail, pass unmetered or are charged wrongly, or a record may be lost
	Away    Status = "away"    // what was to be looked at does not answer
)

// A Finding is what one check saw. Check is a contract.
type Finding struct {
	Check  string `json:"check"`
	Status Status `json:"status"`
	At     string `json:"at"`               // the address that was asked
	Saw    string `json:"saw"`              // what is there
	Danger string `json:"danger,omitempty"` // what can happen, of a warning and worse
	Fix    string `json:"fix,omitempty"`
}

// A Report is all of them, in the order of a call's path.
type Report struct {
	Taken    time.Time `json:"at"`
	Findings []Finding `json:"findings"`
}

// Count returns how many findings have one of the statuses.
func (r *Report) Count(statuses ...Status) (n int) {
	for _, f := range r.Findings {
		for _, s := range statuses {
			if f.Status == s {
				n++
			}
		}
	}
	return n
}

func (r *Report) add(f ...Finding) { r.Findings = append(r.Findings, f...) }

// WriteText writes a report for people: what is wrong last, so that it is what stays on the screen.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, wrong := range []bool{false, true} {
		for _, f := range r.Findings {
			if (f.Fix != "") != wrong {
				continue
			}
			fmt.Fprintf(&b, "%-7s  %-20s  %s: %s\n", f.Status, f.Check, f.At, f.Saw)
			if wrong {
				fmt.Fprintf(&b, "         then %s\n         fix  %s\n", f.Danger, f.Fix)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteJSON writes a report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	return out.Encode(r)
}
