package spend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"keel/budget"
	"keel/pricing"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

// Query says which calls to read.
type Query struct {
	Org          string
	Since, Until time.Time // decided from Since on and before Until; zero for no bound
}

// Reader reads one snapshot. It is used by one goroutine.
type Reader struct {
	conn *pgx.Conn
	tx   pgx.Tx
	at   time.Time
}

// Open begins a snapshot of the database of dsn.
func Open(ctx context.Context, dsn string) (*Reader, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("spend: database address: %w", err)
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 5 * time.Second
	}
	config.RuntimeParams["application_name"] = "keel audit"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("spend: %w", err)
	}
	r := &Reader{conn: conn}
	if r.tx, err = conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}); err == nil {
		// Rows are wanted in order from the first on, not all of them sorted before it.
		err = r.tx.QueryRow(ctx, "select now(), set_config('cursor_tuple_fraction', '0.0001', true), set_config('standard_conforming_strings', 'on', true)").Scan(&r.at, new(string), new(string))
	}
	if err != nil {
		r.Close()
		return nil, explain(err)
	}
	return r, nil
}

// Close ends the snapshot.
func (r *Reader) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if r.tx != nil {
		_ = r.tx.Rollback(ctx)
	}
	_ = r.conn.Close(ctx)
}

// At is when the snapshot was taken, by the database's clock.
func (r *Reader) At() time.Time { return r.at.UTC() }

// Tx is the snapshot's transaction, for what else is read of the same moment.
func (r *Reader) Tx() pgx.Tx { return r.tx }

func explain(err error) error {
	if err != nil && (strings.Contains(err.Error(), "42P01") || strings.Contains(err.Error(), "42703") || strings.Contains(err.Error(), "3F000")) {
		return fmt.Errorf("spend: the database lacks Keel's schema or has an older one, run keel migrate: %w", err)
	}
	if err != nil {
		return fmt.Errorf("spend: %w", err)
	}
	return nil
}

const columns = `
select r.decision_id, r.org, r.decided_at, r.closed_at, r.subject, coalesce(r.api, ''), coalesce(r.provider, ''), coalesce(d.provider, ''), coalesce(r.route, ''),
  coalesce(r.model_requested, ''), coalesce(r.model_routed, ''), coalesce(c.model, ''), coalesce(d.path, ''), coalesce(d.stream, false),
  coalesce(d.max_output_tokens, 0), coalesce(d.choices, 1), coalesce(d.service_tier, ''),
  coalesce(r.action, ''), coalesce(r.reason, ''), r.rules, r.estimated_input_tokens, r.estimated_output_tokens,
  coalesce(d.input_tokens_bound, 0), coalesce(d.output_tokens_bound, 0),
  (r.estimated_cost_usd * 1000000000)::bigint, (r.bound_cost_usd * 1000000000)::bigint, (r.held_usd * 1000000000)::bigint, (r.envelope_usd * 1000000000)::bigint,
  coalesce(r.bound_kind, ''), coalesce(d.method, ''), d.prompt, d.estimate, r.attempts, c.usage,
  (r.actual_cost_usd * 1000000000)::bigint, coalesce(c.cost_known, false), c.lines, c.charges, c.attempt_rows, coalesce(c.exchange_rate, ''), coalesce(r.provider_cost_usd::text, ''),
  r.metered, r.outcome, r.http_status::bigint, coalesce(d.unmetered, false), coalesce(r.debt, false), coalesce(c.presumed, false), coalesce(r.detail, ''),
  coalesce(r.price_version, ''), r.epoch, r.seq, r.leaf_hash
from keel.spend_records r
left join keel.decisions d on d.org = r.org and d.decision_id = r.decision_id
left join keel.closeouts c on c.org = r.org and c.decision_id = r.decision_id
where r.org = $1 and `

// decided are the calls whose decision is there: by the index on (org, decided_at).
const decided = `r.decided_at >= $2 and r.decided_at < $3 and r.decided_at >= $4 and (r.decided_at, r.decision_id) > ($4, $5)`

// undecided are closeouts that wait for their decision.
const undecided = `r.decided_at is null and r.closed_at >= $2 and r.closed_at < $3 and (r.closed_at, r.decision_id) > ($4, $5)`

func (q Query) bounds() (since, until any) {
	since, until = q.Since, q.Until
	if q.Since.IsZero() {
		since = "-infinity"
	}
	if q.Until.IsZero() {
		until = "infinity"
	}
	return since, until
}

// fetch is how many records come at a time.
const fetch = 1000

// Read calls each with every record of q that stands behind after, nil for all, in order. The record is
// each's to keep. It ends with the first error of each.
func (r *Reader) Read(ctx context.Context, q Query, after *Position, each func(*Record) error) error {
	if after == nil || !after.Undecided {
		if err := r.phase(ctx, q, decided, "r.decided_at", after, each); err != nil {
			return err
		}
		after = nil
	}
	return r.phase(ctx, q, undecided, "r.closed_at", after, each)
}

func (r *Reader) phase(ctx context.Context, q Query, where, order string, after *Position, each func(*Record) error) error {
	since, until := q.bounds()
	var at any = "-infinity"
	id := Position{}.ID
	if after != nil {
		at, id = after.At, after.ID
	}
	sql := literal("declare spend no scroll cursor for "+columns+where+" order by "+order+", r.decision_id", q.Org, since, until, at, id)
	if _, err := r.tx.Exec(ctx, sql); err != nil {
		return explain(err)
	}
	for {
		rows, err := r.tx.Query(ctx, fmt.Sprintf("fetch %d from spend", fetch))
		if err != nil {
			return explain(err)
		}
		n := 0
		for rows.Next() {
			record, err := scan(rows)
			if err == nil {
				err = each(record)
			}
			if err != nil {
				rows.Close()
				return err
			}
			n++
		}
		if err := rows.Err(); err != nil {
			return explain(err)
		}
		if n < fetch {
			_, err := r.tx.Exec(ctx, "close spend")
			return explain(err)
		}
	}
}

// literal puts values into a statement that takes no parameters.
func literal(sql string, values ...any) string {
	for i := len(values); i > 0; i-- {
		var text string
		switch v := values[i-1].(type) {
		case time.Time:
			text = v.UTC().Format("2006-01-02 15:04:05.999999999Z07:00")
		default:
			text = fmt.Sprint(v)
		}
		kind := ""
		switch i {
		case 2, 3, 4:
			kind = "::timestamptz"
		case 5:
			kind = "::uuid"
		}
		// standard_conforming_strings is on: only the quote has to be doubled.
		sql = strings.ReplaceAll(sql, fmt.Sprintf("$%d", i), "'"+strings.ReplaceAll(strings.ReplaceAll(text, "\x00", ""), "'", "''")+"'"+kind)
	}
	return sql
}

func scan(rows pgx.Rows) (*Record, error) {
	r := new(Record)
	var subject, shape, estimate, usage, lines, charges, attempts []byte
	var estimated, bound, held, envelope, cost *int64
	var action, metered, outcome string
	err := rows.Scan(&r.ID, &r.Org, &r.DecidedAt, &r.ClosedAt, &subject, &r.API, &r.Provider, &r.ProviderAsked, &r.Route,
		&r.ModelRequested, &r.ModelRouted, &r.ModelReported, &r.Path, &r.Stream, &r.MaxOutputTokens, &r.Choices, &r.ServiceTier,
		&action, &r.Reason, &r.Rules, &r.EstimatedInput, &r.EstimatedOutput, &r.InputBound, &r.OutputBound,
		&estimated, &bound, &held, &envelope, &r.BoundKind, &r.Method, &shape, &estimate, &r.Attempts, &usage,
		&cost, &r.CostKnown, &lines, &charges, &attempts, &r.ExchangeRate, &r.ProviderCost,
		&metered, &outcome, &r.HTTPStatus, &r.Unmetered, &r.Debt, &r.Presumed, &r.Detail,
		&r.PriceVersion, &r.Epoch, &r.Seq, &r.LeafHash)
	if err != nil {
		return nil, explain(err)
	}
	r.Action, r.Metered, r.Outcome = budget.Action(action), budget.Metered(metered), budget.Outcome(outcome)
	for _, t := range []**time.Time{&r.DecidedAt, &r.ClosedAt} {
		if *t != nil {
			utc := (*t).UTC()
			*t = &utc
		}
	}
	for _, n := range []struct {
		from *int64
		to   **pricing.NanoUSD
	}{{estimated, &r.EstimatedCost}, {bound, &r.BoundCost}, {held, &r.Held}, {envelope, &r.Envelope}, {cost, &r.Cost}} {
		*n.to = (*pricing.NanoUSD)(n.from)
	}
	var parts struct {
		Input  tokens.Input  `json:"input"`
		Output tokens.Output `json:"output"`
	}
	for _, j := range []struct {
		text []byte
		into any
	}{{subject, &r.Subject}, {shape, &r.Shape}, {estimate, &parts}, {lines, &r.Lines}, {charges, &r.Charges}, {attempts, &r.AttemptRows}} {
		if len(j.text) == 0 {
			continue
		}
		if err := json.Unmarshal(j.text, j.into); err != nil {
			return nil, fmt.Errorf("spend: call %s: what is stored of it can't be read by this version of keel: %w", r.ID, err)
		}
	}
	r.Input, r.Output = parts.Input, parts.Output
	if len(usage) > 0 && string(usage) != "null" {
		r.Usage = new(meter.Usage)
		if err := json.Unmarshal(usage, r.Usage); err != nil {
			return nil, fmt.Errorf("spend: call %s: its usage can't be read by this version of keel: %w", r.ID, err)
		}
	}
	return r, nil
}

// Sum is what the ledger itself adds up.
type Sum struct {
	Records int64
	Nano    *big.Int // nano-dollars
	Open    int64    // calls without an end
}

// Sum adds up the records of q up to a position, it included; nil for all of them.
func (r *Reader) Sum(ctx context.Context, q Query, upTo *Position) (Sum, error) {
	since, until := q.bounds()
	first := "r.decided_at is not null and r.decided_at >= $2 and r.decided_at < $3"
	last := "r.decided_at is null and r.closed_at >= $2 and r.closed_at < $3"
	var at, id any = "infinity", Position{}.ID
	switch {
	case upTo == nil:
	case upTo.Undecided:
		at, id = upTo.At, upTo.ID
		last += " and (r.closed_at, r.decision_id) <= ($4, $5)"
	default:
		at, id = upTo.At, upTo.ID
		first += " and (r.decided_at, r.decision_id) <= ($4, $5)"
		last = "false"
	}
	sum := Sum{Nano: new(big.Int)}
	for _, where := range []string{first, last} {
		var n, open int64
		var nano string
		err := r.tx.QueryRow(ctx, literal(`select count(*), coalesce(sum(r.actual_cost_usd), 0) * 1000000000, count(*) filter (where r.outcome = 'open')
from keel.spend_records r where r.org = $1 and `+where, q.Org, since, until, at, id)).Scan(&n, &nano, &open)
		if err != nil {
			return Sum{}, explain(err)
		}
		whole, fraction, _ := strings.Cut(nano, ".")
		part, ok := new(big.Int).SetString(whole, 10)
		if !ok || strings.Trim(fraction, "0") != "" {
			return Sum{}, errors.New("spend: the ledger's sum " + nano + " is no number of nano-dollars")
		}
		sum.Records, sum.Open = sum.Records+n, sum.Open+open
		sum.Nano.Add(sum.Nano, part)
	}
	return sum, nil
}
