package budget

import (
	"fmt"
	"slices"

	"keel/pricing"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

// estimated returns a target with what the call is likely to cost there, and
// what it can't exceed. The limit of a policy lowers the output.
func (l *deliberation) estimated(provider, model string) *candidate {
	stated := l.call.MaxOutputTokens
	if l.outputCap > 0 && (stated == 0 || stated > l.outputCap) {
		stated = l.outputCap
	}
	in := l.estimator.Input(provider, model, l.call.Prompt)
	out := l.estimator.Output(provider, model, l.call.Prompt, stated, l.call.Choices)
	c := l.candidate(candidate{provider: provider, model: model, estimate: Estimate{
		InputTokens: in.Expected, InputTokensBound: in.Bound,
		OutputTokens: out.Expected, OutputTokensBound: out.Bound,
		BoundKind: weaker(in.Kind, out.Kind), Method: in.Method, Input: in, Output: out,
	}})
	rates, ok := l.org.book.Rates(provider, model, terms(l.call))
	if !ok {
		c.estimate.Unpriced = fmt.Sprintf("the price book has no price for %s/%s", provider, model)
		if l.call.ServiceTier != "" {
			c.estimate.Unpriced += fmt.Sprintf(" in service tier %q", l.call.ServiceTier)
		}
		return c
	}
	likely, most := meter.Usage{meter.Input: in.Expected, meter.Output: out.Expected}, meter.Usage{meter.Input: in.Bound, meter.Output: out.Bound}
	if l.call.Prompt.Task == tokens.Count { // free at every provider
		likely, most = meter.Usage{meter.UnbilledInput: in.Expected}, meter.Usage{meter.UnbilledInput: in.Bound}
	}
	expected, err := rates.CostUp(&likely)
	bound, boundErr := rates.HoldCost(&most)
	switch missing := slices.Concat(expected.Unpriced, bound.Unpriced); {
	case err != nil || boundErr != nil:
		c.estimate.Unpriced = fmt.Sprintf("the cost of a call to %s/%s with up to %d output tokens can't be counted", provider, model, out.Bound)
	case len(missing) > 0:
		c.estimate.Unpriced = fmt.Sprintf("the price of %s/%s has no rate for %v", provider, model, missing[0])
	default:
		c.rates = rates
		c.estimate.Expected, c.estimate.Bound = expected.Total, max(expected.Total, bound.Total)
	}
	return c
}

// terms are those that the call asks for, at the moment of the decision. A
// closeout takes the same moment.
func terms(call *Call) pricing.Terms {
	return pricing.Terms{
		At: call.At, ServiceTier: call.ServiceTier, Speed: call.Speed, Region: call.Region, SearchContext: call.SearchContext,
	}
}

// weaker returns the one that is worth less.
func weaker(a, b tokens.BoundKind) tokens.BoundKind {
	for _, kind := range []tokens.BoundKind{tokens.None, tokens.Calibrated} {
		if a == kind || b == kind {
			return kind
		}
	}
	return tokens.Provable
}
