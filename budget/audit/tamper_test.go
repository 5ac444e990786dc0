package audit

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"keel/budget/ledger"
	"keel/budget/ledger/escrow"
)

// More ways to tamper, by somebody who knows the code: what he does is sequenced, and has its leaf, where that helps him.
func TestTamperingByOneWhoKnows(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tamper func(x *tampered)
		want   func(x *tampered) []string // in the findings, or the notices
	}{
		"a closeout is superseded by a cheaper one, in silence": {
			func(x *tampered) {
				x.bypass("insert into keel.superseded_closeouts select now(), c.* from keel.closeouts c where decision_id = '"+x.id(3)+"'",
					"update keel.closeouts set version = 2, cost_n = 0, charges = (select jsonb_agg(jsonb_set(e, '{amount}', '0')) from jsonb_array_elements(charges) e) where decision_id = '"+x.id(3)+"'",
					"update keel.accounts set settled_n = settled_n - 4, forced_n = forced_n - 4 where budget = 'all' or account_key = 'user="+bob+"'",
					"insert into keel.outbox (org, kind, ids, versions) values ('acme', 'closeout', array['"+x.id(3)+"'::uuid], array[2])")
				x.sequence()
			},
			func(x *tampered) []string {
				return []string{"inserted: closeout " + x.id(3) + " version 2 of org acme: it took the place of version 1, and no entry says"}
			},
		},
		"a version of a document is deleted before it has a leaf": {
			func(x *tampered) {
				x.exec("update keel.budgets set limit_usd = 9; update keel.budgets set limit_usd = 2")
				x.bypass("delete from keel.config_versions where version = 3", "delete from keel.outbox where ids[1] not in (select change_id from keel.config_versions)")
				x.sequence()
			},
			func(x *tampered) []string {
				return []string{"gap: configuration of org acme: 1 of 4 changes are missing: 3"}
			},
		},
		"an entry is moved to another budget": {
			func(x *tampered) { x.bypass("update keel.entries set budget = 'each'") },
			func(x *tampered) []string { return []string{"changed: entry "} },
		},
		"a call is moved to another org, with its leaves": {
			func(x *tampered) {
				x.bypass("update keel.decisions set org = 'other' where decision_id = '"+x.id(5)+"'", "update keel.closeouts set org = 'other' where decision_id = '"+x.id(5)+"'",
					"update keel.leaves set org = 'other' where id = '"+x.id(5)+"'", "insert into keel.label_values select 'other', label, value, salt from keel.label_values on conflict do nothing")
			},
			func(x *tampered) []string {
				return []string{"changed: decision " + x.id(5) + " of org other", "changed: closeout " + x.id(5) + " of org other", "gap: journal " + x.books.epoch.String()}
			},
		},
		"the outbox loses a row before it is sequenced": {
			func(x *tampered) {
				x.books.calls(1, "ada")
				x.bypass("delete from keel.outbox where kind = 'closeout'")
				x.sequence()
			},
			func(x *tampered) []string {
				return []string{"inserted: closeout ", "it has no leaf, and was never announced to the log"}
			},
		},
		"a partition is dropped": {
			func(x *tampered) { x.bypass("drop table keel.closeouts_" + time.Now().UTC().Format("2006_01")) },
			func(x *tampered) []string {
				return []string{"removed: closeout " + x.id(0), "removed: closeout " + x.id(19), "gap: journal ", "sum: budget all of org acme"}
			},
		},
		"and an entry says that the month was retired": {
			func(x *tampered) {
				x.bypass("drop table keel.closeouts_"+time.Now().UTC().Format("2006_01"), "drop table keel.decisions_"+time.Now().UTC().Format("2006_01"), "delete from keel.superseded_closeouts",
					"insert into keel.entries (org, epoch, kind, cause) values ('acme', '00000000-0000-0000-0000-000000000000', 'retired', jsonb_build_object('month', to_char(now() at time zone 'UTC', 'YYYY_MM')))",
					"insert into keel.outbox (org, kind, ids) select org, 'entry', array[entry_id] from keel.entries where kind = 'retired'",
					"update keel.db_state set retired = now() + interval '1 month'")
				x.sequence()
			},
			func(x *tampered) []string {
				return []string{"inserted: entry ", "were retired, at ", "when that month was not over", "removed: decision " + x.id(0)}
			},
		},
		"all journals are said to be of before what was retired, and a record is gone before it has a leaf": {
			func(x *tampered) {
				d := x.books.calls(1, "ada")[0].ID.String()
				x.bypass("delete from keel.closeouts where decision_id = '"+d+"'", "delete from keel.decisions where decision_id = '"+d+"'", "delete from keel.outbox",
					"update keel.accounts set settled_n = settled_n - 1, forced_n = forced_n - 1 where budget = 'all' or account_key = 'user=ada'",
					"update keel.db_state set retired = now() + interval '1 year'")
				x.sequence()
			},
			func(x *tampered) []string {
				return []string{"gap: journal " + x.books.epoch.String(), "2 of 44 records are missing: 43 to 44"}
			},
		},
		"checkpoints and leaves are rewritten, and signed with the key": {
			func(x *tampered) {
				x.bypass("update keel.closeouts set cost_n = 0 where decision_id = '"+x.id(2)+"'", "delete from keel.checkpoints")
				x.releaf(x.calls[2].ID)
				x.retile()
				anchor := x.anchor
				x.anchor, _ = OpenAnchor(x.t.TempDir())
				x.sequence()
				x.anchor = anchor
			},
			func(x *tampered) []string { return []string{"checkpoint: checkpoint of size 47 in anchor "} },
		},
		"the key of the log is exchanged": {
			func(x *tampered) {
				other, _ := NewPrivateKey(x.key.Origin())
				x.bypass("delete from keel.audit_keys", "delete from keel.checkpoints")
				mine, anchor := x.key, x.anchor
				x.key = other
				x.anchor, _ = OpenAnchor(x.t.TempDir())
				x.sequence()
				x.key, x.anchor = mine, anchor
			},
			func(x *tampered) []string {
				return []string{"removed: key ", "signature: keys of the log: key keel.example.com/audit+", "signature: checkpoint of size 48 in the database"}
			},
		},
		"a salt is exchanged": {
			func(x *tampered) {
				x.bypass("update keel.label_values set salt = substring(sha256('x') for 16) where value = 'ada'")
			},
			func(x *tampered) []string { return []string{"changed: decision " + x.id(0)} },
		},
		"a salt is deleted, as if it had been erased": {
			func(x *tampered) { x.bypass("delete from keel.label_values where value = 'ada'") },
			func(x *tampered) []string {
				return []string{"changed: decision " + x.id(0), `label user has the value "ada", which no record that came into the log had`}
			},
		},
		"the clock of the database is moved back": {
			func(x *tampered) {
				for i, d := range x.books.calls(2, "ada") {
					if i == 1 { // as if now() had said so, before the log took them
						x.bypass("update keel.decisions set stored_at = stored_at - interval '3 hours' where decision_id = '"+d.ID.String()+"'",
							"update keel.closeouts set stored_at = stored_at - interval '3 hours' where decision_id = '"+d.ID.String()+"'")
					}
				}
				x.sequence()
			},
			func(x *tampered) []string {
				return []string{"note: journal " + x.books.epoch.String() + " of org acme: at record 45 the database's clock, by which it was stored, went back by 3h0m0s"}
			},
		},
		"the clock of a processor is moved back": {
			func(x *tampered) {
				d := call("ada")
				d.At = d.At.Add(-26 * time.Hour)
				x.books.settle(escrow.Record{Decision: d}, closed(d, end(d, 1)))
				x.sequence()
			},
			func(x *tampered) []string {
				return []string{"at record 43 the processor's clock, by which the call was decided, went back by 2"}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTampered(t)
			c.tamper(x)
			report := x.verify(t)
			var lines []string
			for _, f := range report.Findings {
				lines = append(lines, f.String())
			}
			for _, n := range report.Notices {
				lines = append(lines, "note: "+n)
			}
			all := strings.Join(lines, "\n")
			for _, want := range c.want(x) {
				if !strings.Contains(all, want) {
					t.Errorf("nothing says %q in\n%s", want, all)
				}
			}
		})
	}
}

// What verify leaves to keel ledger check: sums and limits that no leaf has.
func TestTamperingThatTheLedgerFinds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, want string }{
		"a limit in force is raised":        {"update keel.limits set limit_n = limit_n * 2", "I11"},
		"a statement is changed":            {"update keel.statements set amount_n = amount_n - 1 where meter = ''", "I13"},
		"a slice is changed":                {"insert into keel.leases (org, budget, account_key, window_start, window_end, epoch, granted_n) select org, budget, account_key, window_start, window_end, gen_random_uuid(), 5 from keel.accounts limit 1", "I3"},
		"a presumed closeout never had one": {"delete from keel.outbox; delete from keel.closeouts where seq is null; update keel.accounts a set settled_n = settled_n - 30, forced_n = forced_n - 30 where budget = 'all' or account_key = 'user=ada'", "I5"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTampered(t)
			d := call("ada")
			x.books.settle(escrow.Record{Decision: d})
			x.exec("update keel.open_decisions set opened_at = opened_at - interval '2 days'")
			if _, err := x.bank.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			store, err := ledger.OpenStore(t.Context(), x.dsn)
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			if _, err := store.FoldStatements(t.Context()); err != nil {
				t.Fatal(err)
			}
			x.bypass(c.sql)
			report, err := ledger.Check(t.Context(), x.dsn, nil)
			if err != nil {
				t.Fatal(err)
			}
			if all := fmt.Sprint(report.Violations); !strings.Contains(all, c.want) {
				t.Errorf("nothing says %s in %s", c.want, all)
			}
		})
	}
}

// What nobody can find in the database alone, so that docs/audit.md says so: a processor that never was. Its journal is on no disk.
func TestAForgedProcessorHasNoJournal(t *testing.T) {
	t.Parallel()
	x := newTampered(t)
	forged := x.lab.books()
	forged.calls(2, "ada")
	x.sequence()
	x.verified(t)
	report, err := Verify(context.Background(), VerifyOptions{Database: x.dsn, Journals: []string{t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(report.Notices, "\n"); !strings.Contains(all, "journal "+forged.epoch.String()+" of host \"\" was settled from within 24 hours, and is in none of the folders") {
		t.Errorf("notices: %s", all)
	}
}
