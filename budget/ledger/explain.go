package ledger

import (
	"context"
	_ "embed"
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
	Extensions []Extension     `json:"extensions,omitempty"` // in their order
	Closeout   *CloseoutDetail `json:"closeout"`             // nil while the call is in flight, and for denials
	Annotation *LogDetail      `json:"access_log"`           // nil when the access log said nothing (yet)
	Rules      []RuleDetail    `json:"rules"`

	Superseded  []SupersededDetail `json:"superseded"`  // closeouts that a later one replaced, oldest first
	Corrections []EntryDetail      `json:"corrections"` // entries that refer to the decision, oldest first
	Evidence    []LeafDetail       `json:"evidence"`    // where the audit log has all this
}

// ExplainSchema is the JSON schema (draft 2020-12) of an Explanation.
//
//go:embed explain.schema.json
var ExplainSchema []byte

// SupersededDetail is a closeout that is not in force any more.
type SupersededDetail struct {
	Version      int             `json:"version"`
	SupersededAt time.Time       `json:"superseded_at"`
	ClosedAt     time.Time       `json:"closed_at"`
	Outcome      budget.Outcome  `json:"outcome"`
	Metered      budget.Metered  `json:"metered"`
	Cost         pricing.NanoUSD `json:"cost_usd"`
	CostKnown    bool            `json:"cost_known"`
	RawUsage     json.RawMessage `json:"raw_usage"`
	Lines        json.RawMessage `json:"lines"`
	Detail       string          `json:"detail"`
}

// EntryDetail is an entry of the ledger that refers to a decision.
type EntryDetail struct {
	ID     uuid.UUID       `json:"entry_id"`
	At     time.Time       `json:"at"`
	Kind   string          `json:"kind"`
	Amount pricing.NanoUSD `json:"amount_usd"`
	Cause  json.RawMessage `json:"cause"`
}

// LeafDetail is a record's place in the audit log.
type LeafDetail struct {
	Kind    string    `json:"kind"`
	ID      uuid.UUID `json:"id"`
	Version int       `json:"version"`
	Leaf    *int64    `json:"leaf"` // nil: on its way
	Hash    *string   `json:"hash"` // hex
	Signed  bool      `json:"signed"`
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
	Amount         pricing.NanoUSD  `json:"amount_usd"`                // at permit
	Extended       pricing.NanoUSD  `json:"extended_usd,omitempty"`    // by all extensions
	Settled        *pricing.NanoUSD `json:"settled_usd"`               // nil while it is open
	Limit          pricing.NanoUSD  `json:"limit_usd"`                 // when it was decided
	Mode           budget.Mode      `json:"mode"`
	Version        int64            `json:"budget_version"`
	Leased         bool             `json:"leased"` // out of a slice; else nobody had set it aside: an observing budget, or a debt
}

// Extension is what was set aside more while the call ran.
type Extension struct {
	At       time.Time         `json:"extended_at"`
	StoredAt time.Time         `json:"stored_at"` // by the database's clock
	More     []pricing.NanoUSD `json:"more_usd"`  // for each of Holds, 0 for none
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
	Version      int             `json:"version"`           // 1, and one more for each that it replaced
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
  (h->>'amount')::bigint, coalesce(x.more_n[n], 0), (c.charges->(n::int - 1)->>'amount')::bigint, (h->>'limit')::bigint, h->>'mode', (h->>'version')::bigint, (h->>'leased')::boolean
from keel.decisions d cross join lateral jsonb_array_elements(d.holds) with ordinality j (h, n)
left join keel.closeouts c on c.org = d.org and c.decision_id = d.decision_id
left join keel.extended x on x.org = d.org and x.decision_id = d.decision_id
where d.org = $1 and d.decision_id = $2 order by n`, d.Org, id)
	if err != nil {
		return err
	}
	e.Holds, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (h HoldDetail, err error) {
		return h, row.Scan(&h.Budget, &h.Key, &h.WindowStart, &h.WindowEnd, &h.RollingSeconds, &h.Amount, &h.Extended, &h.Settled, &h.Limit, &h.Mode, &h.Version, &h.Leased)
	})
	if err != nil {
		return err
	}
	if rows, err = tx.Query(ctx, `
select extended_at, at, more_n from keel.entries where org = $1 and decision_id = $2 and kind = 'extension' order by seq`, d.Org, id); err != nil {
		return err
	}
	if e.Extensions, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Extension]); err != nil {
		return err
	}
	if e.Closeout, err = one[CloseoutDetail](tx.Query(ctx, `
select closed_at, stored_at, outcome, presumed, usage, raw_usage, cost_known, lines, unpriced, model, detail, provider_cost_usd::text, response_id, exchange_rate, attempt_rows, version
from keel.closeouts where org = $1 and decision_id = $2`, d.Org, id)); err != nil {
		return err
	}
	if e.Annotation, err = one[LogDetail](tx.Query(ctx, `
select logged_at, http_status, attempts, flags, details, response_bytes
from keel.annotations where org = $1 and decision_id = $2`, d.Org, id)); err != nil {
		return err
	}
	if err := e.readRules(ctx, tx, rules); err != nil {
		return err
	}
	return e.readHistory(ctx, tx)
}

// readHistory reads what was corrected, and where the audit log has it.
func (e *Explanation) readHistory(ctx context.Context, tx pgx.Tx) error {
	org, id := e.Detail.Org, e.Detail.ID
	rows, err := tx.Query(ctx, `
select version, superseded_at, closed_at, outcome, metered, cost_n, cost_known, raw_usage, lines, detail
from keel.superseded_closeouts where org = $1 and decision_id = $2 order by version`, org, id)
	if err == nil {
		e.Superseded, err = pgx.CollectRows(rows, pgx.RowToStructByPos[SupersededDetail])
	}
	if err != nil {
		return err
	}
	rows, err = tx.Query(ctx, "select entry_id, at, kind, amount_n, cause from keel.entries where org = $1 and decision_id = $2 order by at, entry_id", org, id)
	if err == nil {
		e.Corrections, err = pgx.CollectRows(rows, pgx.RowToStructByPos[EntryDetail])
	}
	if err != nil {
		return err
	}
	rows, err = tx.Query(ctx, `
select r.kind, r.id, r.version, l.index, encode(l.hash, 'hex'), coalesce(l.index < (select max(size) from keel.checkpoints), false)
from (select 0 as n, 'decision' as kind, $2::uuid as id, 1 as version
  union all select 1, 'closeout', decision_id, version from keel.superseded_closeouts where org = $1 and decision_id = $2
  union all select 1, 'closeout', decision_id, version from keel.closeouts where org = $1 and decision_id = $2
  union all select 2, 'entry', entry_id, 1 from keel.entries where org = $1 and decision_id = $2) r
left join keel.leaves l on l.org = $1 and l.kind = r.kind and l.id = r.id and l.version = r.version order by r.n, r.version, l.index`, org, id)
	if err == nil {
		e.Evidence, err = pgx.CollectRows(rows, pgx.RowToStructByPos[LeafDetail])
	}
	return err
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
