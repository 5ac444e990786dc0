//go:build linux

package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// ledgerCheckExists says whether the binary has "keel ledger check". Then every run ends with it.
const ledgerCheckExists = true

// verdict gathers what a run has got wrong, by kind, so that a run which has to
// go wrong (a mutant) can be told from one that must not.
type verdict struct {
	kinds    []string
	problems map[string][]string
}

func (v *verdict) add(kind, format string, args ...any) {
	if v.problems == nil {
		v.problems = map[string][]string{}
	}
	if v.problems[kind] == nil {
		v.kinds = append(v.kinds, kind)
	}
	v.problems[kind] = append(v.problems[kind], fmt.Sprintf(format, args...))
}

// fault is a process that does not come back, or a step of the test that failed. nil is none.
func (v *verdict) fault(err error) {
	if err != nil {
		v.add("broken", "%v", err)
	}
}

// report fails the test with the first few of each kind, and says how many there are.
func (v *verdict) report(t *testing.T) {
	t.Helper()
	for _, kind := range v.kinds {
		all := v.problems[kind]
		t.Errorf("%s: %d\n\t%s", kind, len(all), strings.Join(all[:min(4, len(all))], "\n\t"))
	}
}

// spend is a row of keel.spend_records.
type spend struct {
	Decision, Outcome, Metered string
	Actual                     string
	Team, User                 string
	Rows                       int64
}

func (c *cluster) spends() (map[string]spend, error) {
	found, err := rows[spend](c, `select decision_id::text, min(outcome), min(metered), coalesce(max(actual_cost_usd), -1)::text,
		coalesce(max(subject->>'team'), ''), coalesce(max(subject->>'user'), ''), count(*) from keel.spend_records group by 1`)
	if err != nil {
		return nil, err
	}
	byDecision := make(map[string]spend, len(found))
	for _, s := range found {
		byDecision[s.Decision] = s
	}
	return byDecision, nil
}

// longStill is when drain gives up: the sweeper needs 5 s to take a replica for dead, and looks every few seconds,
// where the machine has nothing else to do.
const longStill = 40 * time.Second

// drain waits until every call that was let out has its end on record and
// nothing is held. It gives up when nothing has moved for a long time: what
// is missing then is lost.
func (c *cluster) drain(l *load, still time.Duration) error {
	best, moved := -1, time.Now()
	for ; ; time.Sleep(250 * time.Millisecond) {
		spends, err := c.spends()
		if err != nil {
			return err
		}
		missing := 0
		l.each(func(k *call) {
			if s, ok := spends[k.decision]; !ok || s.Outcome == "open" {
				missing++
			}
		})
		for _, s := range spends { // of streams that broke before the client learned the decision
			if s.Outcome == "open" {
				missing++
			}
		}
		if missing == 0 {
			return nil
		}
		if best < 0 || missing < best {
			best, moved = missing, time.Now()
		}
		if time.Since(moved) > still {
			return fmt.Errorf("%d calls have no end on record, and nothing moves", missing)
		}
	}
}

// account is a row of keel.accounts, all windows of one key together.
type account struct {
	Budget, Key   string
	Settled, Held int64
}

func (c *cluster) accounts() ([]account, error) {
	return rows[account](c, `select budget, account_key, sum(settled_n)::bigint, sum(held_n)::bigint from keel.accounts group by 1, 2`)
}

// checkCalls compares every call with the provider's log: none lost, none wrong, none twice.
func (v *verdict) checkCalls(t *testing.T, c *cluster, l *load) {
	t.Helper()
	spends, err := c.spends()
	if err != nil {
		v.fault(err)
		return
	}
	truth := l.provider.truth(t)
	l.each(func(k *call) {
		s, found := spends[k.decision]
		where := fmt.Sprintf("call %s (decision %s, team %s, replica %d)", k.id, k.decision, k.team, k.replica)
		billed, wasServed := truth[k.id]
		switch {
		case !found:
			v.add(kindOf(k, "no record"), "%s: acknowledged %t, served %t", where, k.acked, wasServed)
			return
		case s.Rows != 1:
			v.add("more than one record", "%s has %d", where, s.Rows)
		case !k.released:
			if s.Outcome != "denied" {
				v.add("denial recorded as something else", "%s was denied with %d and is recorded as %s", where, k.status, s.Outcome)
			}
			if wasServed {
				v.add("served though denied", "%s was denied and the provider served it", where)
			}
			return
		}
		actual, err := parseNano(s.Actual)
		switch {
		case err != nil || actual < 0:
			v.add(kindOf(k, "no end"), "%s: outcome %s, cost %q: %v", where, s.Outcome, s.Actual, err)
		case k.acked && s.Outcome == "complete":
			if actual != billed.nano() || s.Metered != "provider" {
				v.add("wrong cost", "%s was acknowledged and costs %d, %s; the provider bills %d", where, actual, s.Metered, billed.nano())
			}
			if k.cost != "" && k.cost != usdPlain(billed.nano()) {
				v.add("wrong cost told", "%s was told a cost of %s; the provider bills %d", where, k.cost, billed.nano())
			}
		case k.acked && !k.onFull: // a journal on a full disk can't keep what it acknowledges
			v.add("acknowledged closeout lost", "%s was acknowledged, and its closeout is lost: %s at %d", where, s.Outcome, actual)
		case actual < billed.nano() && !k.overrun: // of an overrun that nobody saw, the hold is all that is known
			v.add("less than the provider bills", "%s was %s at %d; the provider bills %d", where, s.Outcome, actual, billed.nano())
		}
		if k.acked && !billed.Whole {
			v.add("acknowledged too early", "%s was acknowledged and the provider did not answer it whole", where)
		}
	})
}

// kindOf tells what is wrong with calls that were let out from what is wrong with denials.
func kindOf(k *call, problem string) string {
	switch {
	case k.acked:
		return problem + " of an acknowledged call"
	case k.released:
		return problem + " of a call that was let out"
	}
	return problem + " of a denial"
}

// usdPlain is usd without trailing zeros, as Keel writes amounts.
func usdPlain(n int64) string {
	text := usd(n)
	for text[len(text)-1] == '0' {
		text = text[:len(text)-1]
	}
	if text[len(text)-1] == '.' {
		text = text[:len(text)-1]
	}
	return text
}

// bounds say what the truth is compared with: budgets that every call of a team
// matched at all times.
type bounds struct {
	budget, team string
	perUser      bool
	limit        int64 // the most that was ever in force; < 0: not enforced all the time
}

// checkBudget compares what a budget settled with the records and with the provider's log.
func (v *verdict) checkBudget(t *testing.T, c *cluster, l *load, b bounds) {
	t.Helper()
	accounts, err := c.accounts()
	if err != nil {
		v.fault(err)
		return
	}
	spends, err := c.spends()
	if err != nil {
		v.fault(err)
		return
	}
	truth := l.provider.truth(t)
	key := func(user string) string {
		if b.perUser {
			return user
		}
		return ""
	}
	type sums struct{ settled, held, recorded, truth, unseen, overrun int64 }
	byKey := map[string]*sums{}
	at := func(key string) *sums {
		if byKey[key] == nil {
			byKey[key] = new(sums)
		}
		return byKey[key]
	}
	for _, a := range accounts {
		if a.Budget == b.budget {
			user := ""
			if b.perUser {
				user = a.Key[len("user="):]
			}
			at(user).settled += a.Settled
			at(user).held += a.Held
		}
	}
	for _, s := range spends {
		if s.Team == b.team && s.Outcome != "open" {
			n, _ := parseNano(s.Actual) // checkCalls tells of those that are no number
			at(key(s.User)).recorded += n
		}
	}
	l.each(func(k *call) {
		if k.team != b.team {
			return
		}
		sum, billed := at(key(k.user)), truth[k.id].nano()
		sum.truth += billed
		if k.overrun {
			sum.overrun += billed // more than enough: the whole bill
			if !k.acked {
				sum.unseen += billed
			}
		}
	})
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		s := byKey[key]
		where := "budget " + b.budget
		if b.perUser {
			where += " of user " + key
		}
		if s.held != 0 {
			v.add("hold leaked", "%s holds %d with nothing in flight", where, s.held)
		}
		if s.settled != s.recorded {
			v.add("settled is not the sum of the records", "%s settled %d, its records sum up to %d", where, s.settled, s.recorded)
		}
		if s.settled < s.truth-s.unseen {
			v.add("settled less than the provider bills", "%s settled %d, the provider bills %d", where, s.settled, s.truth)
		}
		if b.limit >= 0 && s.truth > b.limit+s.overrun {
			v.add("overspent", "%s is overspent: the provider bills %d, the limit is %d", where, s.truth, b.limit)
		}
	}
}

// checkLedger runs the checks that ship with the binary.
func (v *verdict) checkLedger(c *cluster, binary string) {
	if !ledgerCheckExists {
		return
	}
	if out, err := c.run(binary, "ledger", "check", "--database", c.dsn); err != nil {
		v.add("keel ledger check", "%v\n%s", err, out)
	}
}
