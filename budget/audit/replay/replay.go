package replay

import (
	"container/heap"
	"context"
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/budget/audit/spend"
	"keel/pricing"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

// Options say what to replay under what.
type Options struct {
	Query  spend.Query // Since is when the report begins
	Config *budget.Config
	// Documents are those of Config: their windows say from when on spend counts.
	Documents budget.Documents
	// Speaks and Constrainable are what the processor knows of formats; nil for no limits.
	Speaks        func(provider, api string) bool
	Constrainable func(api string, c budget.Constraint) error
	// Each is told every call of the report, in order; nil for nobody.
	Each func(*Call) error
}

// Effect is what the other configuration makes of a call.
type Effect string

// The effects, of which a call has one: the first that is true.
const (
	NowDenied   Effect = "denied"        // it was let out, and would not be
	NowAllowed  Effect = "allowed"       // it was denied, and would be let out
	Rerouted    Effect = "rerouted"      // to another target
	Constrained Effect = "constrained"   // with less output, fewer choices or tools than it had
	Freed       Effect = "unconstrained" // it was constrained, and would not be
	Same        Effect = "same"
)

// Call is one call, as it was and as it would be.
type Call struct {
	ID      uuid.UUID       `json:"decision_id"`
	At      time.Time       `json:"decided_at"`
	Subject budget.Subject  `json:"subject"`
	Effect  Effect          `json:"effect"`
	By      string          `json:"by,omitempty"` // the document that made it so: "Budget research-month"
	Reason  string          `json:"reason"`       // of the replayed decision
	Was     Decided         `json:"recorded"`
	Is      Decided         `json:"replayed"`
	WasCost pricing.NanoUSD `json:"recorded_usd"`
	IsCost  pricing.NanoUSD `json:"replayed_usd"`
	Approx  []Approximation `json:"approximated,omitempty"`
}

// Decided is a decision in short.
type Decided struct {
	Action   budget.Action `json:"action"`
	Provider string        `json:"provider"`
	Model    string        `json:"model"`
	Cap      int64         `json:"output_cap,omitempty"` // tokens
}

// Approximation is what of a call's replay is not certain.
type Approximation string

// The approximations.
const (
	TokensKept   Approximation = "tokens_kept"    // sent to another model: it is taken to use the tokens that the recorded one used
	OutputCut    Approximation = "output_cut"     // its output is taken up to the cap, and costs as much less
	CostExpected Approximation = "cost_expected"  // it was denied, or nobody metered it: it costs what is expected
	NoOtherPrice Approximation = "no_other_price" // its usage has no price at the other target: it costs what it did
)

// Run replays.
func Run(ctx context.Context, from *spend.Reader, o Options) (*Report, error) {
	begin := windowsBegin(o.Documents, o.Query.Org, o.Query.Since)
	m := &machine{o: o, accounts: NewAccounts(), estimator: &estimator{shipped: tokens.New()}, report: newReport(&o, begin)}
	m.decider = &budget.Decider{Ledger: m.accounts, Estimator: m.estimator}
	q := o.Query
	q.Since = begin
	err := from.Read(ctx, q, nil, func(r *spend.Record) error { return m.one(ctx, r) })
	if err != nil {
		return nil, err
	}
	m.report.finish()
	return m.report, nil
}

// windowsBegin is when the earliest window begins that is running at an instant: what is spent in it before
// counts. Zero: a lifetime.
func windowsBegin(docs budget.Documents, org string, since time.Time) time.Time {
	begin := since
	for i := range docs.Budgets {
		b := &docs.Budgets[i]
		if b.Org != org && !(b.Org == "" && org == budget.DefaultOrg) {
			continue
		}
		w, err := budget.ParseWindow(b.Window, b.Timezone)
		if err != nil {
			continue // Compile has refused it
		}
		start, _ := w.Bounds(since)
		if w.Rolling() > 0 {
			start = since.Add(-w.Rolling())
		}
		if start.Before(begin) {
			begin = start
		}
	}
	return begin
}

type machine struct {
	o         Options
	decider   *budget.Decider
	accounts  *Accounts
	estimator *estimator
	ends      ends
	zeros     []byte
	report    *Report
}

// ends are closeouts to come, by time and then in the order of their decisions.
type ends struct {
	at   []time.Time
	seq  []int64
	end  []*budget.Closeout
	next int64
}

func (e *ends) Len() int { return len(e.at) }
func (e *ends) Less(i, j int) bool {
	if !e.at[i].Equal(e.at[j]) {
		return e.at[i].Before(e.at[j])
	}
	return e.seq[i] < e.seq[j]
}
func (e *ends) Swap(i, j int) {
	e.at[i], e.at[j] = e.at[j], e.at[i]
	e.seq[i], e.seq[j] = e.seq[j], e.seq[i]
	e.end[i], e.end[j] = e.end[j], e.end[i]
}
func (e *ends) Push(x any) {
	c := x.(*budget.Closeout)
	e.at, e.seq, e.end = append(e.at, c.At), append(e.seq, e.next), append(e.end, c)
	e.next++
}
func (e *ends) Pop() any {
	n := len(e.at) - 1
	c := e.end[n]
	e.at, e.seq, e.end = e.at[:n], e.seq[:n], e.end[:n]
	return c
}

// one replays a record.
func (m *machine) one(ctx context.Context, r *spend.Record) error {
	inReport := r.DecidedAt == nil || !r.DecidedAt.Before(m.o.Query.Since)
	if r.DecidedAt == nil || r.Unmetered {
		if inReport {
			m.report.skip(r)
		}
		return nil
	}
	for m.ends.Len() > 0 && !m.ends.at[0].After(*r.DecidedAt) {
		m.accounts.CloseOut(heap.Pop(&m.ends).(*budget.Closeout))
	}
	call, err := m.call(r)
	if err != nil {
		return err
	}
	d := m.decider.Decide(ctx, m.o.Config, call)
	is := &Call{ID: r.ID, At: *r.DecidedAt, Subject: r.Subject, Reason: d.Reason,
		Was: Decided{r.Action, r.Provider, r.ModelRouted, 0}, Is: Decided{d.Action, d.RoutedProvider, d.RoutedModel, d.MaxOutputTokens}}
	if r.Cost != nil {
		is.WasCost = *r.Cost
	}
	is.Effect, is.By = effect(r, d)
	if d.Action != budget.Deny {
		m.cost(r, d, is)
		end := &budget.Closeout{ID: r.ID, Org: r.Org, At: *r.DecidedAt, Cost: pricing.Cost{Total: is.IsCost}, CostKnown: true}
		if r.ClosedAt != nil && r.ClosedAt.After(*r.DecidedAt) {
			end.At = *r.ClosedAt
		}
		heap.Push(&m.ends, end)
	}
	if !inReport {
		return nil
	}
	if err := m.report.count(is); err != nil {
		return err
	}
	if m.o.Each != nil {
		return m.o.Each(is)
	}
	return nil
}

// call is the call as it was identified and read, as far as the record has it.
func (m *machine) call(r *spend.Record) (*budget.Call, error) {
	prompt, err := m.estimator.set(r, &m.zeros)
	if err != nil {
		return nil, err
	}
	provider := r.ProviderAsked
	c := &budget.Call{ID: r.ID, Org: r.Org, At: *r.DecidedAt, Subject: r.Subject, API: r.API, Provider: provider, Model: r.ModelRequested, Path: r.Path,
		Stream: r.Stream, MaxOutputTokens: r.MaxOutputTokens, Choices: max(1, r.Choices), ServiceTier: r.ServiceTier, Prompt: prompt}
	if speaks := m.o.Speaks; speaks != nil {
		c.Routable = func(to string) bool { return to == provider || speaks(to, r.API) }
	}
	if constrainable := m.o.Constrainable; constrainable != nil {
		c.Constrainable = func(x budget.Constraint) error { return constrainable(r.API, x) }
	}
	return c, nil
}

// effect compares the decisions, and names the document that makes the difference.
func effect(r *spend.Record, d *budget.Decision) (Effect, string) {
	was, is := r.Action, d.Action
	switch {
	case is == budget.Deny && was != budget.Deny:
		return NowDenied, denier(d)
	case is == budget.Deny:
		return Same, ""
	case was == budget.Deny:
		return NowAllowed, ""
	case d.RoutedProvider != r.Provider || d.RoutedModel != r.ModelRouted:
		if d.Route != "" {
			return Rerouted, "Route " + d.Route
		}
		return Rerouted, ""
	case is == budget.Constrain && was != budget.Constrain:
		return Constrained, constrainer(d)
	case was == budget.Constrain && is != budget.Constrain:
		return Freed, ""
	}
	return Same, ""
}

func denier(d *budget.Decision) string {
	if d.Denial == nil {
		return ""
	}
	for _, of := range []struct{ key, kind string }{{"budget", "Budget "}, {"policy", "Policy "}, {"route", "Route "}} {
		if name := d.Denial.Details[of.key]; name != "" {
			return of.kind + name
		}
	}
	return d.Denial.Code
}

func constrainer(d *budget.Decision) string {
	for i := len(d.Rules) - 1; i >= 0; i-- {
		if r := &d.Rules[i]; r.Kind == budget.KindPolicy {
			return "Policy " + r.Name
		}
	}
	for i := range d.Rules {
		if r := &d.Rules[i]; r.Kind == budget.KindBudget {
			return "Budget " + r.Name
		}
	}
	return ""
}

// cost fills what the call would have cost.
func (m *machine) cost(r *spend.Record, d *budget.Decision, is *Call) {
	moved := d.RoutedProvider != r.Provider || d.RoutedModel != r.ModelRouted
	usage, cut := r.Usage, false
	if usage != nil && d.MaxOutputTokens > 0 {
		usage, cut = capped(usage, d.MaxOutputTokens*max(1, r.Choices))
	}
	switch {
	case r.Action == budget.Deny || r.Cost == nil || r.Usage == nil && moved && *r.Cost > 0:
		is.Approx = append(is.Approx, CostExpected)
		is.IsCost = d.Estimate.Expected
		return
	case r.Usage == nil || !moved && !cut:
		is.IsCost = *r.Cost
		return
	}
	models := []string{d.RoutedModel}
	if !moved {
		models = []string{r.ModelReported, d.RoutedModel}
	}
	cost, err := m.o.Config.Book(r.Org).Charge(d.RoutedProvider, pricing.Metered{Usage: *usage, Models: models}, pricing.Terms{At: *r.DecidedAt, ServiceTier: d.ServiceTier})
	if err != nil || !cost.Priced() {
		is.Approx = append(is.Approx, NoOtherPrice)
		is.IsCost = *r.Cost
		return
	}
	is.IsCost = cost.Total
	if moved {
		is.Approx = append(is.Approx, TokensKept)
	}
	if cut {
		is.Approx = append(is.Approx, OutputCut)
	}
}

// capped is a usage with at most so much output: plain output goes first, then reasoning.
func capped(u *meter.Usage, most int64) (*meter.Usage, bool) {
	over := u.OutputTokens() - most
	if over <= 0 {
		return u, false
	}
	cut := *u
	for _, kind := range []meter.Kind{meter.Output, meter.Reasoning, meter.OutputAudio, meter.OutputImage, meter.OutputVideo} {
		n := min(over, cut[kind])
		cut[kind] -= n
		over -= n
	}
	return &cut, true
}
