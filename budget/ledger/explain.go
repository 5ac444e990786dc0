package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"keel/budget"
	"keel/pricing"
)

// Explanation is everything that the ledger keeps about one decision: what
// was estimated, what happened, and which rules were active, with their text.
// Amounts in JSON are dollars as decimal strings.
type Explanation struct {
	Record     json.RawMessage `json:"record"` // the row of keel.spend_records
	Detail     DecisionDetail  `json:"decision"`
	Holds      []HoldDetail    `json:"holds"`
	Closeout   *CloseoutDetail `json:"closeout"`   // nil while the call is in flight, and for denials
	Annotation *LogDetail      `json:"access_log"` // nil when the access log said nothing (yet)
	Rules      []RuleDetail    `json:"rules"`
}

// DecisionDetail is what keel.spend_records leaves out of a decision.
type DecisionDetail struct {
	ID                uuid.UUID       `json:"decision_id"`
	Org               string          `json:"org"`
	DecidedAt         time.Time       `json:"decided_at"`
	StoredAt          time.Time       `json:"stored_at"` // by the database's clock
	Replica           uuid.UUID       `json:"replica"`
	Path              string          `json:"path"`
	Stream            bool            `json:"stream"`
	MaxOutputTokens   int64           `json:"max_output_tokens"` // as asked for; 0 when not stated
	OutputCap         int64           `json:"output_cap"`        // as set by Keel; 0 for none
	Choices           int64           `json:"choices"`
	ServiceTier       string          `json:"service_tier"`
	Prompt            json.RawMessage `json:"prompt"`
	InputTokensBound  int64           `json:"input_tokens_bound"`
	OutputTokensBound int64           `json:"output_tokens_bound"`
	BoundKind         string          `json:"bound_kind"`
	Method            string          `json:"method"`
	Unpriced          string          `json:"unpriced"`
	Denial            json.RawMessage `json:"denial"`
	Unmetered         bool            `json:"unmetered"`
	Debt              bool            `json:"debt"`
}

// HoldDetail is a hold and what became of it.
type HoldDetail struct {
	Budget         string           `json:"budget"`
	Key            string           `json:"account_key"`
	WindowStart    *time.Time       `json:"window_start"` // nil: unbounded
	WindowEnd      *time.Time       `json:"window_end"`
	RollingSeconds int64            `json:"rolling_seconds,omitempty"` // of a rolling window, that the bounds are a bucket of
	Amount         pricing.NanoUSD  `json:"amount_usd"`
	Settled        *pricing.NanoUSD `json:"settled_usd"` // nil while it is open
	Limit          pricing.NanoUSD  `json:"limit_usd"`   // when it was decided
	Mode           budget.Mode      `json:"mode"`
	Version        int64            `json:"budget_version"`
	Leased         bool             `json:"leased"` // out of a slice; else nobody had set it aside: an observing budget, or a debt
}

// CloseoutDetail is what keel.spend_records leaves out of a closeout.
type CloseoutDetail struct {
	ClosedAt  time.Time       `json:"closed_at"`
	StoredAt  time.Time       `json:"stored_at"`
	Outcome   budget.Outcome  `json:"outcome"`
	Presumed  bool            `json:"presumed"` // by the ledger, because nobody closed, or awaited: the usage comes with a later call
	Usage     json.RawMessage `json:"usage"`
	RawUsage  json.RawMessage `json:"raw_usage"`
	CostKnown bool            `json:"cost_known"`
	Lines     json.RawMessage `json:"lines"`
	Unpriced  []string        `json:"unpriced"`
	Model     string          `json:"model"`
	Detail    string          `json:"detail"`

	ProviderCost *string         `json:"provider_cost_usd"` // as the provider states it; nil where it does not
	ResponseID   string          `json:"response_id"`       // the provider's name for the response
	ExchangeRate *string         `json:"exchange_rate"`     // that turned the price's currency into USD; nil where it is in USD
	Attempts     json.RawMessage `json:"attempts"`          // one a try, as keel.closeouts has them; null where none was seen
}

// LogDetail is what Envoy's access log said.
type LogDetail struct {
	LoggedAt      time.Time `json:"logged_at"`
	HTTPStatus    int       `json:"http_status"`
	Attempts      int       `json:"attempts"`
	Flags         string    `json:"flags"`
	Details       string    `json:"details"`
	ResponseBytes int64     `json:"response_bytes"`
}

// RuleDetail is a rule with the document that it was at the time.
type RuleDetail struct {
	budget.Rule
	Document  json.RawMessage `json:"document"` // columns of that version; null when the history has none
	ChangedAt *time.Time      `json:"changed_at"`
	ChangedBy *string         `json:"changed_by"`
}

// Explain reads all about a decision, of whatever org. It returns ErrNotFound
// for one that is not in the ledger (yet).
func (s *Store) Explain(ctx context.Context, id uuid.UUID) (e *Explanation, err error) {
	err = pgx.BeginTxFunc(ctx, s.pool, snapshot, func(tx pgx.Tx) error {
		e, err = ReadExplanation(ctx, tx, id)
		return err
	})
	return e, err
}

// ReadExplanation is Explain in the caller's transaction.
func ReadExplanation(ctx context.Context, tx pgx.Tx, id uuid.UUID) (*Explanation, error) {
	e := &Explanation{}
	err := e.read(ctx, tx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		err = fmt.Errorf("no such decision: %w", ErrNotFound)
	}
	if err != nil {
		return nil, explainError(fmt.Sprintf("explain decision %s", id), err)
	}
	return e, nil
}

func (e *Explanation) read(ctx context.Context, tx pgx.Tx, id uuid.UUID) error {
	var rules []byte
	d := &e.Detail
	err := tx.QueryRow(ctx, `
select d.decision_id, d.org, d.decided_at, d.stored_at, d.epoch, d.path, d.stream, d.max_output_tokens, d.output_cap, d.choices,
  d.service_tier, d.prompt, d.input_tokens_bound, d.output_tokens_bound, d.bound_kind, d.method, d.unpriced, d.denial, d.unmetered, d.debt, d.rules
from keel.decisions d where d.decision_id = $1`, id).Scan(&d.ID, &d.Org, &d.DecidedAt, &d.StoredAt, &d.Replica, &d.Path, &d.Stream, &d.MaxOutputTokens,
		&d.OutputCap, &d.Choices, &d.ServiceTier, &d.Prompt, &d.InputTokensBound, &d.OutputTokensBound, &d.BoundKind, &d.Method, &d.Unpriced,
		&d.Denial, &d.Unmetered, &d.Debt, &rules)
	if err != nil {
		return err
	}
	if err := tx.QueryRow(ctx, "select to_jsonb(r) from keel.spend_records r where org = $1 and decision_id = $2", d.Org, id).Scan(&e.Record); err != nil {
		return err
	}
	// What a hold settled is its charge in the closeout, at the same place.
	rows, err := tx.Query(ctx, `
select h->>'budget', h->>'key', nullif((h->>'start')::timestamptz, '-infinity'), nullif((h->>'end')::timestamptz, 'infinity'), (h->>'rolling_s')::bigint,
  (h->>'amount')::bigint, (c.charges->(n::int - 1)->>'amount')::bigint, (h->>'limit')::bigint, h->>'mode', (h->>'version')::bigint, (h->>'leased')::boolean
from keel.decisions d cross join lateral jsonb_array_elements(d.holds) with ordinality j (h, n)
left join keel.closeouts c on c.org = d.org and c.decision_id = d.decision_id
where d.org = $1 and d.decision_id = $2 order by n`, d.Org, id)
	if err != nil {
		return err
	}
	e.Holds, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (h HoldDetail, err error) {
		return h, row.Scan(&h.Budget, &h.Key, &h.WindowStart, &h.WindowEnd, &h.RollingSeconds, &h.Amount, &h.Settled, &h.Limit, &h.Mode, &h.Version, &h.Leased)
	})
	if err != nil {
		return err
	}
	if e.Closeout, err = one[CloseoutDetail](tx.Query(ctx, `
select closed_at, stored_at, outcome, presumed, usage, raw_usage, cost_known, lines, unpriced, model, detail, provider_cost_usd::text, response_id, exchange_rate, attempt_rows
from keel.closeouts where org = $1 and decision_id = $2`, d.Org, id)); err != nil {
		return err
	}
	if e.Annotation, err = one[LogDetail](tx.Query(ctx, `
select logged_at, http_status, attempts, flags, details, response_bytes
from keel.annotations where org = $1 and decision_id = $2`, d.Org, id)); err != nil {
		return err
	}
	return e.readRules(ctx, tx, rules)
}

// one reads a row by position into a struct, or nil when there is none.
func one[T any](rows pgx.Rows, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByPos[T])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return v, err
}

func (e *Explanation) readRules(ctx context.Context, tx pgx.Tx, raw []byte) error {
	var rules []budget.Rule
	if err := json.Unmarshal(raw, &rules); err != nil {
		return err
	}
	for _, r := range rules {
		detail := RuleDetail{Rule: r}
		err := tx.QueryRow(ctx, `
select after, changed_at, changed_by from keel.config_versions where org = $1 and kind = $2 and name = $3 and version = $4`,
			e.Detail.Org, string(r.Kind), r.Name, r.Version).Scan(&detail.Document, &detail.ChangedAt, &detail.ChangedBy)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		e.Rules = append(e.Rules, detail)
	}
	return nil
}
