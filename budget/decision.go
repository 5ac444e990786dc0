package budget

import (
	"math"
	"strings"
	"time"

	"github.com/google/uuid"

	"keel/pricing"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

// Subject is who pays: labels and their values. A missing label reads as "".
type Subject map[string]string

// Call is what a decision is made from: a call that was identified and read.
type Call struct {
	ID              uuid.UUID // UUIDv7: the decision id
	Org             string
	At              time.Time
	Subject         Subject
	API             string // wire format
	Provider        string // the one that the call would go to without a route
	Model           string // as asked for
	Path            string
	Stream          bool
	MaxOutputTokens int64 // stated per choice, 0 if not
	Choices         int64 // at least 1
	ServiceTier     string
	Effort          string // of reasoning, as asked for; "" where none is stated
	Speed           string // "fast" where a faster mode was asked for
	Region          string // where the work is to be done, as the request says it
	SearchContext   string // of hosted search, as the request says it
	// Prompt is read while the call is decided and not kept: it holds the request body in memory.
	Prompt *tokens.Prompt
	// Constrainable says what is against applying a constraint to the request, nil for nothing.
	Constrainable func(Constraint) error
	// Changeable says what is against changing the request's body at all, nil for nothing: then a call goes out
	// as it came or not at all.
	Changeable func() error
	// Watchable says what is against ending the answer's stream, nil for nothing.
	Watchable func() error
	// Routable are the providers that speak the call's API here: targets elsewhere are skipped.
	Routable func(provider string) bool
}

// Action is what was decided.
type Action string

// The actions.
const (
	Allow      Action = "allow"
	Constrain  Action = "constrain"  // allowed with a lower output limit
	Substitute Action = "substitute" // sent to another model or provider than asked for
	Deny       Action = "deny"
)

// Estimate is cost before the call.
type Estimate struct {
	InputTokens       int64
	InputTokensBound  int64
	OutputTokens      int64
	OutputTokensBound int64
	Expected          pricing.NanoUSD
	Bound             pricing.NanoUSD
	BoundKind         tokens.BoundKind
	Method            string // of the estimator, with its version

	// What the numbers above come from, and what a closeout is compared with to learn.
	Input  tokens.Input
	Output tokens.Output

	// Unpriced says why there is no cost: no such model in the price book, no rate for a meter. "" when priced.
	Unpriced string
}

// Account is what a hold is taken in: one window of one budget, for one value of its Per labels.
type Account struct {
	Org         string
	Budget      string
	Key         string // "user=ada,app=ide": the Per labels and their values, "" without
	WindowStart time.Time
	WindowEnd   time.Time // zero for lifetime
	// Rolling is the length of a rolling window, 0 for others. The account is
	// then one bucket of it, and the limit holds over all buckets that still count.
	Rolling time.Duration
}

// Hold is money set aside in one account from permit until closeout.
type Hold struct {
	Account
	Amount  pricing.NanoUSD
	Ceiling pricing.NanoUSD // settled + held after the hold must not exceed it; < 0 for a budget that only observes
	Limit   pricing.NanoUSD // the budget's limit when decided
	Mode    Mode
	Version int64 // of the budget
	// Debt is how far one replica may go beyond what it has of the account while
	// the database is away: 0 for not at all, NoDebtCap for any amount.
	Debt pricing.NanoUSD
}

// NoDebtCap is a Hold.Debt without a limit.
const NoDebtCap pricing.NanoUSD = math.MaxInt64

// Rule names one document that was active in a decision, by version.
type Rule struct {
	Kind    Kind   `json:"kind"`
	Name    string `json:"name"`
	Version int64  `json:"version"`
	Effect  string `json:"effect,omitempty"` // what it did: held, warned at 75%, denied, routed, constrained, would have denied
	Saw     string `json:"saw,omitempty"`    // the numbers that it looked at: "1880.5 of 2500 USD"
}

// warnedEffect stands in the effect of a rule that warned, before what it warned of.
const warnedEffect = "warned "

// Warning is what the rule warned of, "" where it warned of nothing.
func (r *Rule) Warning() string {
	_, warning, _ := strings.Cut(r.Effect, warnedEffect)
	return warning
}

// Decision is what Keel did with a call, and why.
type Decision struct {
	Call
	Action          Action
	Reason          string       // one line for people
	Shape           tokens.Shape // the prompt in sizes
	Route           string       // name of the route taken, "" without
	RoutedProvider  string
	RoutedModel     string
	MaxOutputTokens int64       // cap to apply, 0 for none; shadows nothing: see Call.MaxOutputTokens for the stated one
	Constraint      *Constraint // to apply, nil for none
	Watched         *Watched    // of a streamed answer that a policy watches
	Estimate        Estimate    // of one attempt
	Envelope        Envelope    // of all of them; the zero Envelope for a call that none was made for
	Holds           []Hold
	Rules           []Rule
	Rewrites        []Rewrite // for attempts of a call in flight that would break its envelope
	RouteChoices    []Choice  // what each mode of the route that took the call makes of it; nil without a route
	PriceVersion    string
	Denial          *Denial       // set when Action is Deny
	Alternatives    []Alternative // for a dry run
	Budgets         []BudgetState // for a dry run: every matching budget of the target
	Unmetered       bool          // passed without being read
	Debt            bool          // permitted while the ledger was away
}

// Written drops what of a permitted decision only its record and its answer's headers need: the holds, which the ledger has, unless the
// answer is watched, and the prompt's shape, and the rules that warned nobody. A call may be open for hours, and there may be many. It does nothing to a
// decision that the ledger may still have to write: see Ledger.Owe and Ledger.Record.
func (d *Decision) Written() {
	if d.Debt || d.Unmetered {
		return
	}
	if d.Watched == nil {
		d.Holds = nil
	}
	d.Shape = tokens.Shape{}
	var warned []Rule
	for i := range d.Rules {
		if d.Rules[i].Warning() != "" {
			warned = append(warned, d.Rules[i])
		}
	}
	d.Rules = warned
}

// BudgetState is a matching budget as a dry run saw it.
type BudgetState struct {
	Hold              // what would be held
	Standing Standing // before the call
}

// Alternative is another target and what the call would have cost there.
type Alternative struct {
	Provider string          `json:"provider"`
	Model    string          `json:"model"`
	Expected pricing.NanoUSD `json:"-"`
	Bound    pricing.NanoUSD `json:"-"`
	Priced   bool            `json:"-"`                 // false: Expected and Bound say nothing
	Skipped  string          `json:"skipped,omitempty"` // why it was not a candidate
}

// Choice is what one way to route the call would have cost.
type Choice struct {
	By       ChoiceBy        `json:"by"`
	Provider string          `json:"provider"`
	Model    string          `json:"model"`
	Expected pricing.NanoUSD `json:"expected_usd"`
	Bound    pricing.NanoUSD `json:"bound_usd"`
	Unpriced string          `json:"unpriced,omitempty"` // why there is no cost, "" when priced
}

// ChoiceBy is a way to choose among the targets of a route.
type ChoiceBy string

// The ways.
const (
	ByAsked       ChoiceBy = "asked"        // where the call was asked to go
	ByPreferCheap ChoiceBy = "prefer-cheap" // of enough quality, healthy, cheapest
	ByEnforce     ChoiceBy = "enforce"      // cheapest, where the budget wins
)

// Denial explains itself.
type Denial struct {
	Status     int           // 429 budget, 403 policy, 400 body, 503 ledger away
	Code       string        // budget_exceeded, policy_denied, unpriced_model, no_target, ledger_unavailable, offline_debt_exhausted, unknown_traffic, invalid_body, pseudonym_key_missing
	Message    string        // what, why, and whether to wait or to ask for less
	RetryAfter time.Duration // > 0 when waiting helps
	Details    map[string]string
}

// Outcome is how a decision ended.
type Outcome string

// The outcomes.
const (
	Open      Outcome = "open"
	Complete  Outcome = "complete"
	Aborted   Outcome = "aborted"
	Failed    Outcome = "failed"
	Orphaned  Outcome = "orphaned"
	Unmetered Outcome = "unmetered"
	Denied    Outcome = "denied"
)

// Metered says where a closeout's quantities come from.
type Metered string

// Where quantities come from.
const (
	ByProvider  Metered = "provider"
	ByEstimate  Metered = "estimated"
	NothingSeen Metered = "none"
)

// Closeout is the end of a decision.
type Closeout struct {
	ID         uuid.UUID // the decision's
	Org        string
	At         time.Time
	Outcome    Outcome
	Metered    Metered
	Usage      *meter.Usage // nil when Metered is NothingSeen
	RawUsage   []byte       // the provider's own object
	Cost       pricing.Cost
	CostKnown  bool // false: usage is unpriced or unknown; the ledger then settles the full hold
	Attempts   int  // that left; those that Keel saw are AttemptRows
	HTTPStatus int
	Model      string // as the provider reported it
	Detail     string // why it ended, for people

	// Bills are what Cost was priced by: one for what the client got, and one for each attempt
	// before it whose usage was told. What Cost is beyond them nobody metered.
	Bills []Bill

	// AttemptRows are the attempts in the order of their numbers, as far as the filter
	// in the cluster saw them; nil where there is none. Cost and Usage are of all of them together.
	AttemptRows []Attempt

	// ProviderCost is what the provider itself says that the call cost: dollars
	// as a plain decimal, "" if it does not say. It is kept beside Cost and never settled.
	ProviderCost string
	// ResponseID is the provider's name for the response. Where Awaited is set, the
	// usage was not told yet: a later call fetches it by that name, and
	// Ledger.CloseOutResponse then replaces this closeout. Without a ResponseID nobody
	// knows how many attempts there were: Annotation.Correction may replace it.
	ResponseID string
	Awaited    bool
}
