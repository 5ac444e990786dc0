package budget

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"keel/pricing"
	"keel/pricing/meter"
)

func asRefused(err error) (*Refused, bool) {
	var r *Refused
	return r, errors.As(err, &r)
}

// details are the machine-readable half of a denial: pairs of names and values.
func (l *deliberation) details(pairs ...string) map[string]string {
	d := map[string]string{"decision_id": l.call.ID.String(), "org": l.org.name}
	for i := 0; i+1 < len(pairs); i += 2 {
		d[pairs[i]] = pairs[i+1]
	}
	return d
}

// mark replaces what the record says that a document did.
func mark(d *Decision, kind Kind, name, effect string) {
	for i := range d.Rules {
		if d.Rules[i].Kind == kind && d.Rules[i].Name == name {
			d.Rules[i].Effect = effect
		}
	}
}

// needPrice denies a call without a price where a budget enforces: what
// can't be counted can't be limited.
func (l *deliberation) needPrice(d *Decision, budgets []*activeBudget) *Denial {
	if d.Estimate.Unpriced == "" {
		return nil
	}
	for _, b := range budgets {
		if b.Mode != Enforce {
			continue
		}
		mark(d, KindBudget, b.Name, "denied: no price")
		return &Denial{
			Status: http.StatusForbidden, Code: "unpriced_model",
			Message: fmt.Sprintf("%s, and budget %s has to know what a call costs: ask for another model, or add a document of kind Price for provider %s and model %s with its per_million rates (decision %s)",
				d.Estimate.Unpriced, b.Name, d.RoutedProvider, d.RoutedModel, l.call.ID),
			Details: l.details("budget", b.Name, "provider", d.RoutedProvider, "model", d.RoutedModel),
		}
	}
	return nil
}

// exceeded explains that a budget has no room, and what helps: to wait for
// calls in flight, to wait for the next window, or to ask for less.
func (l *deliberation) exceeded(d *Decision, c *candidate, r *Refused) *Denial {
	h, s := r.Hold, r.Standing
	mark(d, KindBudget, h.Budget, "denied")
	denial := &Denial{Status: http.StatusTooManyRequests, Code: "budget_exceeded", Details: l.details(
		"budget", h.Budget, "account", h.Key, "limit_usd", h.Limit.String(), "ceiling_usd", h.Ceiling.String(),
		"settled_usd", s.Settled.String(), "held_usd", s.Held.String(), "asked_usd", h.Amount.String(),
		"window_start", moment(h.WindowStart), "window_end", moment(h.WindowEnd),
		"provider", d.RoutedProvider, "model", d.RoutedModel,
	)}
	byBound := h.Amount == d.Estimate.Bound
	var advice string
	settledToo, err := sum(s.Settled, h.Amount)
	switch {
	case h.Amount > h.Ceiling:
		denial.Details["wait"] = "false"
		advice = fmt.Sprintf("it would not fit if nothing else was spent, so waiting does not help: %sask for the limit to be raised", l.fitting(denial, c, h.Ceiling, byBound))
	case err == nil && settledToo <= h.Ceiling:
		denial.RetryAfter = l.soon()
		advice = fmt.Sprintf("it fits once calls in flight end and give back what is held for them: try again in %s", inWords(denial.RetryAfter))
	case h.WindowEnd.IsZero():
		denial.Details["wait"] = "false"
		advice = fmt.Sprintf("the budget has no end, so waiting does not help: %sask for the limit to be raised", l.fitting(denial, c, h.Ceiling-s.Settled-s.Held, byBound))
	case h.Rolling > 0:
		denial.RetryAfter = max(time.Second, roundUp(h.WindowEnd.Sub(h.WindowStart)))
		advice = fmt.Sprintf("%swait: the limit holds for any %s, and what was spent leaves it bit by bit; try again in %s", l.fitting(denial, c, h.Ceiling-s.Settled-s.Held, byBound), inWords(h.Rolling), inWords(denial.RetryAfter))
	default:
		denial.RetryAfter = max(time.Second, roundUp(h.WindowEnd.Sub(l.call.At)))
		advice = fmt.Sprintf("%swait for the next window at %s (in %s)", l.fitting(denial, c, h.Ceiling-s.Settled-s.Held, byBound), moment(h.WindowEnd), inWords(denial.RetryAfter))
	}
	if denial.RetryAfter > 0 {
		denial.Details["wait"] = "true"
		denial.Details["retry_after_seconds"] = strconv.FormatInt(int64(denial.RetryAfter/time.Second), 10)
	}
	denial.Message = fmt.Sprintf("budget %s has no room for this call: limit %s USD%s, %s USD settled, %s USD held for calls in flight, and %s/%s can cost %s USD; %s (decision %s)",
		h.Budget, h.Limit, denyTier(h), s.Settled, s.Held, d.RoutedProvider, d.RoutedModel, h.Amount, advice, l.call.ID)
	return denial
}

func denyTier(h Hold) string {
	if h.Ceiling == h.Limit {
		return ""
	}
	return fmt.Sprintf(" (calls are denied above %s USD)", h.Ceiling)
}

// fitting is the advice to ask for less: how many output tokens a choice may
// have for the call to fit into room. It searches with the rates of the hold.
func (l *deliberation) fitting(denial *Denial, c *candidate, room pricing.NanoUSD, byBound bool) string {
	if !byBound || c.rates == nil || room <= 0 {
		return ""
	}
	choices := max(1, l.call.Choices)
	fits := func(output int64) bool {
		cost, err := c.rates.HoldCost(&meter.Usage{meter.Input: c.estimate.InputTokensBound, meter.Output: output * choices})
		return err == nil && cost.Total <= room
	}
	if !fits(1) {
		return "send a shorter prompt, or "
	}
	low, high := int64(1), max(1, c.estimate.OutputTokensBound/choices)
	for low < high {
		if middle := high - (high-low)/2; fits(middle) {
			low = middle
		} else {
			high = middle - 1
		}
	}
	denial.Details["fitting_output_tokens"] = strconv.FormatInt(low, 10)
	return fmt.Sprintf("ask for at most %d output tokens, or ", low)
}

// soon is when to look again, 1 to 5 seconds from now, different from call to
// call so that they do not all come back at once.
func (l *deliberation) soon() time.Duration {
	return time.Duration(1+l.call.ID[15]%5) * time.Second
}

func roundUp(d time.Duration) time.Duration {
	return (d + time.Second - 1).Truncate(time.Second)
}

// inWords is a time to wait as people say it.
func inWords(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", (d+time.Minute-1)/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", (d+time.Hour-1)/time.Hour)
	}
	return fmt.Sprintf("%d days", (d+24*time.Hour-1)/(24*time.Hour))
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// withoutLedger decides while the ledger can't be asked: a call that no budget
// could have denied is permitted as debt, and any other where its budgets allow debt, as far as they do.
func (l *deliberation) withoutLedger(d *Decision, budgets []*activeBudget, err error) *Decision {
	away := errors.Is(err, ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
	if !away {
		return l.unavailable(d, enforcing(d), fmt.Sprintf("the ledger can't keep this decision (%v)", err))
	}
	for i := range d.Holds {
		h := &d.Holds[i]
		if h.Mode != Enforce {
			continue
		}
		if h.Debt == 0 {
			mark(d, KindBudget, h.Budget, "denied: ledger unavailable")
			return l.unavailable(d, h.Budget, fmt.Sprintf("the ledger can't be reached, so budget %s can't be asked, and %s deny such calls (offline: deny)", h.Budget, l.offlineRule(d, budgets[i])))
		}
		l.offlineRule(d, budgets[i])
	}
	d.Debt = true
	d.Reason = l.reason(d) // the ledger keeps it
	err = l.owe(d)
	if refused, ok := asRefused(err); ok {
		d.Debt = false
		h := &refused.Hold
		mark(d, KindBudget, h.Budget, "denied: no more debt")
		return l.unavailable(d, h.Budget, fmt.Sprintf("the ledger can't be reached, and this replica has let budget %s owe %s of the %s USD that it may (offline_debt)",
			h.Budget, refused.Standing.Held, h.Debt))
	}
	if err != nil {
		d.Debt = false
		return l.unavailable(d, enforcing(d), fmt.Sprintf("the ledger can't keep this decision (%v)", err))
	}
	return l.finish(d)
}

// offlineRule records which document says what is done while the ledger is away, and names it.
func (l *deliberation) offlineRule(d *Decision, b *activeBudget) string {
	settings := l.org.settings
	if b.Offline != "" {
		d.Rules = append(d.Rules, Rule{Kind: KindBudget, Name: b.Name, Version: b.Version, Effect: "offline: " + string(b.Offline)})
		return "its rules"
	}
	rule := Rule{Kind: KindSettings, Name: settings.Name, Version: settings.Version, Effect: "offline: " + string(settings.Offline)}
	if !slices.Contains(d.Rules, rule) {
		d.Rules = append(d.Rules, rule)
	}
	return "the settings of the organisation"
}

func enforcing(d *Decision) string {
	for i := range d.Holds {
		if d.Holds[i].Mode == Enforce {
			return d.Holds[i].Budget
		}
	}
	return ""
}

func (l *deliberation) unavailable(d *Decision, budget, why string) *Decision {
	return l.refuse(d, &Denial{
		Status: http.StatusServiceUnavailable, Code: "ledger_unavailable", RetryAfter: l.soon(),
		Message: fmt.Sprintf("%s; try again in %s (decision %s)", why, inWords(l.soon()), l.call.ID),
		Details: l.details("budget", budget),
	})
}

// reason is the decision in one line.
func (l *deliberation) reason(d *Decision) string {
	var parts []string
	if d.Action == Substitute {
		parts = append(parts, fmt.Sprintf("sent to %s/%s in place of %s/%s by route %s", d.RoutedProvider, d.RoutedModel, l.call.Provider, l.call.Model, d.Route))
	}
	if d.MaxOutputTokens > 0 {
		parts = append(parts, fmt.Sprintf("output limited to %d tokens by policy", d.MaxOutputTokens))
	}
	if d.Estimate.Unpriced != "" {
		parts = append(parts, d.Estimate.Unpriced+"; no budget enforces a limit here")
	}
	if d.Debt {
		parts = append(parts, "permitted as debt while the ledger was away")
	}
	return cmp.Or(strings.Join(parts, "; "), "within every budget")
}
