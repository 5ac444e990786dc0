package budget

import (
	"fmt"

	"keel/pricing"
)

// Watched is a Watch and the policy that it is of.
type Watched struct {
	Watch
	Policy  string
	Version int64
}

// watch makes the call's stream a watched one, and says so. A stream that could not be ended is denied.
func (l *deliberation) watch(p *activePolicy) (effect string, denial *Denial) {
	switch {
	case !l.call.Stream:
		return "nothing to watch: the answer is not streamed", nil
	case l.draft.Watched != nil:
		return fmt.Sprintf("matched, but policy %s watches already", l.draft.Watched.Policy), nil
	}
	if l.call.Watchable != nil {
		if err := l.call.Watchable(); err != nil {
			return "denied: " + err.Error(), l.policyDenial(p, fmt.Sprintf("it watches the answer, which can't be done to this one: %v", err))
		}
	}
	l.draft.Watched = &Watched{*p.Do.Watch, p.Name, p.Version}
	if p.Do.Watch.Extend == 0 {
		return "watches the stream, and ends it where it costs more than is held", nil
	}
	return fmt.Sprintf("watches the stream, extends what is held by %s USD at a time, and ends it where there is no room", p.Do.Watch.Extend), nil
}

// A RunningCost follows what a watched call costs while its answer streams, and what is held
// for it by now. It belongs to one goroutine.
type RunningCost struct {
	d      *Decision
	config *Config
	before pricing.NanoUSD   // what the attempts before the one that answers were charged
	held   []pricing.NanoUSD // of each of the decision's holds, with extensions
	More   []pricing.NanoUSD // what Lacks found, for Ledger.Extend
}

// RunningCost returns that of a watched call, nil for one that nothing is held for that could
// be too little. rows are its attempts, of which number last answers.
func (d *Decision) RunningCost(cfg *Config, rows []Attempt, last int) *RunningCost {
	if d.Watched == nil || d.Estimate.Unpriced != "" {
		return nil
	}
	m := &RunningCost{d: d, config: cfg, held: make([]pricing.NanoUSD, len(d.Holds)), More: make([]pricing.NanoUSD, len(d.Holds))}
	enforced := false
	for i := range d.Holds {
		m.held[i] = d.Holds[i].Amount
		enforced = enforced || d.Holds[i].Ceiling >= 0
	}
	if !enforced {
		return nil
	}
	for i := range rows {
		if rows[i].Number != last {
			m.before, _ = m.before.Add(rows[i].Cost)
		}
	}
	return m
}

// Cost is what the call costs so far, by what was seen of its answer, and the output that was
// made; see EstimateAborted. ok is false where that can't be priced.
func (m *RunningCost) Cost(r *Reported, outputBytes int64) (cost pricing.NanoUSD, outputTokens int64, ok bool) {
	seen := *r
	seen.Usage, seen.Parts = m.d.EstimateAborted(r.Usage, outputBytes), nil
	now, ok := m.config.Price(m.d, &seen)
	total, err := m.before.Add(now.Total)
	return total, seen.Usage.OutputTokens(), ok && err == nil
}

// Lacks reports whether a cost passes what an enforcing budget holds for the call, and fills More with what
// is lacking in each, in whole steps; a step of 0 asks for exactly that.
func (m *RunningCost) Lacks(cost, step pricing.NanoUSD) (lacks bool) {
	for i := range m.held {
		m.More[i] = 0
		short := cost - m.held[i]
		if m.d.Holds[i].Ceiling < 0 || short <= 0 {
			continue
		}
		lacks = true
		m.More[i] = short
		if step > 0 {
			m.More[i] = (short + step - 1) / step * step
		}
	}
	return lacks
}

// Short names the first budget that Lacks found to hold too little.
func (m *RunningCost) Short() string {
	for i, more := range m.More {
		if more > 0 {
			return m.d.Holds[i].Budget
		}
	}
	return ""
}

// Extended notes that More was set aside.
func (m *RunningCost) Extended() {
	for i := range m.held {
		m.held[i] += m.More[i]
	}
}
