package budget

import (
	"fmt"
	"math"
	"time"

	"keel/pricing"
	"keel/pricing/meter"
)

// An Envelope is the cost envelope of a call: the most that it may cost over all
// its attempts. It is fixed when the call is permitted, travels with the call in
// Envoy's metadata, and every attempt is asked for what is left of it.
type Envelope struct {
	Limit    pricing.NanoUSD `json:"limit_usd"`    // Attempts × the bound of one attempt at the routed target
	Attempts int64           `json:"max_attempts"` // how many attempts that cost their bound have room in it, at least 1
	// Mode is the strongest of the budgets that the call falls under: Enforce refuses an
	// attempt that would break the envelope, the others let it go and record it.
	Mode Mode `json:"mode"`
	// Unknown is what an attempt is charged that may have been done and told no usage.
	Unknown UnknownAttempt `json:"unknown"`
}

// MaxAttempts is the largest number of attempts that an envelope can be made for.
const MaxAttempts = 100

// UnknownAttempt says how an attempt is charged of which nobody knows the cost:
// a reset, a timeout, the loser of a hedge.
type UnknownAttempt string

// The answers.
const (
	ChargeFull  UnknownAttempt = "full"  // the most that it can have cost
	ChargeInput UnknownAttempt = "input" // its input, at most: the provider read it and delivered nothing
	ChargeNone  UnknownAttempt = "none"  // nothing: the provider does not bill what it did not deliver
)

// envelope is what a call that is sent to c may cost in all.
func (l *deliberation) envelope(e *Estimate, budgets []*activeBudget) Envelope {
	v := Envelope{Limit: e.Bound, Attempts: l.org.settings.MaxAttempts, Mode: Observe, Unknown: l.org.settings.UnknownAttempt}
	if l.routes() && l.route.MaxAttempts > 0 {
		v.Attempts = l.route.MaxAttempts
	}
	for _, b := range budgets {
		if b.Mode == Enforce || v.Mode == Observe {
			v.Mode = b.Mode
		}
	}
	var err error
	for range v.Attempts - 1 {
		if v.Limit, err = v.Limit.Add(e.Bound); err != nil {
			v.Limit = math.MaxInt64
			break
		}
	}
	return v
}

// An Attempt is one try of a call at one upstream.
type Attempt struct {
	Number   int        `json:"number"` // from 1, as Envoy counts
	At       time.Time  `json:"at"`     // when it was let out, or refused
	Provider string     `json:"provider"`
	Model    string     `json:"model"`
	Address  string     `json:"address,omitempty"` // of the upstream
	Ended    AttemptEnd `json:"ended"`
	Status   int        `json:"status,omitempty"` // HTTP; 0 where no answer came
	// FirstByte is how long it took until the headers of its answer were there; 0 where none came.
	FirstByte time.Duration `json:"first_byte_ns,omitempty"`
	// InsteadOf is the model that it would have gone to, which did not fit what was left of
	// the envelope, and InsteadBound the most that it could have cost there; "" where it was not rewritten.
	InsteadOf    string          `json:"instead_of,omitempty"`
	InsteadBound pricing.NanoUSD `json:"instead_bound_usd,omitempty"`
	Bound        pricing.NanoUSD `json:"bound_usd"`        // the most that it can cost at its target
	Broke        bool            `json:"broke,omitempty"`  // it did not fit what was left of the envelope
	Cost         pricing.NanoUSD `json:"cost_usd"`         // what it is charged
	Basis        Basis           `json:"basis"`            // what Cost is made of
	Usage        *meter.Usage    `json:"usage,omitempty"`  // nil where none was told
	Detail       string          `json:"detail,omitempty"` // for people
	Bill         *Bill           `json:"bill,omitempty"`   // what Cost was priced by, where Usage was; in a closeout its Bills have it
}

// AttemptEnd is how an attempt ended.
type AttemptEnd string

// The ends.
const (
	AttemptLost     AttemptEnd = "lost"     // no answer was seen: a reset, a timeout, a client that left, the loser of a hedge
	AttemptAnswered AttemptEnd = "answered" // its answer went to the client
	AttemptFailed   AttemptEnd = "failed"   // the provider answered with an error
	AttemptRefused  AttemptEnd = "refused"  // Keel did not let it out
)

// Basis is what the cost of an attempt is made of.
type Basis string

// The bases.
const (
	BasisUsage   Basis = "usage"   // what the provider metered
	BasisSeen    Basis = "seen"    // an estimate of what was seen of its answer
	BasisFull    Basis = "full"    // not known: the most that it can have cost
	BasisInput   Basis = "input"   // not known: its input, at most
	BasisNothing Basis = "nothing" // not known, and charged nothing by the settings
	BasisFree    Basis = "free"    // no provider bills it
)

// Start makes the attempt that is about to leave for provider and model, charged as
// one of unknown cost until more is known, and says whether it fits into what the
// attempts before it left of the envelope. d is the decision of the call, as far as
// it travels with it: its facts, target, estimate and envelope.
//
// Before is what was charged until now: one that is still on its way counts as unknown.
func (c *Config) Start(d *Decision, before []Attempt, a Attempt) Attempt {
	u := meter.Usage{meter.Input: d.Estimate.InputTokensBound, meter.Output: d.Estimate.OutputTokensBound}
	a.Ended, a.Bound = AttemptLost, d.Estimate.Bound
	priced := a.Provider == d.RoutedProvider && a.Model == d.RoutedModel && d.Estimate.Unpriced == ""
	rates, ok := c.Book(d.Org).Rates(a.Provider, a.Model, terms(&d.Call))
	if !priced && ok {
		bound, err := rates.HoldCost(&u)
		a.Bound, priced = bound.Total, err == nil && bound.Priced()
	}
	if !priced {
		a.Broke = true
		a.Detail = fmt.Sprintf("%s/%s has no price, so nobody can say that it fits", a.Provider, a.Model)
	}
	switch d.Envelope.Unknown {
	case ChargeNone:
		a.Basis = BasisNothing
	case ChargeInput:
		a.Cost, a.Basis = a.Bound, BasisFull
		if !ok {
			break
		}
		if input, err := rates.HoldCost(&meter.Usage{meter.Input: u[meter.Input]}); err == nil && input.Priced() {
			a.Cost, a.Basis = input.Total, BasisInput
		}
	default:
		a.Cost, a.Basis = a.Bound, BasisFull
	}
	spent, err := Spent(before)
	if total, tooMuch := sum(spent, a.Bound); err != nil || tooMuch != nil || total > d.Envelope.Limit {
		a.Broke = true
		a.Detail = also(a.Detail, fmt.Sprintf("it can cost %s USD, and the attempts before it were charged %s of the envelope of %s USD", a.Bound, spent, d.Envelope.Limit))
	}
	return a
}

// Priced reports whether the bound of an attempt is that of its target.
func (c *Config) Priced(d *Decision, a *Attempt) bool {
	if a.Provider == d.RoutedProvider && a.Model == d.RoutedModel && d.Estimate.Unpriced == "" {
		return true
	}
	_, ok := c.Book(d.Org).Rates(a.Provider, a.Model, terms(&d.Call))
	return ok
}

// Refuse makes an attempt that Keel does not let out: it costs nothing.
func (a *Attempt) Refuse() {
	a.Ended, a.Cost, a.Basis = AttemptRefused, 0, BasisFree
}

// Fail notes that the provider answered with an error. It costs what the error says that
// was used, and nothing where it says nothing: of the recorded errors none was billed otherwise.
func (a *Attempt) Fail(c *Config, d *Decision, status int, r *Reported) {
	a.Ended, a.Status = AttemptFailed, status
	a.Cost, a.Basis, a.Usage = 0, BasisFree, r.Metered()
	at := *d
	at.RoutedProvider, at.RoutedModel = a.Provider, a.Model
	if a.Bill = at.bill(r); a.Bill == nil {
		return
	}
	cost, ok := c.charge(d.Org, a.Bill)
	a.Cost, a.Basis = cost.Total, BasisUsage
	if !ok {
		a.Cost, a.Basis = max(a.Bound, cost.Total), BasisFull
		a.Detail = also(a.Detail, "what it used has no price")
	}
}

// Spent is what attempts are charged in all. An error says that it is too much to be counted.
func Spent(attempts []Attempt) (total pricing.NanoUSD, err error) {
	for i := range attempts {
		if total, err = total.Add(attempts[i].Cost); err != nil {
			return math.MaxInt64, err
		}
	}
	return total, nil
}

// Unsure reports whether an attempt may have cost something else than it is charged: nobody metered it.
func (a *Attempt) Unsure() bool {
	return a.Basis == BasisFull || a.Basis == BasisInput || a.Basis == BasisNothing || a.Basis == BasisSeen
}

func also(said, more string) string {
	if said == "" {
		return more
	}
	return said + "; " + more
}
