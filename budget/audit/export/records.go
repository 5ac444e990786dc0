package export

import (
	"encoding/hex"
	"encoding/json"

	"keel/budget/audit/spend"
)

// Records is the table of records: a row a call, with the columns of keel.spend_records, and
// in JSON the quantities that were metered, the lines of the cost, and what each budget was charged.
func Records() Table {
	columns := []Column{
		{"decision_id", Text, false}, {"org", Text, false}, {"decided_at", Instant, true}, {"closed_at", Instant, true},
		{"subject", JSON, true}, {"api", Text, true}, {"provider", Text, true}, {"route", Text, true},
		{"model_requested", Text, true}, {"model_routed", Text, true}, {"model_reported", Text, true},
		{"action", Text, true}, {"reason", Text, true},
		{"estimated_input_tokens", Integer, true}, {"estimated_output_tokens", Integer, true},
		{"estimated_cost_usd", Money, true}, {"bound_cost_usd", Money, true}, {"held_usd", Money, true}, {"envelope_usd", Money, true}, {"bound_kind", Text, true},
		{"attempts", Integer, true}, {"input_tokens", Integer, true}, {"cached_input_tokens", Integer, true}, {"cache_write_tokens", Integer, true},
		{"output_tokens", Integer, true}, {"reasoning_tokens", Integer, true},
		{"actual_cost_usd", Money, true}, {"unmetered_cost_usd", Money, false}, {"provider_cost_usd", Text, true}, {"exchange_rate", Text, true},
		{"metered", Text, false}, {"outcome", Text, false}, {"http_status", Integer, true}, {"debt", Boolean, false}, {"detail", Text, true},
		{"usage", JSON, true}, {"cost_lines", JSON, false}, {"charges", JSON, true}, {"rules", JSON, true},
		{"price_version", Text, true}, {"epoch", Text, true}, {"seq", Integer, true}, {"leaf_hash", Text, true},
	}
	return Table{Name: "records", Columns: columns, Rows: func(r *spend.Record, emit func([]Cell) error) error {
		row, err := recordRow(r)
		if err != nil {
			return err
		}
		return emit(row)
	}}
}

func recordRow(r *spend.Record) ([]Cell, error) {
	rest, err := r.Rest()
	if err != nil {
		return nil, err
	}
	j := jsonCells{}
	var tokens [5]Cell
	if u := r.Usage; u != nil {
		for i, n := range [...]int64{u.InputTokens(), u.CachedInputTokens(), u.CacheWriteTokens(), u.OutputTokens(), u.ReasoningTokens()} {
			tokens[i] = IntegerCell(n)
		}
	}
	epoch := ""
	if r.Epoch != nil {
		epoch = r.Epoch.String()
	}
	lines := r.Lines
	if lines == nil {
		lines = []spend.Line{}
	}
	row := []Cell{
		TextCell(r.ID.String()), TextCell(r.Org), InstantCell(r.DecidedAt), InstantCell(r.ClosedAt),
		j.cell(r.Subject, r.Subject != nil), TextCell(r.API), TextCell(r.Provider), TextCell(r.Route),
		TextCell(r.ModelRequested), TextCell(r.ModelRouted), TextCell(r.ModelReported),
		TextCell(string(r.Action)), TextCell(r.Reason),
		OptionalCell(r.EstimatedInput), OptionalCell(r.EstimatedOutput),
		OptionalCell(r.EstimatedCost), OptionalCell(r.BoundCost), OptionalCell(r.Held), OptionalCell(r.Envelope), TextCell(r.BoundKind),
		OptionalCell(r.Attempts), tokens[0], tokens[1], tokens[2], tokens[3], tokens[4],
		OptionalCell(r.Cost), IntegerCell(int64(rest)), TextCell(r.ProviderCost), TextCell(r.ExchangeRate),
		TextCell(string(r.Metered)), TextCell(string(r.Outcome)), OptionalCell(r.HTTPStatus), BooleanCell(r.Debt), TextCell(r.Detail),
		j.cell(r.Usage, r.Usage != nil), j.cell(lines, true), j.cell(r.Charges, r.Charges != nil), rawCell(r.Rules),
		TextCell(r.PriceVersion), TextCell(epoch), OptionalCell(r.Seq), TextCell(hex.EncodeToString(r.LeafHash)),
	}
	return row, j.err
}

// jsonCells makes cells of values, and keeps the first error.
type jsonCells struct{ err error }

func (j *jsonCells) cell(v any, set bool) Cell {
	if !set {
		return Cell{}
	}
	text, err := json.Marshal(v)
	if err != nil && j.err == nil {
		j.err = err
	}
	return Cell{Set: true, Text: string(text)}
}

// rawCell is JSON as the database writes it: one text for one value.
func rawCell(text json.RawMessage) Cell { return Cell{Set: len(text) > 0, Text: string(text)} }
