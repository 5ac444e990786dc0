//go:build linux

package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"keel/budget/ledger/pgserver"
)

// A ledger is backed up, more is spent, the database is lost and the backup restored. Processors that start on their journals bring back every
// record of after the backup, once, with its money: those of a process that ended well, of one that was killed, and the call that it had open.
// What only the database had, an edit of a budget, is gone, and the signed log says that it was set back.
func TestRestore(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"pg_dump", "pg_restore"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s was skipped: no %s on this machine (Debian has it in the package postgresql-client)", t.Name(), tool)
		}
	}
	p := admit(t, nil)
	dir := openDir(t)
	key, anchor, backup := filepath.Join(dir, "audit.key"), filepath.Join(dir, "anchor"), filepath.Join(dir, "keel.dump")
	keelOutput(t, "audit", "keys", "new", key, "--origin", "restore.example/audit")
	grpc := p.replica.connection().Target() // Envoy goes on to it over a restart
	p.cluster.apply(t, "kind: Budget\nname: restored\nselector: {team: restored}\nlimit: 5 USD\nwindow: lifetime\nmode: enforce\n")
	p.replica.args = append(p.replica.args, "--grpc", grpc, "--audit-key", key, "--audit-anchor", anchor, "--audit-anchor-every", "100ms")
	p.restart(syscall.SIGTERM)
	p.calls(3)

	ran(t, "pg_dump", "--format=custom", "--file="+backup, p.dsn)
	before := p.spent()
	p.calls(4)
	p.restart(syscall.SIGTERM) // its journal is settled and finished, after the backup
	p.calls(5)
	if err := p.cluster.sql("update keel.budgets set limit_usd = 6 where name = 'restored'"); err != nil {
		t.Fatal(err)
	}
	go func() {
		request, _ := http.NewRequest(http.MethodPost, p.url+"/v1/chat/completions", strings.NewReader(chatCall))
		setHeaders(request, []string{"x-keel-team: restored", "x-slow: yes"})
		if response, err := client.Do(request); err == nil {
			response.Body.Close()
		}
	}()
	p.recordWhere(t, "outcome = 'open'")
	if err := p.replica.end(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	close(p.slow)
	after := p.spent()
	if len(before) != 3 || len(after) != 13 {
		t.Fatalf("%d records before the backup, %d after it", len(before), len(after))
	}
	if code, out := p.verify(key, anchor); code != 0 {
		t.Fatalf("before the loss: exit status %d\n%s", code, out)
	}

	// The loss.
	p.dsn = pgserver.ForTest(t)
	p.cluster.dsn = p.dsn
	ran(t, "pg_restore", "--exit-on-error", "--no-owner", "--dbname="+p.dsn, backup)
	p.whole()
	if got := p.spent(); !maps.Equal(got, before) {
		t.Fatalf("restored: %v, want %v", got, before)
	}

	p.replica.dsn, p.replica.proxy = p.dsn, nil
	if err := p.replica.start(); err != nil {
		t.Fatal(err)
	}
	// The call that was open is charged at its hold; of all others every figure is what it was.
	var got map[string]string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if got = p.spent(); len(got) == len(after) && !slices.ContainsFunc(slices.Collect(maps.Values(got)), func(s string) bool { return strings.HasPrefix(s, "open") }) {
			break
		}
	}
	orphans := 0
	for id, was := range after {
		switch is := got[id]; {
		case strings.HasPrefix(was, "open") && strings.HasPrefix(is, "orphaned"):
			orphans++
		case is != was:
			t.Errorf("decision %s: %q, was %q", id, is, was)
		}
	}
	if orphans != 1 || len(got) != len(after) {
		t.Errorf("%d orphans in %d records", orphans, len(got))
	}
	p.whole()
	type sums struct{ Limit, Settled, Spent string }
	found, err := rows[sums](p.cluster, `select limit_usd::text, settled_usd::text, (select sum(actual_cost_usd) from keel.spend_records where subject->>'team' = 'restored')::text
		from keel.budget_status where budget = 'restored'`)
	if err != nil || len(found) != 1 || nano(t, found[0].Settled) != nano(t, found[0].Spent) || nano(t, found[0].Limit) != 5e9 {
		t.Errorf("%v, %v: want what is settled to be what was spent, and the limit of the backup", found, err)
	}
	if code, out := p.verify(key, anchor); code != 1 || !strings.Contains(out, "checkpoint") && !strings.Contains(out, "truncated") {
		t.Errorf("a log that was set back: exit status %d\n%s", code, out)
	}
	p.calls(1) // and it goes on
	p.continueLog(key, anchor)
}

var bashBlock = regexp.MustCompile("(?s)```bash\n(.*?)```")

// continueLog does with the log what docs/operate.md says, by its commands: it is not signed, doctor says so and what to run, it is declared, and is signed again.
func (p *patient) continueLog(key, anchor string) {
	t := p.t
	t.Helper()
	doctor := func(refuses bool) {
		t.Helper()
		var out []byte
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
			out, _ = exec.Command(keel, "doctor", "--admin", p.replica.admin, "-o", "json").Output() // its exit status says that something is wrong
			if strings.Contains(string(out), fmt.Sprint("refuses to sign the audit log: ", refuses)) {
				break
			}
		}
		if !strings.Contains(string(out), fmt.Sprint("refuses to sign the audit log: ", refuses)) || refuses != strings.Contains(string(out), "keel audit continue --key NEW.key --old-key OLD.key") {
			t.Errorf("keel doctor: want %v\n%s", refuses, out)
		}
	}
	doctor(true)
	page, err := os.ReadFile(filepath.Join(root(t), "docs", "operate.md"))
	if err != nil {
		t.Fatal(err)
	}
	next := filepath.Join(filepath.Dir(key), "audit-2.key")
	names := strings.NewReplacer("keel.example.com", "restore.example", "audit-2.key", next, "--old-key audit.key", "--old-key "+key, "audit-anchor", anchor, "--journal journal", "--journal "+p.replica.journal)
	var commands []string
	for _, m := range bashBlock.FindAllSubmatch(page, -1) {
		commands = append(commands, strings.Split(strings.TrimSpace(string(m[1])), "\n")...)
	}
	if len(commands) != 4 {
		t.Fatalf("docs/operate.md has %d commands for it", len(commands))
	}
	does := func(command string) (said string) {
		t.Helper()
		shell := exec.Command("sh", "-c", names.Replace(command))
		shell.Env = append(os.Environ(), "PATH="+filepath.Dir(keel)+":"+os.Getenv("PATH"), "KEEL_DATABASE_URL="+p.dsn)
		text, _ := shell.CombinedOutput() // what it says is judged: a log that was continued is never whole again
		return string(text)
	}
	does(commands[0])
	if said := does(commands[1]); !strings.Contains(said, "leaves that it had signed are lost") || !strings.Contains(said, "nothing was changed") {
		t.Fatalf("%s\n%s", commands[1], said)
	}
	doctor(true)
	if said := does(commands[2]); !strings.Contains(said, "declared; restart processors with --audit-key") {
		t.Fatalf("%s\n%s", commands[2], said)
	}
	for i, arg := range p.replica.args {
		if arg == key {
			p.replica.args[i] = next
		}
	}
	p.restart(syscall.SIGTERM)
	p.calls(2)
	doctor(false)
	// What was new is signed, and the break is all that there is to say.
	var said string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if said = does(commands[3]); strings.Contains(said, "the log is not whole: it has 1 breaks") && !strings.Contains(said, "are not signed") {
			break
		}
	}
	t.Logf("%s\n%s", commands[3], said)
	for _, wrong := range []string{"truncated", "checkpoint:", "inserted", "removed", "changed:"} {
		if strings.Contains(said, "\n"+wrong) || strings.HasPrefix(said, wrong) {
			t.Errorf("%s\n%s", commands[3], said)
		}
	}
	if !strings.Contains(said, "the log is not whole: it has 1 breaks") {
		t.Errorf("%s\n%s", commands[3], said)
	}
	p.whole()
}

func ran(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// restart ends the process and starts the next one on its journal.
func (p *patient) restart(signal syscall.Signal) {
	p.t.Helper()
	if err := p.replica.end(signal); err != nil {
		p.t.Fatal(err)
	}
	if err := p.replica.start(); err != nil {
		p.t.Fatal(err)
	}
}

// calls makes n calls and waits until each is a record.
func (p *patient) calls(n int) {
	p.t.Helper()
	for range n {
		var a *answer
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			if a = p.post(p.t, "/v1/chat/completions", chatCall, "x-keel-team: restored"); a.status == http.StatusOK {
				break // Envoy has found the processor again
			}
		}
		p.recordWhere(p.t, fmt.Sprintf("decision_id = '%s' and outcome = 'complete' and leaf_hash is not null", a.decision()))
	}
}

// spent is every record of the team: how it ended and what it cost.
func (p *patient) spent() map[string]string {
	p.t.Helper()
	found, err := rows[struct{ ID, What string }](p.cluster, "select decision_id::text, format('%s %s %s', outcome, actual_cost_usd, epoch) from keel.spend_records where subject->>'team' = 'restored'")
	if err != nil {
		p.t.Fatal(err)
	}
	all := make(map[string]string)
	for _, f := range found {
		if all[f.ID] != "" {
			p.t.Errorf("decision %s is there twice", f.ID)
		}
		all[f.ID] = f.What
	}
	return all
}

// whole holds the ledger against itself.
func (p *patient) whole() {
	p.t.Helper()
	if out, err := p.cluster.run(keel, "ledger", "check", "--database", p.dsn); err != nil {
		p.t.Errorf("keel ledger check: %v\n%s", err, out)
	}
}

func (p *patient) verify(key, anchor string) (code int, out string) {
	p.t.Helper()
	command := exec.Command(keel, "audit", "verify", "--database", p.dsn, "--key", key+".pub", "--anchor", anchor)
	text, _ := command.CombinedOutput() // the code says what came of it
	return command.ProcessState.ExitCode(), string(text)
}
