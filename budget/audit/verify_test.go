package audit

import (
	"context"
	"strings"
	"testing"

	"github.com/google/uuid"

	"keel/budget"
	"keel/budget/audit/log"
	"keel/budget/ledger/escrow"
)

func (l *lab) verify(t testing.TB) *Report {
	t.Helper()
	keys, err := log.ParseKeys(l.key.Public)
	if err != nil {
		t.Fatal(err)
	}
	report, err := Verify(context.Background(), VerifyOptions{Database: l.dsn, Keys: keys, Anchors: []Anchor{l.anchor}})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// verified fails unless all is as it should be.
func (l *lab) verified(t testing.TB) *Report {
	t.Helper()
	report := l.verify(t)
	for _, f := range report.Findings {
		t.Errorf("found %s", f)
	}
	return report
}

// tampered is a ledger with all kinds of records, sequenced and anchored.
type tampered struct {
	*lab
	books *books
	calls []*budget.Decision
	size  int64
}

// bob makes every other call. His name can't be in a key, a signature or a hash by chance: base64 has no "@".
const bob = "bob@example.com"

func newTampered(t testing.TB) *tampered {
	t.Helper()
	l := newLab(t)
	l.exec(`insert into keel.budgets (org, name, limit_usd) values ('acme', 'all', 1)`)
	l.exec(`update keel.budgets set limit_usd = 2`)
	b := l.books()
	x := &tampered{lab: l, books: b, calls: b.calls(20, "ada", bob)}
	// One that is presumed, and closed after all: a correction.
	d := call("ada")
	b.settle(escrow.Record{Decision: d})
	l.exec("update keel.open_decisions set opened_at = opened_at - interval '2 days'")
	if _, err := l.bank.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.sequence()
	b.settle(closed(d, end(d, 12)))
	x.calls = append(x.calls, d)
	x.size = l.sequence()
	return x
}

// bypass runs statements as a superuser who keeps triggers from telling.
func (x *tampered) bypass(statements ...string) {
	x.t.Helper()
	x.exec("set session_replication_role = replica; " + strings.Join(statements, "; ") + "; set session_replication_role = origin")
}

func TestVerifyFindsNothingWhereNothingIs(t *testing.T) {
	t.Parallel()
	x := newTampered(t)
	report := x.verified(t)
	// 2 versions of a budget, 21 decisions, 21 closeouts and one that was superseded, an entry that says so, the key.
	if report.Leaves != 47 || report.Records != 47 || report.Pending != 0 || report.Signed != 47 || report.Journals != 1 || report.Accounts != 3 || report.Anchored != 2 {
		t.Errorf("%+v", report)
	}
	x.books.calls(3, "ada")
	if report := x.verified(t); report.Pending != 6 || report.Records != 47 {
		t.Errorf("with 6 records on their way: %+v", report)
	}
	x.sequence()
	x.verified(t)
}

// Every way to tamper is found, and says what was tampered with.
func TestTampering(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tamper func(x *tampered)
		want   func(x *tampered) []string // what a line of findings begins with, or has
	}{
		"a cost is changed": {
			func(x *tampered) {
				x.bypass("update keel.closeouts set cost_n = cost_n - 1 where decision_id = '" + x.id(3) + "'")
			},
			func(x *tampered) []string { return []string{"changed: closeout " + x.id(3)} },
		},
		"a cost and what it charged are changed, and the account too": {
			func(x *tampered) {
				x.bypass("update keel.closeouts set cost_n = 0, charges = jsonb_set(charges, '{0,amount}', '0') where decision_id = '"+x.id(3)+"'",
					"update keel.accounts set settled_n = settled_n - 4 where budget = 'all'")
			},
			func(x *tampered) []string { return []string{"changed: closeout " + x.id(3)} },
		},
		"a rule of a decision is changed": {
			func(x *tampered) {
				x.bypass("update keel.decisions set rules = '[]' where decision_id = '" + x.id(4) + "'")
			},
			func(x *tampered) []string { return []string{"changed: decision " + x.id(4)} },
		},
		"a label of a decision is changed": {
			func(x *tampered) {
				x.bypass(`update keel.decisions set subject = '{"team": "sales", "user": "ada"}' where decision_id = '` + x.id(4) + "'")
			},
			func(x *tampered) []string {
				return []string{"changed: decision " + x.id(4), `label team has the value "sales"`}
			},
		},
		"labels of two decisions are swapped": {
			func(x *tampered) {
				x.bypass(`update keel.decisions set subject = '{"team": "research", "user": "` + bob + `"}' where decision_id = '` + x.id(4) + "'")
			},
			func(x *tampered) []string { return []string{"changed: decision " + x.id(4)} },
		},
		"a closeout is deleted": {
			func(x *tampered) { x.bypass("delete from keel.closeouts where decision_id = '" + x.id(5) + "'") },
			func(x *tampered) []string {
				return []string{"removed: closeout " + x.id(5), "gap: journal " + x.books.epoch.String(), "records are missing: 12", "sum: budget all of org acme"}
			},
		},
		"a decision, its closeout and their leaves are deleted": {
			func(x *tampered) {
				x.bypass("delete from keel.closeouts where decision_id = '"+x.id(5)+"'", "delete from keel.decisions where decision_id = '"+x.id(5)+"'", "delete from keel.leaves where id = '"+x.id(5)+"'",
					"update keel.accounts set settled_n = settled_n - 6 where budget = 'all' or account_key = 'user="+bob+"'")
			},
			func(x *tampered) []string {
				return []string{"removed: leaf 7", "removed: leaf 27", "2 of 42 records are missing: 11 to 12"}
			},
		},
		"and the tree is made anew without them": {
			func(x *tampered) {
				x.bypass("delete from keel.closeouts where decision_id = '"+x.id(5)+"'", "delete from keel.decisions where decision_id = '"+x.id(5)+"'", "delete from keel.leaves where id = '"+x.id(5)+"'",
					"update keel.leaves l set index = n.n from (select org, kind, id, version, row_number() over (order by index) - 1 as n from keel.leaves) n where (n.org, n.kind, n.id, n.version) = (l.org, l.kind, l.id, l.version)",
					"update keel.accounts set settled_n = settled_n - 6 where budget = 'all' or account_key = 'user="+bob+"'")
				x.retile()
			},
			func(x *tampered) []string {
				return []string{"checkpoint: checkpoint of size 45 in the database: the first 45 leaves are not those that were signed", "truncated: checkpoint of size 47 in the database", "2 of 42 records are missing"}
			},
		},
		"two leaves change places": {
			func(x *tampered) {
				x.bypass("update keel.leaves set index = 100 where index = 7", "update keel.leaves set index = 7 where index = 9", "update keel.leaves set index = 9 where index = 100")
			},
			func(x *tampered) []string {
				return []string{"reordered: leaf 7 (decision " + x.id(7), "reordered: leaf 9 (decision " + x.id(5)}
			},
		},
		"a forged decision": {
			func(x *tampered) {
				x.bypass("insert into keel.decisions select (r).* from (select jsonb_populate_record(d, jsonb_build_object('decision_id', keel.uuid_at(now()))) as r from keel.decisions d where decision_id = '" + x.id(2) + "') f")
			},
			func(x *tampered) []string {
				return []string{"inserted: decision ", "has no leaf", "as another one does"}
			},
		},
		"a forged decision that is announced to the log": {
			func(x *tampered) {
				x.bypass("insert into keel.decisions select (r).* from (select jsonb_populate_record(d, jsonb_build_object('decision_id', keel.uuid_at(now()), 'seq', null)) as r from keel.decisions d where decision_id = '"+x.id(2)+"') f",
					"insert into keel.outbox (org, kind, ids) select org, 'decision', array[decision_id] from keel.decisions where seq is null")
				x.sequence()
			},
			func(x *tampered) []string {
				return []string{"inserted: decision ", "no processor decided it"}
			},
		},
		"the end of the log and its checkpoints are cut off": {
			func(x *tampered) {
				x.bypass("delete from keel.checkpoints where size = 47", "delete from keel.leaves where index >= 44", "delete from keel.superseded_closeouts",
					"delete from keel.entries", "delete from keel.closeouts where version = 2", "update keel.epochs set applied_seq = 41")
				x.retile()
			},
			func(x *tampered) []string {
				return []string{"truncated: checkpoint of size 47 in anchor ", "the log has only 44 leaves: 3 that were signed are missing"}
			},
		},
		"an entry is changed": {
			func(x *tampered) { x.bypass("update keel.entries set amount_n = 1") },
			func(x *tampered) []string { return []string{"changed: entry ", "(superseded)"} },
		},
		"a budget's sum is changed": {
			func(x *tampered) {
				x.bypass("update keel.accounts set settled_n = settled_n - 1, forced_n = forced_n - 1 where budget = 'each' and account_key = 'user=ada'")
			},
			func(x *tampered) []string {
				return []string{"sum: budget each of org acme for user=ada, window ", "the account says that 111 nano-dollars are settled, its closeouts and entries come to 112"}
			},
		},
		"a version of a document is changed": {
			func(x *tampered) {
				x.bypass(`update keel.config_versions set after = jsonb_set(after, '{limit_usd}', '3') where version = 2`, "update keel.budgets set limit_usd = 3")
			},
			func(x *tampered) []string { return []string{"changed: Budget all version 2 of org acme"} },
		},
		"a document is changed without a version": {
			func(x *tampered) { x.bypass("update keel.budgets set limit_usd = 3") },
			func(x *tampered) []string {
				return []string{"not applied: Budget all of org acme: limit_usd is 3, and version 2 says 2"}
			},
		},
		"what a correction replaced is deleted": {
			func(x *tampered) { x.bypass("delete from keel.superseded_closeouts") },
			func(x *tampered) []string { return []string{"removed: closeout " + x.id(20)} },
		},
		"a digest is changed, with its leaf, its tile and the tree": {
			func(x *tampered) {
				x.bypass("update keel.decisions set digest = sha256('x') where decision_id = '" + x.id(2) + "'")
				x.releaf(x.calls[2].ID)
				x.retile()
			},
			func(x *tampered) []string {
				return []string{"changed: journal " + x.books.epoch.String(), "checkpoint: checkpoint of size 45 in the database"}
			},
		},
		"and signed anew with the key": {
			func(x *tampered) {
				x.bypass("update keel.closeouts set raw_usage = '{}' where decision_id = '"+x.id(2)+"'", "delete from keel.checkpoints")
				x.releaf(x.calls[2].ID)
				x.retile()
				anchor := x.anchor
				x.anchor, _ = OpenAnchor(x.t.TempDir())
				x.sequence()
				x.anchor = anchor
			},
			func(x *tampered) []string {
				return []string{"checkpoint: checkpoint of size 45 in anchor ", "checkpoint: checkpoint of size 47 in anchor "}
			},
		},
		"a checkpoint is signed by somebody else": {
			func(x *tampered) {
				other, _ := NewPrivateKey(x.key.Origin())
				tree := log.NewTree(tilesOf(context.Background(), x.pool), x.size)
				root, _ := tree.Root(x.size)
				signed, _ := log.Sign(log.Checkpoint{Origin: other.Origin(), Size: x.size, Root: root}, other)
				x.exec("update keel.checkpoints set note = $1 where size = 47", signed)
			},
			func(x *tampered) []string { return []string{"signature: checkpoint of size 47 in the database"} },
		},
		"an old month is said to be retired, and one record is gone": {
			func(x *tampered) {
				x.bypass("delete from keel.closeouts where decision_id = '"+x.id(5)+"'", "update keel.db_state set retired = now() + interval '1 year'")
			},
			func(x *tampered) []string { return []string{"removed: closeout " + x.id(5)} },
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
			all := strings.Join(lines, "\n")
			for _, want := range c.want(x) {
				if !strings.Contains("\n"+all, want) {
					t.Errorf("nothing says %q in\n%s", want, all)
				}
			}
		})
	}
}

func (x *tampered) id(i int) string { return x.calls[i].ID.String() }

// releaf makes the leaves of a decision again, as somebody would who knows the code.
func (x *tampered) releaf(id uuid.UUID) {
	x.t.Helper()
	known := commitments{known: make(map[labelValue]string)}
	if err := known.load(context.Background(), x.pool, "select org, label, value, salt from keel.label_values"); err != nil {
		x.t.Fatal(err)
	}
	records, err := readRecords(context.Background(), x.pool, known, "acme", id)
	if err != nil || len(records) == 0 {
		x.t.Fatalf("%d records, %v", len(records), err)
	}
	for _, r := range records {
		x.exec("update keel.leaves set hash = $1 where id = $2 and kind = $3 and version = $4", r.hash[:], r.ID, string(r.Kind), r.Version)
	}
}

// retile makes the tree again from the leaves.
func (x *tampered) retile() {
	x.t.Helper()
	rows, err := x.pool.Query(context.Background(), "select hash from keel.leaves order by index")
	if err != nil {
		x.t.Fatal(err)
	}
	tree := log.NewTree(nil, 0)
	for rows.Next() {
		if err := tree.Append(append([]byte(nil), rows.RawValues()[0]...)); err != nil {
			x.t.Fatal(err)
		}
	}
	x.exec("delete from keel.tiles")
	for id, data := range tree.Grown() {
		x.exec("insert into keel.tiles values ($1, $2, $3)", id.Level, id.N, data)
	}
}
