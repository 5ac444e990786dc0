package spend

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/pricing"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

// Record is one call as keel.spend_records has it, with what its cost is made of.
// Nil and "" are what the ledger does not know.
type Record struct {
	ID        uuid.UUID
	Org       string
	DecidedAt *time.Time // nil for a closeout whose decision has not come
	ClosedAt  *time.Time // nil while the call is open

	Subject         budget.Subject
	API             string
	Provider        string // as routed
	ProviderAsked   string
	Route           string
	ModelRequested  string
	ModelRouted     string
	ModelReported   string // by the provider
	Path            string
	Stream          bool
	MaxOutputTokens int64 // as stated, 0 if not
	Choices         int64
	ServiceTier     string // as asked for

	Action budget.Action
	Reason string
	Rules  json.RawMessage // []budget.Rule

	EstimatedInput, EstimatedOutput *int64 // tokens
	InputBound, OutputBound         int64  // tokens
	EstimatedCost, BoundCost        *pricing.NanoUSD
	Held, Envelope                  *pricing.NanoUSD
	BoundKind, Method               string

	Attempts     *int64
	Usage        *meter.Usage // nil: nothing was reported
	Cost         *pricing.NanoUSD
	CostKnown    bool // false: Cost is what was held, not what was metered
	Lines        []Line
	Bills        []budget.Bill // what Cost was priced by; nil where nobody metered it, and in records of before
	Charges      []Charge
	ExchangeRate string
	ProviderCost string // dollars, as the provider states them

	Metered    budget.Metered
	Outcome    budget.Outcome
	HTTPStatus *int64
	Unmetered  bool // it passed without being read
	Debt       bool
	Presumed   bool
	Detail     string

	PriceVersion string
	Epoch        *uuid.UUID
	Seq          *int64
	LeafHash     []byte

	prompt, estimate, attempts json.RawMessage
}

// Estimate is what the decision knew of the prompt, and what it made of it.
func (r *Record) Estimate() (shape tokens.Shape, in tokens.Input, out tokens.Output, err error) {
	var parts struct {
		Input  tokens.Input  `json:"input"`
		Output tokens.Output `json:"output"`
	}
	if err = r.read(r.prompt, &shape); err == nil {
		err = r.read(r.estimate, &parts)
	}
	return shape, parts.Input, parts.Output, err
}

// AttemptRows are the tries of the call, nil where none was seen.
func (r *Record) AttemptRows() (rows []budget.Attempt, err error) {
	return rows, r.read(r.attempts, &rows)
}

func (r *Record) read(text json.RawMessage, into any) error {
	if len(text) == 0 {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("call %s: what is stored of it can't be read by this version of keel: %w", r.ID, err)
	}
	return nil
}

// Line is a part of a cost, as closeouts keep it.
type Line struct {
	Meter         meter.Kind      `json:"meter"`
	Quantity      int64           `json:"quantity"`
	PerMillionUSD string          `json:"per_million_usd,omitempty"`
	PerMillion    string          `json:"per_million,omitempty"` // in the currency that Price names, where the cost was exchanged
	Amount        pricing.NanoUSD `json:"amount_usd"`
	Price         string          `json:"price,omitempty"`
}

// Rate is the line's rate: 1e-12 of the price's currency a unit.
func (l *Line) Rate() (rate pricing.PicoUSD, exchanged bool, err error) {
	if l.PerMillion != "" {
		rate, err = pricing.ParsePerMillion(l.PerMillion)
		return rate, true, err
	}
	rate, err = pricing.ParsePerMillion(l.PerMillionUSD)
	return rate, false, err
}

// Charge is what the call settled in one account of a budget.
type Charge struct {
	Budget string `json:"budget"`
	Key    string `json:"key"`
	Start  string `json:"start"`
	End    string `json:"end"`
	Held   int64  `json:"held"`   // nano-dollars
	Amount int64  `json:"amount"` // nano-dollars
	Leased bool   `json:"leased"`
}

// Rest is the part of the cost that no line says: what was charged as bound or hold because nobody
// metered it. Lines above the cost are an error, which names the call.
func (r *Record) Rest() (pricing.NanoUSD, error) {
	if r.Cost == nil {
		return 0, nil
	}
	rest := *r.Cost
	for i := range r.Lines {
		if r.Lines[i].Amount < 0 {
			return 0, fmt.Errorf("call %s: a line of %s USD", r.ID, r.Lines[i].Amount)
		}
		rest -= r.Lines[i].Amount
		if rest < 0 {
			return 0, fmt.Errorf("call %s: its cost lines are more than its cost of %s USD", r.ID, r.Cost)
		}
	}
	return rest, nil
}

// Position is where a record stands in the order of a Reader.
type Position struct {
	Undecided bool      `json:"undecided,omitempty"` // among the closeouts without a decision, which come last
	At        time.Time `json:"at"`                  // decided, or closed where there is no decision
	ID        uuid.UUID `json:"decision_id"`
}

// Position returns that of r.
func (r *Record) Position() Position {
	if r.DecidedAt != nil {
		return Position{At: *r.DecidedAt, ID: r.ID}
	}
	return Position{Undecided: true, At: *r.ClosedAt, ID: r.ID}
}
