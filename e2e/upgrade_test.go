//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"

	"keel/budget/ledger/pgserver"
	"keel/envoy"
	"keel/filter/wire/sample"
)

// nextSchema is a migration of the release after this one, as docs/upgrade.md lets it be: nothing but nullable columns, also in
// superseded_closeouts. It serves the binary under test, which is then of the release before.
const nextSchema = `
alter table keel.decisions add column of_the_next_release text;
alter table keel.closeouts add column of_the_next_release text;
alter table keel.superseded_closeouts add column of_the_next_release text;
create table keel.of_the_next_release (id integer primary key);
insert into keel.migrations (id, name, hash, serves) select max(id) + 1, 'next.sql', 'x', max(id) from keel.migrations`

// Two processors behind one Envoy are replaced one after the other under load, on a schema that is a release ahead. The first is
// replaced while it can't reach the database, so its journal is what the next process goes on with. No call fails, none is lost
// and none is charged twice.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	provider := sample.New(sample.Options{Keep: 100_000})
	server := httptest.NewServer(provider)
	defer server.Close()
	c := startCluster(t, keel, pgserver.ForTest(t), 2, false, failingConfig)
	for i, r := range c.replicas { // each comes back where Envoy looks for it
		r.args = append(r.args, "--grpc", r.connection().Target(), "--drain", "40s", "--orphan-after", "60s")
		if err := r.end(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			r.behind(t)
		}
		if err := r.start(); err != nil {
			t.Fatal(err)
		}
	}
	e, err := envoy.Start(t.Context(), envoy.Options{
		Dir: filepath.Join(openDir(t), "envoy"), Cache: cacheDir(t), Progress: os.Stderr, Concurrency: 1,
		Config: envoy.Config{
			Processor: c.replicas[0].connection().Target(),
			Providers: []envoy.Provider{{Name: "openai", Host: "api.openai.com", Address: server.URL}},
		},
		Amend: func(b *bootstrapv3.Bootstrap) {
			for _, name := range []string{"keel_processor", "keel_access_log"} {
				replicas := clusterOf(b, name).LoadAssignment.Endpoints[0]
				replicas.LbEndpoints = append(replicas.LbEndpoints, endpoint(c.replicas[1].connection().Target(), nil))
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Stop()
	m := &failingMesh{cluster: c, stack: &stack{url: "http://" + e.Listen(), dsn: c.dsn}, envoyAdmin: "http://" + e.Admin()}
	alive := func(n int) {
		waitFor(t, fmt.Sprintf("%d healthy replicas", n), func() bool { return m.counter(t, "cluster.keel_processor.membership_healthy") == n })
	}
	alive(2)

	var number, failed atomic.Int64
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 6 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				n := number.Add(1)
				body := `{"model":"gpt-5-mini","max_completion_tokens":30,"messages":[{"role":"user","content":"Hello there."}]}`
				headers := []string{"x-keel-team: strict", fmt.Sprintf("x-keel-user: u%d", n)}
				if n%2 == 0 {
					body, headers = strings.Replace(body, `"max`, `"stream":true,"max`, 1), append(headers, "x-sample-chunk-delay: 100ms", "x-sample-output-tokens: 20")
				}
				if got := m.post(t, chatPath, body, headers...); got.status != http.StatusOK || got.err != nil {
					failed.Add(1)
					t.Errorf("call %d: status %d, %v: %s", n, got.status, got.err, tail(got.body, 300))
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	if err := c.sql(nextSchema); err != nil { // while the release before runs
		t.Error(err)
	}
	for i, r := range c.replicas {
		said := len(r.output.String())
		ended := make(chan error, 1)
		go func() { ended <- r.end(syscall.SIGTERM) }()
		alive(1)
		if i == 0 {
			r.proxy.leave(true)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if i == 0 {
			r.proxy.leave(false)
		}
		if err := r.start(); err != nil {
			t.Fatal(err)
		}
		alive(2)
		if i == 0 && !strings.Contains(r.output.String()[said:], "settling the journal of an earlier epoch") {
			t.Error("the new process found nothing in the journal: the test hands nothing over")
		}
	}
	time.Sleep(time.Second)
	close(stop)
	load.Wait()

	calls := int(number.Load())
	type books struct {
		Rows, Users, Complete int
		Same                  bool
	}
	var got []books
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		got, err = rows[books](c, `
select count(*), count(distinct subject->>'user'), count(*) filter (where outcome = 'complete' and metered = 'provider' and attempts = 1),
  sum(actual_cost_usd) = (select sum(settled_usd) from keel.budget_status where budget = 'strict') from keel.spend_records`)
		if err != nil {
			t.Fatal(err)
		}
		if got[0] == (books{calls, calls, calls, true}) {
			break
		}
	}
	if got[0] != (books{calls, calls, calls, true}) || len(provider.Served()) != calls {
		t.Errorf("%d calls, %d failed, %d at the provider; on record %+v", calls, failed.Load(), len(provider.Served()), got[0])
	}
	if out, err := c.run(keel, "ledger", "check", "--database", c.dsn); err != nil {
		t.Errorf("keel ledger check: %v\n%s", err, out)
	}
	t.Logf("%d calls while two replicas were replaced, %d failed; on record: %+v", calls, failed.Load(), got[0])

	// A migration that does not serve it keeps a process of the release before out, and says what to do.
	if err := c.sql("insert into keel.migrations (id, name, hash) select max(id) + 1, 'afternext.sql', 'x' from keel.migrations"); err != nil {
		t.Fatal(err)
	}
	r := c.replicas[1]
	if err := r.end(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := r.start(); err == nil || !strings.Contains(err.Error(), "use a newer keel") {
		t.Errorf("on a schema that does not serve it: %v", err)
	}
}
