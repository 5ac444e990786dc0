package budget

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// An object is what a document is written from, in the order in which people
// read it. Values are string, literal, int64, bool, object and []any.
type object []entry

type entry struct {
	key   string
	value any
}

// A literal is a string that means something without quotes in YAML: an
// amount, a date, a percentage.
type literal string

// set appends the entry unless the value is empty.
func (o *object) set(key string, value any) {
	switch v := value.(type) {
	case string:
		if v == "" {
			return
		}
	case literal:
		if v == "" {
			return
		}
	case object:
		if len(v) == 0 {
			return
		}
	case []any:
		if len(v) == 0 {
			return
		}
	}
	*o = append(*o, entry{key, value})
}

func list[T any](items []T, value func(T) any) []any {
	out := make([]any, len(items))
	for i, item := range items {
		out[i] = value(item)
	}
	return out
}

func texts(items []string) []any { return list(items, func(s string) any { return s }) }

func (b *Budget) fields() (o object) {
	var selector object
	for _, label := range slices.Sorted(maps.Keys(b.Selector)) {
		// An empty pattern is one: it selects calls without the label.
		selector = append(selector, entry{label, b.Selector[label]})
	}
	o.set("selector", selector)
	o.set("limit", literal(b.Limit.String()+" USD"))
	o.set("window", b.Window)
	o.set("timezone", b.Timezone)
	o.set("mode", string(b.Mode))
	o.set("hold", string(b.Hold))
	o.set("tiers", list(b.Tiers, func(t Tier) any {
		return object{{"at", literal(strconv.Itoa(t.AtPercent) + "%")}, {"do", string(t.Do)}}
	}))
	o.set("per", texts(b.Per))
	if b.Template {
		o.set("template", true)
	}
	o.set("offline", string(b.Offline))
	if b.OfflineDebt != nil {
		o.set("offline_debt", literal(b.OfflineDebt.String()+" USD"))
	}
	if b.Cut != CutNow {
		o.set("cut", string(b.Cut))
	}
	return o
}

func (r *Route) fields() (o object) {
	o.set("models", texts(r.Models))
	o.set("mode", string(r.Mode))
	o.set("targets", list(r.Targets, func(t Target) any {
		o := object{{"provider", t.Provider}, {"model", t.Model}, {"quality", literal(t.Quality)}}
		o.set("lacks", list(t.Lacks, func(l Lack) any { return string(l) }))
		o.set("credential", string(t.Credential))
		return o
	}))
	o.set("min_quality", literal(r.MinQuality))
	if r.MaxAttempts > 0 {
		o.set("max_attempts", r.MaxAttempts)
	}
	return o
}

func (p *Policy) fields() (o object) {
	o.set("when", p.When)
	var do object
	do.set("deny", p.Do.Deny)
	var constrain object
	if p.Do.MaxOutputTokens != 0 {
		constrain.set("max_output_tokens", p.Do.MaxOutputTokens)
	}
	if p.Do.Choices != 0 {
		constrain.set("choices", p.Do.Choices)
	}
	constrain.set("tools", string(p.Do.Tools))
	constrain.set("reasoning_effort", string(p.Do.Effort))
	constrain.set("service_tier", p.Do.ServiceTier)
	do.set("constrain", constrain)
	do.set("route", p.Do.Route)
	do.set("warn", p.Do.Warn)
	var tag object
	for _, label := range slices.Sorted(maps.Keys(p.Do.Tag)) {
		tag = append(tag, entry{label, p.Do.Tag[label]})
	}
	do.set("tag", tag)
	if w := p.Do.Watch; w != nil {
		var watch object
		watch.set("extend", literal(w.Extend.String()+" USD"))
		watch.set("end", string(w.End))
		do = append(do, entry{"watch", watch})
	}
	o.set("do", do)
	return o
}

func (s *SubjectRule) fields() (o object) {
	var from object
	from.set("header", s.From.Header)
	from.set("claim", s.From.Claim)
	from.set("metadata", s.From.Metadata)
	if s.From.PeerSAN {
		from.set("peer_san", true)
	}
	o.set("from", from)
	o.set("label", s.Label)
	if s.Pseudonym {
		o.set("pseudonym", true)
	}
	return o
}

func (s *Settings) fields() (o object) {
	o.set("unknown", string(s.Unknown))
	o.set("malformed", string(s.Malformed))
	o.set("offline", string(s.Offline))
	o.set("durability", string(s.Durability))
	if s.MaxAttempts > 1 {
		o.set("max_attempts", s.MaxAttempts)
	}
	if s.Policies != PoliciesAll {
		o.set("policies", string(s.Policies))
	}
	if s.OutputFloor != DefaultOutputFloor {
		o.set("output_floor", s.OutputFloor)
	}
	if s.UnknownAttempt != ChargeFull {
		o.set("unknown_attempt", string(s.UnknownAttempt))
	}
	return o
}

// date is a time as parseDate reads it, "" for the zero time.
func date(t time.Time) literal {
	if t.IsZero() {
		return ""
	}
	t = t.UTC()
	format := time.RFC3339Nano
	if t.Equal(t.Truncate(24 * time.Hour)) {
		format = time.DateOnly
	}
	return literal(t.Format(format))
}

// written is the whole document.
func written(doc document) object {
	m := doc.metadata()
	o := object{{"kind", string(doc.kind())}}
	if m.Org != DefaultOrg {
		o.set("org", m.Org)
	}
	o.set("name", m.Name)
	return append(o, doc.fields()...)
}

// WriteYAML writes documents by kind, org and name, in the form that
// ReadDocuments reads. Versions, which the database gives, are comments.
func WriteYAML(w io.Writer, docs Documents) error {
	var b strings.Builder
	for i, doc := range sorted(docs.all()) {
		if i > 0 {
			b.WriteString("---\n")
		}
		if version := doc.metadata().Version; version > 0 {
			fmt.Fprintf(&b, "# version %d\n", version)
		}
		for _, e := range written(doc) {
			if items, ok := e.value.([]any); ok && len(items) > 0 {
				if _, objects := items[0].(object); objects {
					b.WriteString(e.key + ":\n")
					for _, item := range items {
						b.WriteString("  - " + flow(item) + "\n")
					}
					continue
				}
			}
			b.WriteString(e.key + ": " + flow(e.value) + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// flow is a value in YAML's flow style, on one line.
func flow(value any) string {
	switch v := value.(type) {
	case object:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = scalar(e.key) + ": " + flow(e.value)
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case []any:
		parts := make([]string, len(v))
		for i, item := range v {
			parts[i] = flow(item)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case string:
		return scalar(v)
	}
	return fmt.Sprint(value)
}

var (
	plainScalar = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._/-]*$`)
	// What YAML 1.1 or 1.2 readers take for something other than a string.
	reserved = regexp.MustCompile(`^(?i:true|false|null|yes|no|on|off|y|n|inf|nan)$`)
)

// scalar quotes s unless every YAML reader takes it for the same string bare.
func scalar(s string) string {
	switch {
	case plainScalar.MatchString(s) && !reserved.MatchString(s):
		return s
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }):
		return jsonString(s)
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

func jsonString(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always encodes, into a builder
	return strings.TrimSuffix(b.String(), "\n")
}

// WriteJSON writes documents as one JSON array, in the order of WriteYAML.
// ReadDocuments reads it too.
func WriteJSON(w io.Writer, docs Documents) error {
	all := sorted(docs.all())
	objects := make([]object, len(all))
	for i, doc := range all {
		objects[i] = written(doc)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(objects)
}

// MarshalJSON keeps the order of the entries.
func (o object) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, e := range o {
		if i > 0 {
			b = append(b, ',')
		}
		value, err := json.Marshal(e.value)
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, jsonString(e.key)...), ':'), value...)
	}
	return append(b, '}'), nil
}
