package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Whoever has a pseudonym has no other name: not in the journal, the database, the logs, the metrics, the pages or an export.
// Budgets know him by it, and it can be erased as any other value without a proof or a sum that breaks.
func TestPseudonyms(t *testing.T) {
	const ada, bob = "zq-ada-lovelace@example.com", "zq-bob@example.com"
	dir := openDir(t)
	key := filepath.Join(t.TempDir(), "pseudonym.key")
	command := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), keel, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("keel %s: %v: %s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	command("audit", "keys", "pseudonym", key)
	pseudonym := func(value string) string {
		_, text, _ := strings.Cut(strings.TrimSpace(command("audit", "pseudonym", value, "--pseudonym-key", key)), "\t")
		return text
	}
	config := fmt.Sprintf(`
kind: Subject
name: user
label: user
from: {header: x-keel-user}
pseudonym: true
---
kind: Budget
name: each
selector: {team: hidden}
limit: 5 USD
window: month
mode: enforce
per: [user]
---
kind: Budget
name: bob
selector: {user: %s}
limit: 0 USD
window: month
mode: enforce
`, pseudonym(bob))
	s := start(t, stackOptions{upstream: http.HandlerFunc(echo), dir: dir, config: config, args: []string{"--pseudonym-key", key}})
	call := func(s *stack, user string) *answer {
		return s.post(t, "/v1/chat/completions", `{"model":"gpt-5-mini","max_completion_tokens":50,"messages":[{"role":"user","content":"hello"}]}`, "x-keel-team: hidden", "x-keel-user: "+user)
	}
	first := call(s, ada)
	if first.status != http.StatusOK {
		t.Fatalf("status %d: %s", first.status, first.body)
	}
	if r := s.record(t, first.decision()); !strings.Contains(r["subject"], pseudonym(ada)) {
		t.Errorf("subject %s, want %s", r["subject"], pseudonym(ada))
	}
	denied := call(s, bob)
	if denied.status != http.StatusTooManyRequests || !strings.Contains(string(denied.body), "bob") || strings.Contains(string(denied.body), bob) {
		t.Errorf("the budget that names a pseudonym: status %d: %s", denied.status, denied.body)
	}
	s.record(t, denied.decision())
	s.recordWhere(t, "decision_id = '"+first.decision()+"' and leaf_hash is not null")

	for _, page := range []string{"/metrics", "/review/", "/review/decisions", "/review/statement", "/review/history"} {
		answer, err := client.Get(s.admin + page)
		if err != nil {
			t.Fatal(err)
		}
		text := string(readAllClose(t, answer))
		if answer.StatusCode != http.StatusOK || strings.Contains(text, "zq-") {
			t.Errorf("%s: status %d, a name: %v", page, answer.StatusCode, strings.Contains(text, "zq-"))
		}
	}
	exported := filepath.Join(t.TempDir(), "records.csv")
	if out, err := s.run(t, "", "audit", "export", "--since", "2000-01-01", "--until", "2100-01-01", "--out", exported); err != nil {
		t.Fatalf("export: %v: %s", err, out)
	}
	if text, err := os.ReadFile(exported); err != nil || !strings.Contains(string(text), pseudonym(ada)) || strings.Contains(string(text), "zq-") {
		t.Errorf("the export: %v\n%s", err, text)
	}
	if err := s.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	noTrace(t, s, "zq-")
	bundle := filepath.Join(t.TempDir(), "bundle.json")
	if out, err := s.run(t, "", "audit", "prove", first.decision(), "--out", bundle); err != nil {
		t.Fatalf("prove: %v: %s", err, out)
	}

	// It is erased, and everything that was proven stays so.
	public, anchor := filepath.Join(dir, "audit.key.pub"), filepath.Join(dir, "audit-anchor")
	if out, err := s.run(t, "", "audit", "erase", "--label", "user="+ada, "--pseudonym-key", key); err != nil {
		t.Fatalf("erase: %v: %s", err, out)
	}
	if found, err := s.query(t, "select to_jsonb(d) from keel.decisions d where d::text like '%"+pseudonym(ada)+"%'"); err != nil || len(found) > 0 {
		t.Errorf("after it was erased: %v, %v", found, err)
	}
	verify := func() {
		t.Helper()
		if out, err := s.run(t, "", "audit", "verify", "--key", public, "--anchor", anchor); err != nil || !strings.Contains(out, "nothing was changed") {
			t.Errorf("verify: %v: %s", err, out)
		}
		command("audit", "verify", bundle, "--key", public)
	}
	verify()

	// Who comes back has the same pseudonym again, and nothing joins it to what was before.
	again := start(t, stackOptions{upstream: http.HandlerFunc(echo), dir: dir, database: s.dsn, config: config, args: []string{"--pseudonym-key", key}})
	next := call(again, ada)
	if r := again.record(t, next.decision()); !strings.Contains(r["subject"], pseudonym(ada)) {
		t.Errorf("subject %s after he came back", r["subject"])
	}
	if err := again.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if rows, err := s.query(t, "select to_jsonb(x) from (select count(distinct account_key) as accounts from keel.accounts where budget = 'each') x"); err != nil || len(rows) != 1 || rows[0]["accounts"] != "2" {
		t.Errorf("accounts: %v, %v", rows, err)
	}
	verify()
}
