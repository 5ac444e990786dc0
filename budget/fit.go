package budget

import (
	"context"

	"keel/pricing"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

// fit tries c again with its output bounded to what the account that refused it has left, where
// the client stated no limit of its own: it is then written into the request, so that the hold is
// a true maximum. It returns nil where what is left is below the floor of the settings, and where it is
// not the output that does not fit, or the request can't be changed.
func (l *deliberation) fit(ctx context.Context, c *candidate, d *Decision, full *Refused) (*Decision, *Refused, error) {
	if l.unchangeable() != nil || l.call.MaxOutputTokens > 0 || l.call.Prompt.Task != tokens.Generate || c.rates == nil || full.Hold.Amount != d.Envelope.Limit {
		return nil, nil, nil
	}
	room := full.Hold.Ceiling - full.Standing.Settled - full.Standing.Held
	most := l.outputWithin(d, c, room)
	if most < l.org.settings.OutputFloor {
		return nil, nil, nil
	}
	policy, by := l.outputCap, l.capBy
	l.outputCap, l.capBy = most, "what budget "+full.Hold.Budget+" has left"
	defer func() { l.outputCap, l.capBy = policy, by }()
	fitted := l.estimated(c.provider, c.model)
	fitted.quality, fitted.condition = c.quality, c.condition
	small, _ := l.propose(fitted, nil)
	mark(small, KindBudget, full.Hold.Budget, "held, and its output is bounded to what is left")
	small.Reason = l.reason(small)
	err := l.permit(ctx, small)
	if again, ok := asRefused(err); ok {
		return nil, again, nil
	}
	return small, nil, err
}

// unchangeable says why the request goes out as it came or not at all, nil where it may be changed.
func (l *deliberation) unchangeable() error {
	if l.call.Changeable == nil {
		return nil
	}
	return l.call.Changeable()
}

// outputWithin is how many output tokens a choice may have for every attempt of the envelope to fit into
// room, 0 if none. It searches with the rates of the hold.
func (l *deliberation) outputWithin(d *Decision, c *candidate, room pricing.NanoUSD) int64 {
	choices := max(1, l.call.Choices)
	room /= pricing.NanoUSD(max(1, d.Envelope.Attempts))
	fits := func(output int64) bool {
		cost, err := c.rates.HoldCost(&meter.Usage{meter.Input: c.estimate.InputTokensBound, meter.Output: output * choices})
		return err == nil && cost.Total <= room
	}
	if room <= 0 || !fits(1) {
		return 0
	}
	low, high := int64(1), max(1, c.estimate.OutputTokensBound/choices)
	for low < high {
		if middle := high - (high-low)/2; fits(middle) {
			low = middle
		} else {
			high = middle - 1
		}
	}
	return low
}
