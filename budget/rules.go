package budget

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"keel/budget/policy"
)

// applyPolicies evaluates the policies in the order of their names. The first
// that denies ends it; of several limits on the output the smallest counts, of
// several routes the first. Where the settings say so, the first that matches is the only one that counts. A policy that
// can't be evaluated denies: nobody can say that it does not mean this call.
func (l *deliberation) applyPolicies() *Denial {
	if len(l.org.policies) == 0 {
		return nil
	}
	l.input = policy.Input{Subject: l.call.Subject, Request: l.policyRequest(), Standing: l.standing}
	l.standings = standings{l.org, l.ledger, l.traits(l.asked), l.call.At}
	in := &l.input
	routed := ""
	var room [64]int32
	for _, i := range l.org.when.candidates(room[:0], l.call.Subject) { // as it is before any policy tags it
		p := l.org.policies[i]
		matched, err := p.program.Match(in)
		if err == nil && !matched {
			continue
		}
		rule := Rule{Kind: KindPolicy, Name: p.Name, Version: p.Version, Saw: l.saw(p)}
		var denial *Denial
		switch {
		case err != nil:
			rule.Effect = "denied: the policy could not be evaluated"
			denial = l.policyDenial(p, fmt.Sprintf("its condition could not be evaluated (%v), and calls are denied until it can; correct the policy", err))
		case p.Do.Deny != "":
			rule.Effect = "denied"
			denial = l.policyDenial(p, p.Do.Deny)
		case p.Do.MaxOutputTokens > 0 || p.Do.Constraint != Constraint{}:
			rule.Effect, denial = l.constrain(p)
		case p.Do.Warn != "":
			rule.Effect = p.effect
		case len(p.Do.Tag) > 0:
			rule.Effect = p.effect
			l.tag(p.Do.Tag)
		case p.Do.Watch != nil:
			rule.Effect, denial = l.watch(p)
		case routed != "":
			rule.Effect = fmt.Sprintf("matched, but policy %s routed first", routed)
		default:
			routed, l.route = p.Name, l.org.route(p.Do.Route)
			rule.Effect = p.effect
		}
		l.draft.Rules = append(l.draft.Rules, rule)
		if denial != nil {
			return denial
		}
		if l.org.settings.Policies == PoliciesFirst {
			break
		}
	}
	return nil
}

// policyRequest is the call as conditions read it, with what it would cost where it was asked to go.
func (l *deliberation) policyRequest() policy.Request {
	r := policy.Request{
		Model: l.call.Model, Provider: l.call.Provider, API: l.call.API, Path: l.call.Path, Stream: l.call.Stream,
		MaxOutputTokens: l.call.MaxOutputTokens, Choices: max(1, l.call.Choices), ServiceTier: l.call.ServiceTier, Effort: l.call.Effort, At: l.call.At,
	}
	if p := l.call.Prompt; p != nil {
		r.Tools, r.Images, r.HostedTools = p.Tools > 0, int64(len(p.Images)), p.Hosted
	}
	if route := l.org.routeFor(l.call.Model); route != nil {
		r.Route = route.Name
	}
	asked := l.estimated(l.call.Provider, l.call.Model)
	l.asked = asked
	r.InputTokens = asked.estimate.InputTokens
	if asked.rates != nil {
		r.Priced, r.ExpectedCost, r.BoundCost = true, int64(asked.estimate.Expected), int64(asked.estimate.Bound)
	}
	return r
}

// standings tells conditions of budgets, whatever tags do to the subject meanwhile.
type standings struct {
	org    *organisation
	ledger Ledger
	traits traits // of the call where it was asked to go
	at     time.Time
}

// standing is how far a budget is used in the account that the call would fall under.
func (s *standings) standing(name string) policy.Standing {
	b := s.org.asked[name]
	if b == nil {
		return policy.Standing{}
	}
	is := s.ledger.Standing(b.account(&s.traits, s.at))
	used, err := sum(is.Settled, is.Held)
	if err != nil {
		used = b.Limit
	}
	return policy.Standing{Used: int64(used), Limit: int64(b.Limit)}
}

// saw is what a policy looked at, as far as the record of the call does not say it elsewhere.
func (l *deliberation) saw(p *activePolicy) string {
	if !p.program.ReadsEffort() && len(p.budgets) == 0 {
		return ""
	}
	var room [256]byte
	saw := room[:0]
	if p.program.ReadsEffort() {
		if l.call.Effort != "" {
			saw = append(append(saw, "reasoning effort "...), l.call.Effort...)
		} else {
			saw = append(saw, "no reasoning effort"...)
		}
	}
	t := l.traits(l.asked)
	for _, b := range p.budgets {
		if len(saw) > 0 {
			saw = append(saw, ", "...)
		}
		saw = append(append(saw, b.Name...), ' ')
		saw = b.appendUsage(saw, l.ledger.Standing(b.account(&t, l.call.At)))
	}
	return string(saw)
}

// constrain lowers what the call may ask for, and says so. A request that can't be changed so is denied.
func (l *deliberation) constrain(p *activePolicy) (effect string, denial *Denial) {
	if p.Do.MaxOutputTokens > 0 {
		effect = l.capOutput(p)
		if err := l.unchangeable(); err != nil && l.outputCap > 0 {
			return "denied: " + err.Error(), l.policyDenial(p, fmt.Sprintf("it bounds the output at %d tokens, which can't be written into the request: %v; state max_tokens of no more than that", p.Do.MaxOutputTokens, err))
		}
	}
	if p.Do.Constraint == (Constraint{}) {
		return effect, nil
	}
	c := p.Do.Constraint
	if l.draft.Constraint != nil {
		c = l.draft.Constraint.and(c)
	}
	if l.call.Constrainable != nil {
		if err := l.call.Constrainable(c); err != nil {
			return "denied: " + err.Error(), l.policyDenial(p, fmt.Sprintf("it constrains the call, which can't be done to this one: %v", err))
		}
	}
	l.draft.Constraint = &c
	if c.Choices > 0 {
		l.call.Choices = min(max(1, l.call.Choices), c.Choices)
	}
	if c.ServiceTier != "" { // it is priced by it
		l.call.ServiceTier, l.draft.ServiceTier = c.ServiceTier, c.ServiceTier
	}
	l.asked = l.estimated(l.call.Provider, l.call.Model)
	words := p.Do.Constraint.words()
	if effect != "" {
		words = append([]string{effect}, words...)
	}
	return strings.Join(words, ", "), nil
}

// and is what is left when both are kept to.
func (c Constraint) and(d Constraint) Constraint {
	if d.Choices > 0 && (c.Choices == 0 || d.Choices < c.Choices) {
		c.Choices = d.Choices
	}
	if c.Tools != ToolsNone && d.Tools != "" {
		c.Tools = d.Tools
	}
	if d.Effort != "" && (c.Effort == "" || slices.Index(Efforts, d.Effort) < slices.Index(Efforts, c.Effort)) {
		c.Effort = d.Effort
	}
	if c.ServiceTier == "" {
		c.ServiceTier = d.ServiceTier
	}
	return c
}

func (c Constraint) words() (words []string) {
	if c.Choices > 0 {
		words = append(words, fmt.Sprintf("choices at most %d", c.Choices))
	}
	switch c.Tools {
	case ToolsNone:
		words = append(words, "tools removed")
	case ToolsOwn:
		words = append(words, "tools of the provider removed")
	}
	if c.Effort != "" {
		words = append(words, "reasoning effort at most "+string(c.Effort))
	}
	if c.ServiceTier != "" {
		words = append(words, "service tier "+c.ServiceTier)
	}
	return words
}

// capOutput lowers the limit on the output, and says so.
func (l *deliberation) capOutput(p *activePolicy) string {
	stated, most := l.call.MaxOutputTokens, p.Do.MaxOutputTokens
	if stated > 0 && stated <= most {
		return fmt.Sprintf("kept: %d output tokens are within %d", stated, most)
	}
	if l.outputCap == 0 || most < l.outputCap {
		l.outputCap, l.capBy = most, "policy "+p.Name
	}
	return "constrained to " + strconv.FormatInt(most, 10) + " output tokens"
}

// tag gives the subject labels, whatever the client said: budgets select by them, and the record has them.
func (l *deliberation) tag(labels map[string]string) {
	subject := maps.Clone(l.call.Subject)
	if subject == nil {
		subject = make(Subject)
	}
	maps.Copy(subject, labels)
	l.call.Subject, l.draft.Subject = subject, subject
}

func (l *deliberation) policyDenial(p *activePolicy, reason string) *Denial {
	if l.asked != nil {
		l.draft.Estimate = l.asked.estimate
	}
	return &Denial{
		Status: http.StatusForbidden, Code: "policy_denied",
		Message: fmt.Sprintf("denied by policy %s: %s%s (decision %s)", p.Name, reason, l.wouldCost(), l.call.ID),
		Details: l.details("policy", p.Name),
	}
}

// wouldCost is what a call that is denied would have cost, in words.
func (l *deliberation) wouldCost() string {
	if l.asked == nil || l.asked.rates == nil {
		return ""
	}
	return fmt.Sprintf("; the call was expected to cost %s USD, and at most %s", l.asked.estimate.Expected, l.asked.estimate.Bound)
}
