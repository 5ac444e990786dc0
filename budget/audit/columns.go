package audit

import (
	"strings"

	"keel/budget/audit/leaf"
)

// source is where records of a kind are.
type source struct {
	kind    leaf.Kind
	table   string
	org, id string // expressions
	version string
	columns []leaf.Column
	as      map[string]string // expressions of columns that are not read as they are
	extra   string            // an expression that is no part of the leaf, "" for none
}

// sql is the list of a SELECT: org, id, version, then the columns.
func (s *source) sql() string {
	b := strings.Builder{}
	b.WriteString(s.org + ", " + s.id + ", " + s.version)
	for _, c := range s.columns {
		b.WriteString(", ")
		if as := s.as[c.Name]; as != "" {
			b.WriteString(as)
		} else {
			b.WriteString("r." + c.Name)
		}
	}
	if s.extra != "" {
		b.WriteString(", " + s.extra)
	}
	return b.String()
}

// closeoutTable is closeouts as they are, and those that another one replaced: versions of the same records.
func closeoutTable() string {
	names := []string{}
	for _, c := range leaf.Closeout.Columns() {
		names = append(names, c.Name)
	}
	list := strings.Join(names, ", ")
	return "(select " + list + ", false as superseded from keel.closeouts union all select " + list + ", true from keel.superseded_closeouts)"
}

var (
	decisions = source{leaf.Decision, "keel.decisions", "r.org", "r.decision_id", "1", leaf.Decision.Columns(), nil, ""}
	closeouts = source{leaf.Closeout, closeoutTable(), "r.org", "r.decision_id", "r.version", leaf.Closeout.Columns(),
		map[string]string{"unpriced": "to_jsonb(r.unpriced)", "provider_cost_usd": "r.provider_cost_usd::text"}, "r.superseded"}
	entries   = source{leaf.Entry, "keel.entries", "r.org", "r.entry_id", "1", leaf.Entry.Columns(), map[string]string{"more_n": "to_jsonb(r.more_n)"}, ""}
	configs   = source{leaf.Config, "keel.config_versions", "r.org", "r.change_id", "1", leaf.Config.Columns(), nil, ""}
	auditKeys = source{leaf.Key, "keel.audit_keys", "''::text", "r.key_id", "1", leaf.Key.Columns(), nil, ""}
)

// sources are all of them, one a kind.
var sources = map[leaf.Kind]*source{leaf.Decision: &decisions, leaf.Closeout: &closeouts, leaf.Entry: &entries, leaf.Config: &configs, leaf.Key: &auditKeys}
