package audit

import (
	"strings"

	"keel/budget/audit/leaf"
)

// Columns are what a leaf is made of, in this order; the name of a field is that of the
// column. Where a later migration adds one, it goes to the end of its list, and
// old leaves stay what they are, because it is null in their rows. A test holds the lists against the schema.

// commits says where in a column the values of labels stand.
type commits int

const (
	noLabels  commits = iota
	inSubject         // {"label": "value"}
	inKeys            // [{"key": "label=value,…"}]
	inAccount         // {"account": "label=value,…"}
	isKey             // label=value,…
)

type column struct {
	name    string
	sql     string // "" for the name
	commits commits
}

func plain(names string) (columns []column) {
	for _, name := range strings.Fields(names) {
		columns = append(columns, column{name: name})
	}
	return columns
}

func concat(lists ...[]column) (all []column) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// source is where records of a kind are.
type source struct {
	kind    leaf.Kind
	table   string
	org, id string // expressions
	version string
	columns []column
	extra   string // an expression that is no part of the leaf, "" for none
}

// sql is the list of a SELECT: org, id, version, then the columns.
func (s *source) sql() string {
	b := strings.Builder{}
	b.WriteString(s.org + ", " + s.id + ", " + s.version)
	for _, c := range s.columns {
		b.WriteString(", ")
		if c.sql != "" {
			b.WriteString(c.sql)
		} else {
			b.WriteString("r." + c.name)
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
	for _, c := range closeoutColumns {
		names = append(names, c.name)
	}
	list := strings.Join(names, ", ")
	return "(select " + list + ", false as superseded from keel.closeouts union all select " + list + ", true from keel.superseded_closeouts)"
}

var closeoutColumns = concat(plain(`org decision_id closed_at stored_at outcome metered presumed usage input_tokens cached_input_tokens cache_write_tokens
	output_tokens reasoning_tokens raw_usage cost_n cost_known lines`),
	[]column{{name: "unpriced", sql: "to_jsonb(r.unpriced)"}},
	plain("attempts http_status model detail"),
	[]column{{name: "provider_cost_usd", sql: "r.provider_cost_usd::text"}},
	plain("response_id exchange_rate epoch seq lease"),
	[]column{{name: "charges", commits: inKeys}},
	plain("attempt_rows digest version bills"))

var (
	decisions = source{leaf.Decision, "keel.decisions", "r.org", "r.decision_id", "1", concat(
		plain("org decision_id decided_at stored_at epoch"),
		[]column{{name: "subject", commits: inSubject}},
		plain(`api provider model path stream max_output_tokens choices service_tier prompt action reason route routed_provider routed_model output_cap
	input_tokens input_tokens_bound output_tokens output_tokens_bound expected_n bound_n bound_kind method unpriced held_n rules price_version`),
		[]column{{name: "denial", commits: inAccount}},
		plain("unmetered debt estimate seq"),
		[]column{{name: "holds", commits: inKeys}},
		plain("envelope route_choices digest")), ""}

	closeouts = source{leaf.Closeout, closeoutTable(), "r.org", "r.decision_id", "r.version", closeoutColumns, "r.superseded"}

	entries = source{leaf.Entry, "keel.entries", "r.org", "r.entry_id", "1", concat(
		plain("org entry_id epoch seq kind decision_id budget"),
		[]column{{name: "account_key", commits: isKey}},
		plain("window_start window_end amount_n at cause digest extended_at"),
		[]column{{name: "more_n", sql: "to_jsonb(r.more_n)"}}), ""}

	configs = source{leaf.Config, "keel.config_versions", "r.org", "r.change_id", "1",
		plain("org kind name version revision changed_at changed_by op before after change_id"), ""}

	auditKeys = source{leaf.Key, "keel.audit_keys", "''::text", "r.key_id", "1", plain("key_id vkey statement added_at"), ""}
)

// sources are all of them, one a kind.
var sources = map[leaf.Kind]*source{leaf.Decision: &decisions, leaf.Closeout: &closeouts, leaf.Entry: &entries, leaf.Config: &configs, leaf.Key: &auditKeys}
