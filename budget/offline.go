package budget

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"keel/pricing"
)

// withoutLedger decides while the ledger can't be asked: a call that no budget
// could have denied is permitted as debt, and any other where its budgets allow debt, as far as
// they do. budgets are those of d.Holds, in their order.
func (l *deliberation) withoutLedger(d *Decision, budgets []*activeBudget, err error) *Decision {
	away := errors.Is(err, ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
	if !away {
		return l.unavailable(d, enforcing(d), fmt.Sprintf("the ledger can't keep this decision (%v)", err))
	}
	for i, b := range budgets {
		if b.Mode != Enforce {
			continue
		}
		if d.Holds[i].Debt == 0 {
			mark(d, KindBudget, b.Name, "denied: ledger unavailable")
			return l.unavailable(d, b.Name, fmt.Sprintf("the ledger can't be reached, so budget %s can't be asked, and %s", b.Name, l.offlineRule(d, b)))
		}
		l.offlineRule(d, b)
	}
	d.Debt = true
	d.Reason = l.reason(d) // the ledger keeps it
	if err = l.ledger.Owe(d); err == nil {
		return d
	}
	d.Debt = false
	if full, ok := asRefused(err); ok {
		return l.tooMuchDebt(d, full)
	}
	return l.unavailable(d, enforcing(d), fmt.Sprintf("the ledger can't keep this decision (%v)", err))
}

// offlineRule records which documents say what is done while the ledger is away, and
// returns why they deny, where they do.
func (l *deliberation) offlineRule(d *Decision, b *activeBudget) (denies string) {
	settings := l.org.settings
	offline := cmp.Or(b.Offline, settings.Offline)
	denies = "it denies such calls (offline: deny)"
	own := ""
	if b.Offline != "" {
		own = ", offline: " + string(b.Offline)
	} else {
		denies = "the settings of the organisation deny such calls (offline: deny)"
		if rule := (Rule{Kind: KindSettings, Name: settings.Name, Version: settings.Version, Effect: "offline: " + string(offline)}); !slices.Contains(d.Rules, rule) {
			d.Rules = append(d.Rules, rule)
		}
	}
	if offline == OfflineAllowDebt && b.OfflineDebt != nil {
		own += ", offline_debt: " + b.OfflineDebt.String() + " USD"
		denies = "it allows no debt (offline_debt: 0 USD)"
	}
	for i := range d.Rules {
		if r := &d.Rules[i]; r.Kind == KindBudget && r.Name == b.Name {
			r.Effect += own
		}
	}
	return denies
}

// tooMuchDebt explains that the account has no more credit on this replica.
func (l *deliberation) tooMuchDebt(d *Decision, r *Refused) *Decision {
	h := &r.Hold
	for i := range d.Rules {
		if rest, held := strings.CutPrefix(d.Rules[i].Effect, "held"); held && d.Rules[i].Kind == KindBudget && d.Rules[i].Name == h.Budget {
			d.Rules[i].Effect = "denied: no more offline debt" + rest
		}
	}
	return l.refuse(d, &Denial{
		Status: http.StatusServiceUnavailable, Code: "offline_debt_exhausted", RetryAfter: l.soon(),
		Message: fmt.Sprintf("the ledger can't be reached, and budget %s lets one processor owe %s USD of an account until it can (offline_debt): %s USD are owed, and this call can cost %s USD; try again in %s (decision %s)",
			h.Budget, h.Debt, r.Standing.Held, h.Amount, inWords(l.soon()), l.call.ID),
		Details: l.details("budget", h.Budget, "account", h.Key, "offline_debt_usd", h.Debt.String(), "owed_usd", r.Standing.Held.String(), "asked_usd", h.Amount.String()),
	})
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

// debt is how far one replica may let an account of the budget go while the
// database is away.
func (b *activeBudget) debt(settings Offline) pricing.NanoUSD {
	switch {
	case cmp.Or(b.Offline, settings) != OfflineAllowDebt:
		return 0
	case b.OfflineDebt != nil:
		return *b.OfflineDebt
	}
	return NoDebtCap
}
