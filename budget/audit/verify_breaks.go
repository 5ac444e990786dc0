package audit

import "slices"

// declared reports the breaks of the log. A log that is broken is never said to be whole: a break is a finding, or, where the
// verifier was told of it and says so, a notice.
func (v *verification) declared(rules *keyRules) {
	for i := range rules.breaks {
		b := &rules.breaks[i]
		b.Trusted = rules.keys.Has(b.NewKey)
		b.OK = b.Trusted && slices.Contains(v.o.Accept, b.NewLog)
		v.report.Breaks = append(v.report.Breaks, *b)
		what := Finding{What: "log " + b.OldLog, Why: b.String()}
		if b.Leaf >= 0 {
			what.Leaf = &b.Leaf
		}
		switch {
		case b.OK:
			v.findings.notice("%s", b)
		case !b.Trusted:
			what.Why += "; no key that is known has signed that: ask who declared it, and give the new key with --key"
			v.findings.add(Break, what)
		default:
			what.Why += "; who has made sure that it is so verifies with --accept-break " + b.NewLog
			v.findings.add(Break, what)
		}
	}
	for _, name := range v.o.Accept {
		if !slices.ContainsFunc(rules.breaks, func(b Continuation) bool { return b.NewLog == name }) {
			v.findings.notice("no break begins log %q, which was to be accepted", name)
		}
	}
}
