package budget

import (
	"fmt"
	"io"
	"strings"
)

// What Diff says of a document.
const (
	Added     = "added"
	Changed   = "changed"
	Unchanged = "unchanged"
)

// DocumentDiff is what applying one document would do.
type DocumentDiff struct {
	Kind   Kind        `json:"kind"`
	Org    string      `json:"org"`
	Name   string      `json:"name"`
	Change string      `json:"change"` // Added, Changed or Unchanged
	Fields []FieldDiff `json:"fields,omitempty"`
}

// FieldDiff is one field that differs, both sides as they are written in YAML.
// A side is "" where the document does not have the field.
type FieldDiff struct {
	Field string `json:"field"`
	Old   string `json:"old,omitempty"`
	New   string `json:"new,omitempty"`
}

// Diff says what applying new over old would do, for each document of new, by
// kind, org and name. Documents that only old has are left alone by an apply
// and are not mentioned.
func Diff(old, new Documents) []DocumentDiff {
	before := make(map[documentKey]document)
	for _, doc := range withDefaults(old).all() {
		before[keyOf(doc)] = doc
	}
	applied := withDefaults(new)
	var diffs []DocumentDiff
	for _, doc := range sorted(applied.all()) {
		key := keyOf(doc)
		d := DocumentDiff{Kind: key.kind, Org: key.org, Name: key.name, Change: Added}
		var was object
		if stored, ok := before[key]; ok {
			was, d.Change = stored.fields(), Changed
		}
		if d.Fields = diffFields(was, doc.fields()); d.Change == Changed && len(d.Fields) == 0 {
			d.Change = Unchanged
		}
		diffs = append(diffs, d)
	}
	return diffs
}

func withDefaults(docs Documents) *Documents {
	c := docs.clone()
	for _, doc := range c.all() {
		doc.setDefaults()
	}
	return &c
}

func diffFields(old, new object) (diffs []FieldDiff) {
	before := make(map[string]string, len(old))
	for _, e := range old {
		before[e.key] = flow(e.value)
	}
	for _, e := range new {
		value := flow(e.value)
		if was := before[e.key]; was != value {
			diffs = append(diffs, FieldDiff{e.key, was, value})
		}
		delete(before, e.key)
	}
	for _, e := range old {
		if was, gone := before[e.key]; gone {
			diffs = append(diffs, FieldDiff{Field: e.key, Old: was})
		}
	}
	return diffs
}

// WriteDiff renders diffs for people: one line a document, one a field that
// changes.
func WriteDiff(w io.Writer, diffs []DocumentDiff) error {
	var b strings.Builder
	for _, d := range diffs {
		key := documentKey{d.Kind, d.Org, d.Name}
		switch d.Change {
		case Added:
			fmt.Fprintf(&b, "+ %s\n", key)
			for _, f := range d.Fields {
				fmt.Fprintf(&b, "    %s: %s\n", f.Field, f.New)
			}
		case Changed:
			fmt.Fprintf(&b, "~ %s\n", key)
			for _, f := range d.Fields {
				fmt.Fprintf(&b, "    %s: %s → %s\n", f.Field, orNone(f.Old), orNone(f.New))
			}
		default:
			fmt.Fprintf(&b, "= %s\n", key)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}
