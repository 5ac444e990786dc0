package e2e

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"keel/budget/ledger/pgserver"
)

// What nobody but the provider and the client may know: it is in every prompt and every answer here.
const canary = "zq-canary-7731"

// echo answers as OpenAI does, with the canary in what it says.
func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("content-type", "application/json")
	fmt.Fprintf(w, `{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-5-mini","choices":[{"index":0,"message":{"role":"assistant","content":"%s indeed"},"finish_reason":"stop"}],"usage":{"prompt_tokens":20,"completion_tokens":10,"total_tokens":30}}`, canary)
}

// Calls through the real Envoy become evidence, which holds nothing that was said; and whoever changes
// it, with all rights and past the triggers, is found out by the binary.
func TestEvidence(t *testing.T) {
	dsn := pgserver.ForTest(t)
	s := start(t, stackOptions{upstream: http.HandlerFunc(echo), database: dsn, config: `
kind: Budget
name: evidence
selector: {team: evidence}
limit: 5 USD
window: month
mode: enforce
`})
	var ids []string
	for i := range 8 {
		got := s.post(t, "/v1/chat/completions", fmt.Sprintf(`{"model":"gpt-5-mini","max_completion_tokens":50,"messages":[{"role":"user","content":"%s %d"}]}`, canary, i), "x-keel-team: evidence", "x-keel-user: ada")
		if got.status != http.StatusOK || !bytes.Contains(got.body, []byte(canary)) {
			t.Fatalf("status %d: %s", got.status, got.body)
		}
		ids = append(ids, got.decision())
	}
	for _, id := range ids {
		s.record(t, id)
		s.recordWhere(t, "decision_id = '"+id+"' and leaf_hash is not null")
	}
	s.exec(t, "update keel.budgets set limit_usd = 6 where name = 'evidence'")
	if err := s.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	key, anchor := filepath.Join(s.dir, "audit.key.pub"), filepath.Join(s.dir, "audit-anchor")
	verify := func(dsn string) (code int, findings []struct{ Wrong, What, Why string }) {
		t.Helper()
		command := exec.CommandContext(t.Context(), keel, "audit", "verify", "--database", dsn, "--key", key, "--anchor", anchor, "--journal", filepath.Join(s.dir, "journal"), "-o", "json")
		var stdout, stderr bytes.Buffer
		command.Stdout, command.Stderr = &stdout, &stderr
		_ = command.Run() // the code says what came of it
		var report struct {
			OnDisk   int64 `json:"on_disk"`
			Findings []struct{ Wrong, What, Why string }
		}
		if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
			t.Fatalf("%v in %s%s", err, stdout.String(), stderr.String())
		}
		if report.OnDisk < 8 { // of 8 calls, and what was not tampered with
			t.Errorf("%d records of the journal were compared and are the same", report.OnDisk)
		}
		return command.ProcessState.ExitCode(), report.Findings
	}
	if code, findings := verify(dsn); code != 0 {
		t.Fatalf("before anybody tampered: code %d, %v", code, findings)
	}
	t.Run("says nothing of what was said", func(t *testing.T) { noTrace(t, s, canary) })

	bundle := filepath.Join(s.dir, "bundle.json")
	if out, err := s.run(t, "", "audit", "prove", ids[0], "--out", bundle); err != nil {
		t.Fatalf("prove: %v: %s", err, out)
	}
	if out, err := exec.CommandContext(t.Context(), keel, "audit", "verify", bundle, "--key", key).CombinedOutput(); err != nil {
		t.Errorf("verify the bundle: %v: %s", err, out)
	}

	id := ids[3]
	for name, c := range map[string]struct {
		sql         string
		wrong, what string // of a finding
	}{
		"a cost":                            {"update keel.closeouts set cost_n = cost_n / 2 where decision_id = '" + id + "'", "changed", "closeout " + id},
		"a rule of a decision":              {"update keel.decisions set rules = rules - 0 where decision_id = '" + id + "'", "changed", "decision " + id},
		"a closeout is deleted":             {"delete from keel.closeouts where decision_id = '" + id + "'", "removed", "closeout " + id},
		"a call and its leaves are deleted": {"delete from keel.closeouts where decision_id = '" + id + "'; delete from keel.decisions where decision_id = '" + id + "'; delete from keel.leaves where id = '" + id + "'", "gap", "journal "},
		"two leaves are swapped": {"update keel.leaves l set index = (select sum(index) from keel.leaves where kind = 'decision' and id in ('" + id + "', '" + ids[4] + "')) - index where kind = 'decision' and id in ('" + id + "', '" + ids[4] + "')",
			"reordered", id},
		"a decision is forged": {"insert into keel.decisions select (jsonb_populate_record(d, jsonb_build_object('decision_id', keel.uuid_at(now()), 'reason', 'forged'))).* from keel.decisions d where decision_id = '" + id + "'",
			"inserted", "decision "},
		"the end of the log is cut off": {"delete from keel.leaves where index >= 10; delete from keel.checkpoints where size > 10; delete from keel.tiles; insert into keel.tiles select 0, 0, string_agg(sha256('\\x00'::bytea || hash), '' order by index) from keel.leaves",
			"truncated", "anchor " + anchor},
		"a budget's sum": {"update keel.accounts set settled_n = settled_n - 1 where budget = 'evidence'", "sum", "budget evidence of org default"},
		"an entry":       {"update keel.entries set amount_n = amount_n + 1 where kind in ('return', 'finish')", "changed", "entry "},
		"a closeout is replaced in silence": {"insert into keel.superseded_closeouts select now(), c.* from keel.closeouts c where decision_id = '" + id + "'; update keel.closeouts set version = 2, cost_n = 0, charges = jsonb_set(charges, '{0,amount}', '0') where decision_id = '" + id +
			"'; insert into keel.outbox (org, kind, ids, versions) values ('default', 'closeout', array['" + id + "'::uuid], array[2])", "inserted", "closeout " + id + " version 2"},
		"a partition is dropped":                  {"drop table keel.closeouts_" + time.Now().UTC().Format("2006_01"), "removed", "closeout " + id},
		"a change of the configuration is gone":   {"delete from keel.config_versions where name = 'evidence' and version = 2; delete from keel.leaves l where kind = 'config' and not exists (select from keel.config_versions v where v.change_id = l.id)", "gap", "configuration of org default"},
		"an entry is moved to another budget":     {"update keel.entries set budget = 'other' where kind in ('return', 'finish')", "changed", "entry "},
		"the journal says more than the database": {"update keel.closeouts set cost_n = 1 where decision_id = '" + id + "'", "changed", "closeout " + id + " of org default journal "},
		"a document of then":                      {"update keel.config_versions set after = jsonb_set(after, '{limit_usd}', '1') where name = 'evidence' and version = 1", "changed", "Budget evidence version 1 of org default"},
	} {
		t.Run(name, func(t *testing.T) {
			copied := template(t, dsn)
			bypass(t, copied, c.sql)
			code, findings := verify(copied)
			if code != 1 {
				t.Errorf("exit code %d", code)
			}
			for _, f := range findings {
				if f.Wrong == c.wrong && strings.Contains(f.What+" "+f.Why, c.what) {
					return
				}
			}
			t.Errorf("nothing says that %s is %s, in %v", c.what, c.wrong, findings)
		})
	}
}

// noTrace looks for a text in every row, also where a column has bytes, and in every file that the processor wrote.
func noTrace(t *testing.T, s *stack, canary string) {
	rows, err := s.query(t, "select to_jsonb(x) from (select relname::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace where nspname = 'keel' and relkind in ('r', 'p')) x")
	if err != nil || len(rows) < 20 {
		t.Fatalf("%d tables, %v", len(rows), err)
	}
	for _, table := range rows {
		found, err := s.query(t, "select to_jsonb(x) from (select t::text as row from keel."+table["name"]+" t where t::text like '%"+canary+"%' or t::text like '%"+hex.EncodeToString([]byte(canary))+"%' limit 1) x")
		if err != nil || len(found) > 0 {
			t.Errorf("keel.%s: %v, %v", table["name"], found, err)
		}
	}
	files := 0
	err = filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if files++; bytes.Contains(text, []byte(canary)) {
			t.Errorf("%s has it", path)
		}
		return err
	})
	if err != nil || files < 5 {
		t.Errorf("%d files, %v", files, err)
	}
}

// template makes a copy of a database that nobody is connected to, for the time of a test.
func template(t *testing.T, dsn string) (copied string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	from := strings.TrimPrefix(u.Path, "/")
	to := from + "_copy"
	admin := *u
	admin.Path = "/postgres"
	run := func(sql string) error {
		db, err := pgx.Connect(context.Background(), admin.String())
		if err != nil {
			return err
		}
		defer db.Close(context.Background())
		_, err = db.Exec(context.Background(), sql)
		return err
	}
	if err := run("create database " + to + " template " + from); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := run("drop database " + to + " with (force)"); err != nil {
			t.Error(err)
		}
	})
	u.Path = "/" + to
	return u.String()
}

// bypass changes rows as a superuser can, past every trigger.
func bypass(t *testing.T, dsn, sql string) {
	t.Helper()
	db, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(context.Background())
	if _, err := db.Exec(t.Context(), "set session_replication_role = replica; "+sql); err != nil {
		t.Fatal(err)
	}
}
