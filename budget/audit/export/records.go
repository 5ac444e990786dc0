package export

import (
	"encoding/hex"
	"encoding/json"
	"time"

	"keel/budget/audit/spend"
)

// Records is the table of records: a row a call, with the columns of keel.spend_records, and
// in JSON the quantities that were metered, the lines of the cost, and what each budget was charged. Behind the calls
// there is a row a true-up, of which only org, provider, model_reported and the columns from kind on are set.
func Records() Table {
	columns := []Column{
		{"decision_id", Text, true}, {"org", Text, false}, {"decided_at", Instant, true}, {"closed_at", Instant, true},
		{"subject", JSON, true}, {"api", Text, true}, {"provider", Text, true}, {"route", Text, true},
		{"model_requested", Text, true}, {"model_routed", Text, true}, {"model_reported", Text, true},
		{"action", Text, true}, {"reason", Text, true},
		{"estimated_input_tokens", Integer, true}, {"estimated_output_tokens", Integer, true},
		{"estimated_cost_usd", Money, true}, {"bound_cost_usd", Money, true}, {"held_usd", Money, true}, {"envelope_usd", Money, true}, {"bound_kind", Text, true},
		{"attempts", Integer, true}, {"input_tokens", Integer, true}, {"cached_input_tokens", Integer, true}, {"cache_write_tokens", Integer, true},
		{"output_tokens", Integer, true}, {"reasoning_tokens", Integer, true},
		{"actual_cost_usd", Money, true}, {"unmetered_cost_usd", Money, true}, {"provider_cost_usd", Text, true}, {"exchange_rate", Text, true},
		{"metered", Text, true}, {"outcome", Text, true}, {"http_status", Integer, true}, {"debt", Boolean, true}, {"detail", Text, true},
		{"usage", JSON, true}, {"cost_lines", JSON, true}, {"charges", JSON, true}, {"rules", JSON, true},
		{"price_version", Text, true}, {"epoch", Text, true}, {"seq", Integer, true}, {"leaf_hash", Text, true},
		{"kind", Text, false}, {"adjustment_id", Text, true}, {"adjustment_usd", Money, true}, {"adjusted_at", Instant, true}, {"adjusted_day", Text, true},
		{"adjustment_cause", Text, true}, {"account", Text, true}, {"meter", Text, true}, {"reconciliation_id", Text, true},
	}
	at := make(map[string]int, len(columns))
	for i, c := range columns {
		at[c.Name] = i
	}
	return Table{Name: "records", Columns: columns,
		Rows: func(r *spend.Record, emit func([]Cell) error) error {
			row, err := recordRow(r)
			if err != nil {
				return err
			}
			return emit(row)
		},
		Adjustment: func(a *spend.Adjustment) []Cell {
			row := make([]Cell, len(columns))
			for name, cell := range map[string]Cell{"org": TextCell(a.Org), "provider": TextCell(a.Provider), "model_reported": TextCell(a.Model), "kind": TextCell("adjustment"),
				"adjustment_id": TextCell(a.ID.String()), "adjustment_usd": IntegerCell(int64(a.Amount)), "adjusted_at": InstantCell(&a.At), "adjusted_day": TextCell(a.Day.Format(time.DateOnly)),
				"adjustment_cause": TextCell(a.Cause), "account": TextCell(a.Account), "meter": TextCell(a.Meter), "reconciliation_id": TextCell(a.Reconciliation.String())} {
				row[at[name]] = cell
			}
			return row
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
		TextCell("call"), {}, {}, {}, {}, {}, {}, {}, {},
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
