//go:build linux

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"keel/budget/ledger/pgserver"
)

// faults breaks a cluster by a schedule that its seed decides.
type faults struct {
	c        *cluster
	postgres *pgserver.Server
	skewed   string // a binary whose clock KEEL_TEST_CLOCK_OFFSET moves, "" without
	honest   string
	began    time.Time

	mu      sync.Mutex
	log     []string
	count   map[string]int
	verdict *verdict // gets what does not come back
	without string   // kinds of faults to leave out, of KEEL_CHAOS_WITHOUT ("kill,disk full"): to find what breaks a run

	commitCuts int64        // COMMITs that a replica was not told of
	highest    atomic.Int64 // limit that budget "edited" ever had
}

func (f *faults) note(kind, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count[kind]++
	f.log = append(f.log, fmt.Sprintf("%8.3fs %-12s %s", time.Since(f.began).Seconds(), kind, fmt.Sprintf(format, args...)))
}

func (f *faults) failed(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.verdict.fault(err)
}

func (f *faults) allows(kind string) bool {
	return !slices.Contains(strings.Split(f.without, ","), kind)
}

// run breaks things until ctx ends, and then leaves everything running.
func (f *faults) run(ctx context.Context, seed uint64) {
	var running sync.WaitGroup
	half := len(f.c.replicas) / 2
	running.Go(func() { f.breakReplicas(ctx, rand.New(rand.NewPCG(seed, 1)), f.c.replicas[:half]) })
	running.Go(func() { f.breakReplicas(ctx, rand.New(rand.NewPCG(seed, 2)), f.c.replicas[half:]) })
	running.Go(func() { f.breakDatabase(ctx, rand.New(rand.NewPCG(seed, 3))) })
	running.Go(func() { f.edit(ctx, rand.New(rand.NewPCG(seed, 4))) })
	running.Wait()
	for _, r := range f.c.replicas { // clocks go right again
		if r.binary != f.honest {
			f.failed(r.end(syscall.SIGTERM))
			r.binary, r.env = f.honest, withoutOffset(r.env)
			f.failed(r.start())
		}
	}
}

// waited waits a random time, and says whether there is still time for a fault.
func waited(ctx context.Context, r *rand.Rand, least, most time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(least + time.Duration(r.Int64N(int64(most-least)))):
		return true
	}
}

func milliseconds(r *rand.Rand, least, most int) time.Duration {
	return time.Duration(least+r.IntN(most-least)) * time.Millisecond
}

func (f *faults) breakReplicas(ctx context.Context, r *rand.Rand, replicas []*replica) {
	kinds := draws{shares: []share{{50, "kill"}, {70, "term"}, {85, "disk full"}, {100, "skew"}}}
	for waited(ctx, r, 500*time.Millisecond, 2500*time.Millisecond) {
		replica, what, pause := replicas[r.IntN(len(replicas))], r.IntN(100), milliseconds(r, 0, 1000)
		offset := [...]string{"-3h", "3h", "-90s"}[r.IntN(3)]
		kind := kinds.next(what)
		if !f.allows(kind) {
			continue
		}
		switch kind {
		case "kill":
			f.note(kind, "replica %d, down for %v", replica.n, pause)
			f.failed(replica.end(syscall.SIGKILL))
			time.Sleep(pause)
			f.failed(replica.start())
		case "term":
			f.note(kind, "replica %d", replica.n)
			f.failed(replica.end(syscall.SIGTERM))
			f.failed(replica.start())
		case "disk full":
			f.fillDisk(replica, pause+500*time.Millisecond, what%2 == 0)
		case "skew":
			if f.skewed == "" {
				continue
			}
			f.note(kind, "replica %d by %s", replica.n, offset)
			f.failed(replica.end(syscall.SIGTERM))
			replica.binary, replica.env = f.skewed, append(withoutOffset(replica.env), offsetEnv+offset)
			f.failed(replica.start())
		}
	}
}

// share is a kind of fault and the percentage, of all and those before, up to which it is picked.
type share struct {
	below int
	kind  string
}

// draws are kinds of faults, one after the other. A minute has about twenty: of those some would lack a kind.
type draws struct {
	shares []share
	drawn  []string
}

// byShare is how many are drawn by their shares alone. Then those come that did not come yet.
const byShare = 6

func (d *draws) next(percent int) string {
	kind := d.shares[slices.IndexFunc(d.shares, func(s share) bool { return percent < s.below })].kind
	lacks := func(s share) bool { return !slices.Contains(d.drawn, s.kind) }
	if i := slices.IndexFunc(d.shares, lacks); len(d.drawn) >= byShare && i >= 0 {
		kind = d.shares[i].kind
	}
	d.drawn = append(d.drawn, kind)
	return kind
}

// fillDisk takes all that is left of the replica's disk for a while. A journal
// that was in the middle of a file may not notice, so half of the time the process has to start in it.
func (f *faults) fillDisk(r *replica, pause time.Duration, restart bool) {
	if !r.small {
		return
	}
	f.note("disk full", "replica %d, for %v, killed in it: %t", r.n, pause, restart)
	r.full.Store(true)
	ballast := filepath.Join(filepath.Dir(r.journal), "ballast")
	f.failed(fill(ballast))
	if restart {
		f.failed(r.end(syscall.SIGKILL))
		if err := r.start(); err != nil {
			f.note("refused", "replica %d does not start on a full disk", r.n)
		}
	}
	time.Sleep(pause)
	f.failed(os.Remove(ballast))
	f.failed(r.end(syscall.SIGTERM)) // whatever the full disk has done to its journal, the next process goes on
	f.failed(r.start())
	r.full.Store(false)
}

// fill makes a file of all the space that its disk has left.
func fill(name string) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer file.Close()
	end := int64(0)
	for {
		var disk syscall.Statfs_t
		if err := syscall.Fstatfs(int(file.Fd()), &disk); err != nil {
			return err
		}
		free := int64(disk.Bavail) * disk.Bsize
		if free == 0 {
			return nil
		}
		if err := syscall.Fallocate(int(file.Fd()), 0, end, free); err != nil && err != syscall.ENOSPC { // somebody was quicker
			return err
		}
		end += free
	}
}

// onSmallDisk puts the journal on a file system of its own. Without the right
// to mount one, disks do not get full in this run.
func (r *replica) onSmallDisk(t *testing.T) {
	t.Helper()
	dir := filepath.Dir(r.journal)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512m"); err != nil {
		t.Logf("NOT TESTED: a full disk of replica %d: no tmpfs can be mounted (%v); run as root", r.n, err)
		return
	}
	r.small = true
	t.Cleanup(func() {
		r.end(syscall.SIGKILL)
		if err := syscall.Unmount(dir, syscall.MNT_FORCE); err != nil {
			syscall.Unmount(dir, 2) // MNT_DETACH
		}
	})
}

func (f *faults) breakDatabase(ctx context.Context, r *rand.Rand) {
	kinds := draws{shares: []share{{20, "stop"}, {25, "crash"}, {45, "cut"}, {70, "commit cut"}, {85, "sync cut"}, {100, "partition"}}}
	for waited(ctx, r, 500*time.Millisecond, 3*time.Second) {
		what, pause := r.IntN(100), milliseconds(r, 1000, 4000)
		proxy := f.c.replicas[r.IntN(len(f.c.replicas))].proxy
		part := r.Float64()
		kind := kinds.next(what)
		if !f.allows(kind) {
			continue
		}
		switch kind {
		case "stop":
			f.note(kind, "Postgres, immediately, down for %v", pause)
			f.failed(stopImmediately(f.postgres))
			time.Sleep(pause)
			f.failed(f.postgres.Restart(context.Background()))
		case "crash":
			f.note(kind, "Postgres by SIGKILL, down for %v", pause)
			f.postgres.Crash()
			time.Sleep(pause)
			f.failed(f.postgres.Restart(context.Background()))
		case "cut":
			f.note(kind, "%.0f%% of the connections of each replica", part*100)
			for _, replica := range f.c.replicas {
				replica.proxy.cut(part, r)
			}
		case "commit cut":
			f.note(kind, "the next 2 COMMITs of each replica are not answered")
			for _, replica := range f.c.replicas {
				replica.proxy.afterCommit.Store(2)
			}
		case "sync cut":
			f.note(kind, "the next 2 statements of each replica are not answered")
			for _, replica := range f.c.replicas {
				replica.proxy.afterSync.Store(2)
			}
		case "partition":
			f.note(kind, "one replica is without Postgres for %v", pause)
			proxy.leave(true)
			time.Sleep(pause)
			proxy.leave(false)
		}
	}
	for _, replica := range f.c.replicas {
		replica.proxy.afterCommit.Store(0)
		replica.proxy.afterSync.Store(0)
		f.commitCuts += replica.proxy.commitCuts.Load()
	}
}

// stopImmediately is "pg_ctl stop -m immediate".
func stopImmediately(s *pgserver.Server) error {
	text, err := os.ReadFile(filepath.Join(s.Dir(), "data", "postmaster.pid"))
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return fmt.Errorf("postmaster.pid: %w", err)
	}
	if err := syscall.Kill(pid, syscall.SIGQUIT); err != nil {
		return err
	}
	<-s.Done()
	return nil
}

// edit changes budgets by SQL, as an operator would. One that meets a Postgres
// that is down does not happen.
func (f *faults) edit(ctx context.Context, r *rand.Rand) {
	initial := f.highest.Load()
	for waited(ctx, r, 300*time.Millisecond, 1500*time.Millisecond) {
		limit := initial/4 + r.Int64N(initial*2)
		mode := [...]string{"observe", "prefer-cheap", "enforce"}[r.IntN(3)]
		var err error
		switch what := r.IntN(4); what {
		case 0, 1:
			f.highest.Store(max(f.highest.Load(), limit)) // before: it may be in force before we hear of it
			err = f.c.sql(`update keel.budgets set limit_usd = $1::text::numeric where name = 'edited'`, usd(limit))
			f.note("edit", "budget edited: %s USD (%v)", usd(limit), err)
		case 2:
			err = f.c.sql(`update keel.budgets set mode = $1 where name = 'moded'`, mode)
			f.note("edit", "budget moded: %s (%v)", mode, err)
		default:
			if err = f.c.sql(`delete from keel.budgets where name = 'flip'`); err == nil {
				err = f.c.sql(`insert into keel.budgets (name, selector, limit_usd, "window") values ('flip', '{"team": "edited"}', $1::text::numeric, 'lifetime')`, usd(limit*1000))
			}
			f.note("edit", "budget flip: deleted and made again (%v)", err)
		}
	}
}
