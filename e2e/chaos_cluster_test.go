//go:build linux

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// chaosConfig is what every cluster of these tests starts with; budgets come later.
const chaosConfig = `
kind: Subject
name: org
from: {header: x-keel-org}
label: org
---
kind: Subject
name: team
from: {header: x-keel-team}
label: team
---
kind: Subject
name: user
from: {header: x-keel-user}
label: user
---
kind: Price
name: chaos
provider: openai
model: gpt-5-mini
effective_from: 2020-01-01
per_million: {input: 1, cached_input: 1, output: 10 USD}
`

// cluster is several replicas on one Postgres.
type cluster struct {
	dsn      string // straight to Postgres
	replicas []*replica
}

// startCluster migrates the database, stores the configuration and starts n
// replicas. frail ones have a proxy before Postgres and a small disk of their own.
func startCluster(t *testing.T, binary, dsn string, n int, frail bool, config string, env ...string) *cluster {
	t.Helper()
	c := &cluster{dsn: dsn}
	if out, err := c.run(binary, "migrate", "--database", dsn); err != nil {
		t.Fatalf("keel migrate: %v\n%s", err, out)
	}
	c.apply(t, chaosConfig+config)
	for i := range n {
		r := newReplica(t, i, binary, dsn, filepath.Join(openDir(t), strconv.Itoa(i)))
		r.env = env
		if frail {
			r.behind(t)
			r.onSmallDisk(t)
		}
		c.replicas = append(c.replicas, r)
	}
	var starting sync.WaitGroup
	failed := make([]error, n)
	for i, r := range c.replicas {
		starting.Go(func() { failed[i] = r.start() })
	}
	starting.Wait()
	for _, err := range failed {
		if err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *cluster) run(binary string, args ...string) (string, error) {
	out, err := exec.Command(binary, args...).CombinedOutput()
	return string(out), err
}

// apply stores documents, as a person would.
func (c *cluster) apply(t *testing.T, documents string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "chaos.yaml")
	if err := os.WriteFile(file, []byte(documents), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := c.run(keel, "apply", "-f", file, "--database", c.dsn); err != nil {
		t.Fatalf("keel apply: %v\n%s", err, out)
	}
}

// sql runs one statement.
func (c *cluster) sql(statement string, args ...any) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	db, err := pgx.Connect(ctx, c.dsn)
	if err != nil {
		return err
	}
	defer db.Close(ctx)
	_, err = db.Exec(ctx, statement, args...)
	return err
}

// rows reads rows of type T.
func rows[T any](c *cluster, query string, args ...any) ([]T, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	db, err := pgx.Connect(ctx, c.dsn)
	if err != nil {
		return nil, err
	}
	defer db.Close(ctx)
	found, err := db.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(found, pgx.RowToStructByPos[T])
}

// followed waits until every replica enforces the budget at the limit.
func (c *cluster) followed(t *testing.T, w wish, budget, limitUSD string) {
	t.Helper()
	for _, r := range c.replicas {
		for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
			seen := false
			for _, b := range dryRunOf(t, r, w).Budgets {
				seen = seen || b.Budget == budget && nano(t, b.Limit) == nano(t, limitUSD)
			}
			if seen {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("replica %d does not follow budget %s at %s USD", r.n, budget, limitUSD)
			}
		}
	}
}

// usd writes nano-dollars as the configuration does.
func usd(n int64) string { return fmt.Sprintf("%d.%09d", n/1e9, n%1e9) }

// nano reads a plain decimal of dollars. It is not Keel's own reader, which these tests check.
func nano(t *testing.T, text string) int64 {
	t.Helper()
	n, err := parseNano(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func parseNano(text string) (int64, error) {
	whole, fraction, _ := strings.Cut(text, ".")
	if len(fraction) > 9 {
		if strings.Trim(fraction[9:], "0") != "" {
			return 0, fmt.Errorf("%q has more than 9 decimals", text)
		}
		fraction = fraction[:9]
	}
	return strconv.ParseInt(whole+fraction+strings.Repeat("0", 9-len(fraction)), 10, 64)
}

// seed is that of KEEL_CHAOS_SEED, else a new one; it is printed either way.
func seed(t *testing.T) uint64 {
	t.Helper()
	s := rand.Uint64()
	if text := os.Getenv("KEEL_CHAOS_SEED"); text != "" {
		var err error
		if s, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("KEEL_CHAOS_SEED: %v", err)
		}
	}
	t.Logf("KEEL_CHAOS_SEED=%d repeats the schedule of faults and calls", s)
	return s
}

// chaosTime is how long a run takes: ci, or what KEEL_CHAOS says ("10m").
func chaosTime(t *testing.T, ci time.Duration, share float64) time.Duration {
	t.Helper()
	if testing.Short() {
		t.Skip("runs for a while: -short")
	}
	text := os.Getenv("KEEL_CHAOS")
	if text == "" {
		return ci
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("KEEL_CHAOS: %v", err)
	}
	return time.Duration(float64(d) * share)
}
