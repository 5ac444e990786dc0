package leaf

import "strings"

// Labels says where in a column the values of labels stand.
type Labels int

// The places.
const (
	NoLabels  Labels = iota
	InSubject        // {"label": "value"}
	InKeys           // [{"key": "label=value,…"}]
	InAccount        // {"account": "label=value,…"}
	IsKey            // label=value,…
)

// Append appends the value of a column, as Postgres prints it, with commitments in place of the values of labels.
func (l Labels) Append(b, v []byte, c Commitments) ([]byte, error) {
	switch l {
	case InSubject:
		return Subject(b, v, c)
	case InKeys:
		return Keys(b, v, "key", c)
	case InAccount:
		return Keys(b, v, "account", c)
	case IsKey:
		key, err := AccountKey(string(v), c)
		return append(b, key...), err
	}
	return append(b, v...), nil
}

// Column is one of those that a leaf is made of. The name of a field is that of the column.
type Column struct {
	Name   string
	Labels Labels
}

// Columns are what a leaf is made of, in this order. Where a later migration adds one, it goes to the end of its list, and
// old leaves stay what they are, because it is null in their rows. A test holds the lists against the schema.
func (k Kind) Columns() []Column { return columns[k] }

var columns = map[Kind][]Column{
	Decision: list(`org decision_id decided_at stored_at epoch subject
	api provider model path stream max_output_tokens choices service_tier prompt action reason route routed_provider routed_model output_cap
	input_tokens input_tokens_bound output_tokens output_tokens_bound expected_n bound_n bound_kind method unpriced held_n rules price_version
	denial unmetered debt estimate seq holds envelope route_choices digest`, map[string]Labels{"subject": InSubject, "denial": InAccount, "holds": InKeys}),

	Closeout: list(`org decision_id closed_at stored_at outcome metered presumed usage input_tokens cached_input_tokens cache_write_tokens
	output_tokens reasoning_tokens raw_usage cost_n cost_known lines unpriced attempts http_status model detail provider_cost_usd
	response_id exchange_rate epoch seq lease charges attempt_rows digest version bills`, map[string]Labels{"charges": InKeys}),

	Entry: list(`org entry_id epoch seq kind decision_id budget account_key window_start window_end amount_n at cause digest extended_at more_n`,
		map[string]Labels{"account_key": IsKey}),

	Config: list(`org kind name version revision changed_at changed_by op before after change_id`, nil),

	Key: list(`key_id vkey statement added_at`, nil),
}

func list(names string, labels map[string]Labels) (all []Column) {
	for _, name := range strings.Fields(names) {
		all = append(all, Column{name, labels[name]})
	}
	return all
}
