package lint

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// WriteText writes a report for people: a line with the place first, so that editors find it.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s: %s: %s [%s]\n", f.Place, f.Severity, f.Message, f.Rule)
		if f.Path != "" {
			fmt.Fprintf(&b, "    at   %s\n", f.Path)
		}
		fmt.Fprintf(&b, "    then %s\n    fix  %s\n", f.Danger, f.Fix)
	}
	for _, u := range r.Unseen {
		fmt.Fprintf(&b, "%s: unseen: %s", u.Place, u.Message)
		if u.Rule != "" {
			fmt.Fprintf(&b, " [%s]", u.Rule)
		}
		b.WriteByte('\n')
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

func (p Place) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// WriteRules writes the table of all rules in Markdown, for the documentation.
func WriteRules(w io.Writer) error {
	var b strings.Builder
	b.WriteString("| rule | severity | what can happen | fix |\n|---|---|---|---|\n")
	for _, r := range rules {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", r.ID, r.Severity, r.Danger, r.Fix)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
