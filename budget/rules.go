package budget

import (
	"fmt"
	"net/http"

	"keel/budget/policy"
)

// applyPolicies evaluates the policies in the order of their names. The first
// that denies ends it; of several limits on the output the smallest counts, of
// several routes the first. A policy that can't be evaluated denies: nobody
// can say that it does not mean this call.
func (l *deliberation) applyPolicies() *Denial {
	if len(l.org.policies) == 0 {
		return nil
	}
	in := policy.NewInput(l.call.Subject, policy.Request{
		Model: l.call.Model, Provider: l.call.Provider, API: l.call.API, Path: l.call.Path, Stream: l.call.Stream,
		MaxOutputTokens: l.call.MaxOutputTokens,
		InputTokens:     l.estimator.Input(l.call.Provider, l.call.Model, l.call.Prompt).Expected,
	})
	routed := ""
	for _, p := range l.org.policies {
		matched, err := p.program.Match(in)
		rule := Rule{Kind: KindPolicy, Name: p.Name, Version: p.Version}
		switch {
		case err != nil:
			rule.Effect = "denied: the policy could not be evaluated"
			l.draft.Rules = append(l.draft.Rules, rule)
			return l.policyDenial(p, fmt.Sprintf("its condition could not be evaluated (%v), and calls are denied until it can; correct the policy", err))
		case !matched:
			continue
		case p.Do.Deny != "":
			rule.Effect = "denied"
			l.draft.Rules = append(l.draft.Rules, rule)
			return l.policyDenial(p, p.Do.Deny)
		case p.Do.MaxOutputTokens > 0:
			stated := l.call.MaxOutputTokens
			if stated > 0 && stated <= p.Do.MaxOutputTokens {
				rule.Effect = fmt.Sprintf("kept: %d output tokens are within %d", stated, p.Do.MaxOutputTokens)
				break
			}
			rule.Effect = fmt.Sprintf("constrained to %d output tokens", p.Do.MaxOutputTokens)
			if l.outputCap == 0 || p.Do.MaxOutputTokens < l.outputCap {
				l.outputCap, l.capBy = p.Do.MaxOutputTokens, "policy "+p.Name
			}
		case routed != "":
			rule.Effect = fmt.Sprintf("matched, but policy %s routed first", routed)
		default:
			routed, l.route = p.Name, l.org.route(p.Do.Route)
			rule.Effect = "chose route " + p.Do.Route
		}
		l.draft.Rules = append(l.draft.Rules, rule)
	}
	return nil
}

func (l *deliberation) policyDenial(p *activePolicy, reason string) *Denial {
	return &Denial{
		Status: http.StatusForbidden, Code: "policy_denied",
		Message: fmt.Sprintf("denied by policy %s: %s (decision %s)", p.Name, reason, l.call.ID),
		Details: l.details("policy", p.Name),
	}
}
