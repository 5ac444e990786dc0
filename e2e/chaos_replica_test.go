//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// replica is "keel serve" on a journal of its own, through any number of
// processes one after the other.
type replica struct {
	n                    int
	binary, dsn, journal string
	env, args            []string
	proxy                *proxy // nil: straight to Postgres
	output               *buffer
	small                bool        // its disk is its own, and can be filled
	full                 atomic.Bool // its disk is full, or was under this process

	life    sync.Mutex // held while it is started or ended
	process *exec.Cmd
	exited  chan struct{}

	mu    sync.Mutex
	conn  *grpc.ClientConn // nil while it is down
	admin string           // URL of the admin port of the newest process
}

// newReplica does not start it. The folder is made, the journal below it is not.
func newReplica(t *testing.T, n int, binary, dsn, dir string) *replica {
	r := &replica{n: n, binary: binary, dsn: dsn, journal: filepath.Join(dir, "journal"), output: new(buffer)}
	r.args = []string{"--orphan-after", "5s", "--drain", "10s"}
	t.Cleanup(func() {
		r.end(syscall.SIGKILL)
		if t.Failed() {
			t.Logf("replica %d said:\n%s", r.n, tail([]byte(r.output.String()), 2500))
		}
	})
	return r
}

// behind puts a proxy between the replica and its database.
func (r *replica) behind(t *testing.T) *replica {
	t.Helper()
	u, err := url.Parse(r.dsn)
	if err != nil {
		t.Fatal(err)
	}
	r.proxy = startProxy(t, u.Host)
	u.Host = r.proxy.addr()
	r.dsn = u.String()
	return r
}

var servingOn = regexp.MustCompile(`serving Envoy on (\S+), admin on (\S+)`)

// start returns when it serves.
func (r *replica) start() error {
	r.life.Lock()
	defer r.life.Unlock()
	if err := os.MkdirAll(r.journal, 0o700); err != nil {
		return err
	}
	said := len(r.output.String())
	args := append([]string{"serve", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--journal", r.journal, "--database", r.dsn}, r.args...)
	process := exec.Command(r.binary, args...)
	process.Stdout, process.Stderr = r.output, r.output
	process.Env = append(os.Environ(), r.env...)
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // no test process, no replica
	if err := process.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		process.Wait()
		close(exited)
	}()
	r.process, r.exited = process, exited
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if m := servingOn.FindStringSubmatch(r.output.String()[said:]); m != nil {
			conn, err := grpc.NewClient(m[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				return err
			}
			r.mu.Lock()
			r.conn, r.admin = conn, m[2]
			r.mu.Unlock()
			return nil
		}
		select {
		case <-exited:
			return fmt.Errorf("replica %d ended before it served:\n%s", r.n, tail([]byte(r.output.String()[said:]), 2000))
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("replica %d does not serve:\n%s", r.n, tail([]byte(r.output.String()[said:]), 2000))
		}
	}
}

// end signals the process and returns when it is gone. SIGKILL, where it does not go by itself, is an error.
func (r *replica) end(signal syscall.Signal) error {
	r.life.Lock()
	defer r.life.Unlock()
	if r.process == nil {
		return nil
	}
	r.process.Process.Signal(signal)
	var err error
	select {
	case <-r.exited:
	case <-time.After(patience):
		err = fmt.Errorf("replica %d does not end by %v", r.n, signal)
		r.process.Process.Kill()
		<-r.exited
	}
	r.process = nil
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn != nil {
		r.conn.Close()
		r.conn = nil
	}
	return err
}

// connection is to the process that runs, nil when there is none.
func (r *replica) connection() *grpc.ClientConn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.conn
}

func (r *replica) pid() int {
	r.life.Lock()
	defer r.life.Unlock()
	if r.process == nil {
		return 0
	}
	return r.process.Process.Pid
}

// pause stops the process where it is, and returns when none of its threads runs. kill(2) returns before: one thread must be
// scheduled to take SIGSTOP for all, and on a busy machine the others go on meanwhile, and answer what they should never have read.
func (r *replica) pause(t *testing.T) {
	t.Helper()
	pid := r.pid()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatalf("replica %d can't be stopped: %v", r.n, err)
	}
	waitFor(t, fmt.Sprintf("all threads of replica %d to stop", r.n), func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil || len(threads) == 0 {
			t.Fatalf("replica %d has no threads: %v", r.n, err)
		}
		return !slices.ContainsFunc(threads, func(name string) bool { return threadState(t, name) != 'T' })
	})
}

// resume has a process that was stopped go on. One that is gone stays gone.
func (r *replica) resume() {
	if pid := r.pid(); pid != 0 {
		syscall.Kill(pid, syscall.SIGCONT)
	}
}

// threadState is the letter after the name of a thread in its file, see proc_pid_stat(5). It is 0 for a thread that is gone.
func threadState(t *testing.T, name string) byte {
	t.Helper()
	stat, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return 0
	}
	_, state, found := strings.Cut(string(stat), ") ")
	if err != nil || !found {
		t.Fatalf("%s: %q, %v", name, stat, err)
	}
	return state[0]
}

// resident is the memory of the process in bytes.
func (r *replica) resident() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.pid()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("no VmRSS in /proc/PID/status")
}
