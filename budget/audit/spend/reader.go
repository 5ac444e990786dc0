package spend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"keel/budget"
	"keel/pricing"
	"keel/pricing/meter"
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
		err = r.tx.QueryRow(ctx, "select now()").Scan(&r.at)
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
  (r.actual_cost_usd * 1000000000)::bigint, coalesce(c.cost_known, false), c.lines, c.bills, c.charges, c.attempt_rows, coalesce(c.exchange_rate, ''), coalesce(r.provider_cost_usd::text, ''),
  r.metered, r.outcome, r.http_status::bigint, coalesce(d.unmetered, false), coalesce(r.debt, false), coalesce(c.presumed, false), coalesce(r.detail, ''),
  coalesce(r.price_version, ''), r.epoch, r.seq, r.leaf_hash
from p cross join lateral ( -- "offset 0" keeps the look-up by key of each arm of the view
  select v.* from keel.spend_records v where v.org = p.org and v.decision_id = p.decision_id and (v.decided_at is null) = $7 offset 0) r
left join keel.decisions d on d.org = r.org and d.decision_id = r.decision_id
left join keel.closeouts c on c.org = r.org and c.decision_id = r.decision_id
order by p.at, p.decision_id`

// decided is a page of the calls whose decision is there: by the index on (org, decided_at).
const decided = `
with p as materialized (select org, decision_id, decided_at as at from keel.decisions
  where org = $1 and decided_at >= greatest($2::timestamptz, $4::timestamptz) and decided_at < $3 and (decided_at, decision_id) > ($4, $5)
  order by decided_at, decision_id limit $6)` + columns

// undecided is a page of the closeouts that wait for their decision: there are few.
const undecided = `
with p as materialized (select c.org, c.decision_id, c.closed_at as at from keel.closeouts c
  where c.org = $1 and c.closed_at >= $2 and c.closed_at < $3 and (c.closed_at, c.decision_id) > ($4, $5)
    and not exists (select from keel.decisions d where d.org = c.org and d.decision_id = c.decision_id)
  order by c.closed_at, c.decision_id limit $6)` + columns

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

// page is how many records are in memory at a time.
const page = 2000

// Read calls each with every record of q that stands behind after, nil for all, in order. The record is
// each's to keep. It ends with the first error of each.
func (r *Reader) Read(ctx context.Context, q Query, after *Position, each func(*Record) error) error {
	if after == nil || !after.Undecided {
		// A page is a few thousand look-ups by key; hashing a month's records for it takes longer than all of them.
		if err := r.plan(ctx, false); err != nil {
			return err
		}
		err := r.pages(ctx, q, decided, false, after, each)
		if err != nil {
			return err
		}
		after = nil
	}
	if err := r.plan(ctx, true); err != nil {
		return err
	}
	return r.pages(ctx, q, undecided, true, after, each)
}

// plan lets Postgres choose among all plans, or those that look rows up by key.
func (r *Reader) plan(ctx context.Context, all bool) error {
	_, err := r.tx.Exec(ctx, `select set_config(name, $1, true) from unnest(array['enable_hashjoin', 'enable_mergejoin', 'enable_material', 'jit']) name`, strconv.FormatBool(all))
	if err == nil {
		_, err = r.tx.Exec(ctx, "set local plan_cache_mode = force_custom_plan")
	}
	return explain(err)
}

func (r *Reader) pages(ctx context.Context, q Query, sql string, undecided bool, after *Position, each func(*Record) error) error {
	since, until := q.bounds()
	var at any = "-infinity"
	id := Position{}.ID
	if after != nil {
		at, id = after.At, after.ID
	}
	for {
		rows, err := r.tx.Query(ctx, sql, q.Org, since, until, at, id, page, undecided)
		if err != nil {
			return explain(err)
		}
		n := 0
		for rows.Next() {
			record, err := scan(rows)
			if err == nil {
				last := record.Position()
				at, id = last.At, last.ID
				err = each(record)
			}
			if err != nil {
				rows.Close()
				return err
			}
			n++
		}
		if err := rows.Err(); err != nil || n < page {
			return explain(err)
		}
	}
}

func scan(rows pgx.Rows) (*Record, error) {
	r := new(Record)
	var subject, usage, lines, bills, charges []byte
	var estimated, bound, held, envelope, cost *int64
	var action, metered, outcome string
	err := rows.Scan(&r.ID, &r.Org, &r.DecidedAt, &r.ClosedAt, &subject, &r.API, &r.Provider, &r.ProviderAsked, &r.Route,
		&r.ModelRequested, &r.ModelRouted, &r.ModelReported, &r.Path, &r.Stream, &r.MaxOutputTokens, &r.Choices, &r.ServiceTier,
		&action, &r.Reason, &r.Rules, &r.EstimatedInput, &r.EstimatedOutput, &r.InputBound, &r.OutputBound,
		&estimated, &bound, &held, &envelope, &r.BoundKind, &r.Method, &r.prompt, &r.estimate, &r.Attempts, &usage,
		&cost, &r.CostKnown, &lines, &bills, &charges, &r.attempts, &r.ExchangeRate, &r.ProviderCost,
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
	for _, j := range []struct {
		text []byte
		into any
	}{{subject, &r.Subject}, {lines, &r.Lines}, {bills, &r.Bills}, {charges, &r.Charges}} {
		if len(j.text) == 0 {
			continue
		}
		if err := json.Unmarshal(j.text, j.into); err != nil {
			return nil, fmt.Errorf("spend: call %s: what is stored of it can't be read by this version of keel: %w", r.ID, err)
		}
	}
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
	var at any = "infinity"
	id := Position{}.ID
	if upTo != nil {
		at, id = upTo.At, upTo.ID
	}
	switch {
	case upTo == nil:
		first += " and r.decided_at <= $4 and $5::uuid is not null"
		last += " and r.closed_at <= $4 and $5::uuid is not null"
	case upTo.Undecided:
		first += " and $4::timestamptz is not null and $5::uuid is not null"
		last += " and (r.closed_at, r.decision_id) <= ($4, $5)"
	default:
		first += " and (r.decided_at, r.decision_id) <= ($4, $5)"
		last += " and $4::timestamptz is not null and $5::uuid is null"
	}
	if err := r.plan(ctx, true); err != nil {
		return Sum{}, err
	}
	sum := Sum{Nano: new(big.Int)}
	for _, where := range []string{first, last} {
		var n, open int64
		var nano string
		err := r.tx.QueryRow(ctx, `select count(*), (coalesce(sum(r.actual_cost_usd), 0) * 1000000000)::text, count(*) filter (where r.outcome = 'open')
from keel.spend_records r where r.org = $1 and `+where, q.Org, since, until, at, id).Scan(&n, &nano, &open)
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
