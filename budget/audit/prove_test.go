package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"keel/budget/audit/leaf"
	"keel/budget/audit/log"
	"keel/budget/ledger"
)

func (l *lab) prove(t *testing.T, id uuid.UUID, open bool) []byte {
	t.Helper()
	b, err := Prove(t.Context(), l.dsn, id, open)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A bundle proves a decision, what it cost, what was corrected, and the documents that were active.
func TestBundle(t *testing.T) {
	t.Parallel()
	x := newTampered(t)
	keys, _ := log.ParseKeys(x.key.Public)
	corrected := x.prove(t, x.calls[20].ID, true)
	checked, err := CheckBundle(bytes.NewReader(corrected), keys)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, r := range checked.Records {
		kinds = append(kinds, string(r.Kind))
	}
	if got := strings.Join(kinds, " "); got != "decision closeout closeout entry config" {
		t.Errorf("the bundle has %s", got)
	}
	if len(checked.Labels) != 2 {
		t.Errorf("labels: %v", checked.Labels)
	}
	if closed := x.prove(t, x.calls[0].ID, false); bytes.Contains(closed, []byte(`"ada"`)) || bytes.Contains(closed, []byte("research")) {
		t.Errorf("a bundle without labels tells them: %s", closed)
	}
	id := query[uuid.UUID](x.lab, "select change_id from keel.config_versions where version = 2")
	if _, err := CheckBundle(bytes.NewReader(x.prove(t, id, true)), keys); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct{ old, new, want string }{
		"a field":           {`"cost_n",`, `"cost",`, "its fields are not those of its leaf"},
		"a place":           {`"index": 45`, `"index": 44`, "closeout"},
		"a value":           {`"12"`, `"13"`, "its fields are not those of its leaf"},
		"a label":           {`"value": "ada"`, `"value": "bob"`, "the commitment to label user is not to"},
		"the size":          {`audit\n47\n`, `audit\n48\n`, "its checkpoint"},
		"whose it is":       {`"org": "acme",`, `"org": "umbrella",`, "its leaf is of org"},
		"what is not there": {`"format"`, `"formats"`, "unknown field"},
	} {
		forged := strings.Replace(string(corrected), c.old, c.new, 1)
		if forged == string(corrected) {
			t.Errorf("%s: nothing to forge", name)
		}
		if _, err := CheckBundle(strings.NewReader(forged), keys); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	x.books.calls(1, "ada")
	if _, err := Prove(t.Context(), x.dsn, query[uuid.UUID](x.lab, "select decision_id from keel.decisions order by stored_at desc limit 1"), true); !errors.Is(err, ErrNotSigned) {
		t.Errorf("before it is in the log: %v", err)
	}
}

// Whoever has Python and the public key needs nothing of ours.
func TestBundleWithoutKeel(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	x := newTampered(t)
	dir := t.TempDir()
	run := func(bundle []byte, key string) (string, error) {
		file := filepath.Join(dir, "bundle.json")
		if err := os.WriteFile(file, bundle, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), python, filepath.Join("testdata", "verify.py"), file, key).CombinedOutput()
		return string(out), err
	}
	for _, d := range x.calls {
		bundle := x.prove(t, d.ID, true)
		out, err := run(bundle, x.key.Public)
		if err != nil || !strings.Contains(out, "decision "+d.ID.String()+" is leaf ") || !strings.Contains(out, "cost_n: ") || !strings.Contains(out, `"team": "research"`) {
			t.Fatalf("%v: %s", err, out)
		}
		if d == x.calls[3] {
			break // and the one that was corrected
		}
	}
	bundle := x.prove(t, x.calls[20].ID, true)
	if out, err := run(bundle, x.key.Public); err != nil || strings.Count(out, "cost_n: ") != 2 {
		t.Errorf("%v: %s", err, out)
	}
	other, _ := NewPrivateKey(x.key.Origin())
	for name, out := range map[string]func() (string, error){
		"another key": func() (string, error) { return run(bundle, other.Public) },
		"a field": func() (string, error) {
			return run(bytes.Replace(bundle, []byte(`"12"`), []byte(`"13"`), 1), x.key.Public)
		},
		"a size": func() (string, error) {
			return run(bytes.Replace(bundle, []byte(`audit\n47\n`), []byte(`audit\n48\n`), 1), x.key.Public)
		},
		"a label": func() (string, error) {
			return run(bytes.Replace(bundle, []byte(`"value": "ada"`), []byte(`"value": "bob"`), 1), x.key.Public)
		},
	} {
		if text, err := out(); err == nil || !strings.Contains(text, "it does not hold") {
			t.Errorf("%s: %v: %s", name, err, text)
		}
	}
}

// Erasing takes a value out of every column, and changes no leaf, no proof and no sum.
func TestErase(t *testing.T) {
	t.Parallel()
	x := newTampered(t)
	keys, _ := log.ParseKeys(x.key.Public)
	before := x.prove(t, x.calls[1].ID, true)
	leaves := query[string](x.lab, "select md5(string_agg(encode(hash, 'hex'), '' order by index)) from keel.leaves")
	x.books.calls(1, bob) // on its way into the log
	const sums = "select string_agg(concat_ws(' ', budget, settled_n), ', ' order by budget, settled_n) from keel.accounts"
	settled := query[string](x.lab, sums)
	if !strings.Contains(x.everything()["decisions"], bob) {
		t.Error("keel.decisions never had it")
	}
	erased, err := Erase(t.Context(), x.dsn, "acme", "user", bob)
	if err != nil {
		t.Fatal(err)
	}
	if !leaf.Committed(erased.Pseudonym) || erased.Rows == 0 {
		t.Errorf("%+v", erased)
	}
	for table, text := range x.everything() {
		if strings.Contains(text, bob) {
			t.Errorf("keel.%s still has it: %.300s", table, text)
		}
	}
	x.verified(t)
	x.sequence()
	x.verified(t)
	if got := query[string](x.lab, "select md5(string_agg(encode(hash, 'hex'), '' order by index)) from keel.leaves where index < 47"); got != leaves {
		t.Error("leaves changed")
	}
	if got := query[string](x.lab, "select count(*)::text from keel.accounts where account_key = 'user="+erased.Pseudonym+"'"); got != "1" {
		t.Errorf("%s accounts have the pseudonym", got)
	}
	if got := query[string](x.lab, sums); got != settled {
		t.Errorf("accounts have %s, had %s", got, settled)
	}
	after := x.prove(t, x.calls[1].ID, true)
	for when, bundle := range map[string][]byte{"before": before, "after": after} {
		if _, err := CheckBundle(bytes.NewReader(bundle), keys); err != nil {
			t.Errorf("the bundle of %s: %v", when, err)
		}
	}
	if bytes.Contains(after, []byte(bob)) || !bytes.Contains(after, []byte("research")) {
		t.Errorf("after the erasure the bundle says %s", after)
	}
	// The same person comes back: somebody new.
	x.books.calls(1, bob)
	x.sequence()
	x.verified(t)
	if _, err := Erase(t.Context(), x.dsn, "acme", "user", "nobody"); err == nil {
		t.Error("erased nobody")
	}
}

// A team that is erased is erased from statements, which still add up to the records.
func TestEraseTeam(t *testing.T) {
	t.Parallel()
	x := newTampered(t)
	store, err := ledger.OpenStore(t.Context(), x.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := store.FoldStatements(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.books.calls(1, "ann") // on their way into statements
	erased, err := Erase(t.Context(), x.dsn, "acme", "team", "research")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.FoldStatements(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := query[string](x.lab, "select string_agg(distinct team, ' ') from keel.statements"); got != erased.Pseudonym {
		t.Errorf("statements are of teams %q, want %q", got, erased.Pseudonym)
	}
	report, err := ledger.Check(t.Context(), x.dsn, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range report.Violations {
		if strings.HasPrefix(v.Invariant, "I13") {
			t.Error(v)
		}
	}
}

// everything is every row of every table as text.
func (l *lab) everything() map[string]string {
	l.t.Helper()
	all := make(map[string]string)
	for _, table := range query[[]string](l, "select array_agg(relname::text) from pg_class c join pg_namespace n on n.oid = c.relnamespace where nspname = 'keel' and relkind in ('r', 'p')") {
		all[table] = query[string](l, "select coalesce(string_agg(t::text, E'\n'), '') from keel."+table+" t")
	}
	if len(all) < 20 {
		l.t.Fatalf("%d tables", len(all))
	}
	return all
}
