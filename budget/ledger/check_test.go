package ledger

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// trueUp accepts two nano-dollars of a cell of comparison n. Comparison 1 says that it differs by usd, by rounding.
func trueUp(n int, usd, cause string) string {
	return fmt.Sprintf(`
with r as (
  insert into keel.reconciliations (org, reconciliation_id, actor, provider, file, sha256, timezone, since, until)
  values ('acme', '00000000-0000-4000-8000-000000000001', 'ada', 'p', 'bill.csv', '', 'UTC', '2026-10-01Z', '2026-11-01Z')),
c as (
  insert into keel.reconciled (org, reconciliation_id, n, day, model, account, meter, recorded_n, stated_n, causes)
  values ('acme', '00000000-0000-4000-8000-000000000001', 0, '2026-10-01', 'm', '', '', 5, 6, '[{"cause": "rounding", "usd": "%s"}]'))
insert into keel.adjustments (org, adjustment_id, actor, source, reconciliation_id, cell, provider, model, day, amount_n, cause)
values ('acme', gen_random_uuid(), 'ada', 'reconcile', '00000000-0000-4000-8000-00000000000%d', 0, 'p', 'm', '2026-10-01', 2, '%s')`, usd, n, cause)
}

// Whatever is changed by hand is named.
func TestCheckNamesWhatWasChanged(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.budget("a", 1000, "month")
	l.budget("roll", 100, "rolling 60h")
	j, finished := l.journal(), l.journal()
	j.lease(thisMonth("a"), 100)
	finished.lease(thisMonth("a"), 10)
	now := bucket("roll", 60*time.Hour, 0)
	j.lease(now, 60)
	closed, open := admitted(enforced(thisMonth("a"), 30)), admitted(enforced(thisMonth("a"), 7), observed(thisMonth("seen"), 7))
	closed.Holds[0].Version, closed.Holds[0].Limit = 1, 1000
	j.settle(decided(closed), decided(open), j.closed(closed, ended(closed, 20)), back(thisMonth("a"), 5))
	ahead := l.journal()
	long := admitted(observed(thisMonth("long"), 5), observed(thisMonth("longer"), 5))
	ahead.settle(decided(long), extended(long, 3, 4), extended(long, 1, 0))
	early := admitted(enforced(bucket("roll", 60*time.Hour, 1), 30))
	j.settle(decided(early), j.closed(early, ended(early, 30)))
	left := admitted(enforced(thisMonth("a"), 3))
	finished.settle(decided(left))
	l.finish(finished)
	l.fold()
	l.sound()
	for _, c := range []struct{ name, sql, want string }{
		{"settled", "update keel.accounts set settled_n = settled_n + 1 where budget = 'a'", "I2|budget a|settled 24, charges and entries 23"},
		{"leased", "update keel.accounts set leased_n = leased_n + 1 where budget = 'a'", "I3|budget a|leased 76, slices 75"},
		{"held", "update keel.accounts set held_n = 8 where budget = 'seen'", "I7|budget seen|held 8, open decisions 7"},
		{"ceiling", "update keel.accounts set high_n = 97 where budget = 'a'", "I1|budget a|settled 23 + leased 75 > ceiling 97"},
		{"forced", "update keel.accounts set forced_n = 0, high_n = 29 where budget = 'roll' and settled_n = 30", "I1|budget roll|settled 30 + leased 0 > ceiling 29 + forced 0"},
		{"rolling", "update keel.accounts set high_n = 61, forced_n = least(forced_n, 28) where budget = 'roll'", "I10|budget roll|settled + leased 90 > ceiling 61 + forced 28"},
		{"a slice", "update keel.leases set granted_n = granted_n + 1 where budget = 'a' and consumed_n = 20", "I3|budget a|leased 75, slices 76"},
		{"held by a slice", "update keel.leases set held_n = 8 where budget = 'a' and consumed_n = 20", "I7|budget a|held 8, open decisions 7"},
		{"a slice of a finished epoch", "update keel.leases set granted_n = granted_n + 1 where budget = 'a' and consumed_n = 3", "I3|budget a|granted 11, consumed 3, returned 7"},
		{"a return", "update keel.entries set amount_n = 6 where kind = 'return'", "I3|budget a|returned 5, entries 6"},
		{"a cost", "update keel.closeouts set cost_n = 21 where cost_n = 20", "I11||charged 20, held 30, cost 21"},
		{"a charge", "update keel.closeouts set charges = jsonb_set(charges, '{0,amount}', '21'), cost_n = 21 where cost_n = 20", "I2|budget a|settled 23, charges and entries 24"},
		{"a hold", "update keel.decisions set holds = jsonb_set(holds, '{0,amount}', '31') where seq = 1 and holds->0->>'amount' = '30'", "I5||31"},
		{"an open hold", "update keel.decisions set holds = jsonb_set(holds, '{0,amount}', '9') where seq = 2", "I7|budget a|held 7, open decisions 9"},
		{"an extension", "update keel.entries set more_n = '{4,4}' where kind = 'extension' and seq = 2", "I7|budget long|held 9, open decisions 10"},
		{"an extension that is gone", "delete from keel.entries where kind = 'extension' and seq = 2", "I4||stored are 2 records from 1 to 3"},
		{"what it held", "delete from keel.entries where kind = 'extension' and seq = 2", "I7|budget longer|held 9, open decisions 5"},
		{"an extension of a closed call", "update keel.entries set decision_id = (select decision_id from keel.closeouts where cost_n = 20) where kind = 'extension' and seq = 2", "I5||holds [[\"a\""},
		{"an extension of another journal's call", "update keel.entries set decision_id = (select decision_id from keel.closeouts where cost_n = 20) where kind = 'extension' and seq = 2", "I5||the decision is record 1 of epoch"},
		{"an extension that lacks an amount", "update keel.entries set more_n = '{4}' where kind = 'extension' and seq = 2", "I5||amounts {4} for 2 holds"},
		{"a decision", "delete from keel.decisions where seq = 2", "I4||5 records"},
		{"its open row", "delete from keel.open_decisions", "I5||neither open nor closed"},
		{"a closeout", "delete from keel.closeouts where cost_n = 20", "I4||5 records"},
		{"a number", "update keel.closeouts set seq = 2 where seq = 3", "I4||of 5 numbers"},
		{"applied", "update keel.epochs set applied_seq = 7 where applied_seq = 6", "I4||settled up to 7"},
		{"a finished epoch", "update keel.epochs set state = 'finished'", "I6||the epoch is finished"},
		{"a limit in force", "update keel.limits set ceiling_n = 1001 where budget = 'a'", "I11|budget a|ceiling 1001"},
		{"a limit that is gone", "delete from keel.limits where budget = 'a'", "I11|budget a|says 0.000001"},
		{"a version", "update keel.config_versions set after = jsonb_set(after, '{limit_usd}', '1') where name = 'a'", "I11||saw 1000 in version 1, which says 1 USD"},
		{"a statement", "update keel.statements set amount_n = amount_n + 1 where meter = 'input'", "I13||nano-dollars"},
		{"calls of a statement", "update keel.statements set calls = 9 where meter = ''", "I13||counts {9,"},
		{"a statement that is gone", "delete from keel.statements where meter = 'input'", "I13||statements say 0 of 0"},
		{"a line of a cost", "update keel.closeouts set lines = '[]' where cost_n = 20", "I13||without_usage"},
		{"a true-up", trueUp(1, "0.000000001", "rounding"), "I14||true-ups come to 2 nano-dollars, reconciliation 00000000-0000-4000-8000-000000000001 says 1"},
		{"a true-up of no comparison", trueUp(2, "0.000000002", "rounding"), "I14||says nothing"},
		{"a true-up of another cause", trueUp(1, "0.000000002", "weather"), "I14||says nothing"},
		{"an account", "delete from keel.accounts where budget = 'a'", "I2|budget a|settled 0, charges and entries 23"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tx, err := l.pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback(context.Background())
			if _, err := tx.Exec(t.Context(), c.sql); err != nil {
				t.Fatal(err)
			}
			report, err := runChecks(t.Context(), tx, nil)
			if err != nil {
				t.Fatal(err)
			}
			want := strings.Split(c.want, "|")
			for _, v := range report.Violations {
				s := v.String()
				if strings.HasPrefix(s, want[0]+" ") && strings.Contains(s, want[1]) && strings.Contains(s, want[2]) {
					return
				}
			}
			t.Errorf("not named: %v", report.Violations)
		})
	}
}
