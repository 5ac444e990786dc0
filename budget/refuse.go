package budget

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"keel/pricing"
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
	byBound := h.Amount == d.Envelope.Limit
	var advice string
	settledToo, err := sum(s.Settled, h.Amount)
	switch {
	case h.Amount > h.Ceiling:
		denial.Details["wait"] = "false"
		advice = fmt.Sprintf("it would not fit if nothing else was spent, so waiting does not help: %sask for the limit to be raised", l.fitting(d, denial, c, h.Ceiling, byBound))
	case err == nil && settledToo <= h.Ceiling:
		denial.RetryAfter = l.soon()
		advice = fmt.Sprintf("it fits once calls in flight end and give back what is held for them: try again in %s", inWords(denial.RetryAfter))
	case h.WindowEnd.IsZero():
		denial.Details["wait"] = "false"
		advice = fmt.Sprintf("the budget has no end, so waiting does not help: %sask for the limit to be raised", l.fitting(d, denial, c, h.Ceiling-s.Settled-s.Held, byBound))
	case h.Rolling > 0:
		denial.RetryAfter = max(time.Second, roundUp(h.WindowEnd.Sub(h.WindowStart)))
		advice = fmt.Sprintf("%swait: what was spent more than %s ago counts no more, in steps of %s; try again in %s",
			l.fitting(d, denial, c, h.Ceiling-s.Settled-s.Held, byBound), lengthOf(h.Rolling), lengthOf(h.WindowEnd.Sub(h.WindowStart)), inWords(denial.RetryAfter))
	default:
		denial.RetryAfter = max(time.Second, roundUp(h.WindowEnd.Sub(l.call.At)))
		advice = fmt.Sprintf("%swait for the next window at %s (in %s)", l.fitting(d, denial, c, h.Ceiling-s.Settled-s.Held, byBound), moment(h.WindowEnd), inWords(denial.RetryAfter))
	}
	if h.Rolling > 0 {
		denial.Details["rolling_seconds"] = strconv.FormatInt(int64(h.Rolling/time.Second), 10)
	}
	if denial.RetryAfter > 0 {
		denial.Details["wait"] = "true"
		denial.Details["retry_after_seconds"] = strconv.FormatInt(int64(denial.RetryAfter/time.Second), 10)
	}
	denial.Message = fmt.Sprintf("budget %s has no room for this call: limit %s USD%s%s, %s USD settled, %s USD held for calls in flight, and %s/%s can cost %s USD; %s (decision %s)",
		h.Budget, h.Limit, inAny(h.Rolling), denyTier(h), s.Settled, s.Held, d.RoutedProvider, d.RoutedModel, h.Amount, advice, l.call.ID)
	return denial
}

// inAny says of which time the limit of a rolling window is.
func inAny(rolling time.Duration) string {
	if rolling == 0 {
		return ""
	}
	return " in any " + strings.TrimPrefix(lengthOf(rolling), "1 ")
}

// lengthOf is a length of time as people say it, exactly.
func lengthOf(d time.Duration) string {
	// 24 hours stay 24 hours: a day has a midnight, and a rolling window has none.
	name, unit := "second", time.Second
	switch {
	case d%(24*time.Hour) == 0 && d > 24*time.Hour:
		name, unit = "day", 24*time.Hour
	case d%time.Hour == 0:
		name, unit = "hour", time.Hour
	case d%time.Minute == 0:
		name, unit = "minute", time.Minute
	}
	if d != unit {
		name += "s"
	}
	return strconv.FormatInt(int64(d/unit), 10) + " " + name
}

func denyTier(h Hold) string {
	if h.Ceiling == h.Limit {
		return ""
	}
	return fmt.Sprintf(" (calls are denied above %s USD)", h.Ceiling)
}

// fitting is the advice to ask for less: how many output tokens a choice may
// have for the call to fit into room.
func (l *deliberation) fitting(d *Decision, denial *Denial, c *candidate, room pricing.NanoUSD, byBound bool) string {
	if !byBound || c.rates == nil || room <= 0 {
		return ""
	}
	low := l.outputWithin(d, c, room)
	if low == 0 {
		return "send a shorter prompt, or "
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

// reason is the decision in one line.
func (l *deliberation) reason(d *Decision) string {
	var parts []string
	if d.Action == Substitute {
		text := fmt.Sprintf("sent to %s/%s in place of %s/%s by route %s", d.RoutedProvider, d.RoutedModel, l.call.Provider, l.call.Model, d.Route)
		if asked := d.RouteChoices[0]; asked.Unpriced == "" && d.Estimate.Unpriced == "" {
			text += fmt.Sprintf(", for %s in place of %s USD", d.Estimate.Expected, asked.Expected)
		}
		parts = append(parts, text)
	}
	if d.MaxOutputTokens > 0 {
		parts = append(parts, fmt.Sprintf("output limited to %d tokens by %s", d.MaxOutputTokens, l.capBy))
	}
	if d.Constraint != nil {
		parts = append(parts, d.Constraint.words()...)
	}
	if d.Estimate.Unpriced != "" {
		parts = append(parts, d.Estimate.Unpriced+"; no budget enforces a limit here")
	}
	if d.Debt {
		parts = append(parts, "permitted as debt while the ledger was away")
	}
	return cmp.Or(strings.Join(parts, "; "), "within every budget")
}
