package pgserver

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// TB is what ForTest needs of a *testing.T, so that this package does not import testing.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Cleanup(func())
}

// ForTest returns the URL of an empty database, which is dropped when the test
// ends. All tests of a process share one server: the one of KEEL_DATABASE_URL,
// whose role has to be allowed to create databases, or one that the first
// call starts and that ends with the process, with its files. That one runs
// with fsync off: it is fast, and not for a test of what a power cut does.
func ForTest(tb TB) (dsn string) {
	tb.Helper()
	server, err := sharedServer()
	if err != nil {
		tb.Fatalf("no Postgres for the test: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	dsn, drop, err := newDatabase(ctx, server, testName())
	if err != nil {
		tb.Fatalf("no Postgres for the test: %v", err)
	}
	tb.Cleanup(func() {
		if err := drop(); err != nil {
			tb.Errorf("%v", err)
		}
	})
	return dsn
}

// ForTestMain is ForTest for what lives as long as the test process: the
// database goes with the server, or stays on the server of KEEL_DATABASE_URL. It
// panics where ForTest would fail the test, as TestMain has nothing else.
func ForTestMain() (dsn string) {
	server, err := sharedServer()
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		dsn, _, err = newDatabase(ctx, server, testName())
	}
	if err != nil {
		panic(fmt.Sprintf("no Postgres for the tests: %v", err))
	}
	return dsn
}

func testName() string { return "keel_test_" + strings.ToLower(rand.Text()[:12]) }

// sharedServer is the URL of a database of the server that all tests of this process share.
var sharedServer = sync.OnceValues(func() (string, error) {
	if dsn, ok := FromEnv(); ok {
		return dsn, nil
	}
	dir, err := os.MkdirTemp("", "keel-test-postgres-")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o711); err != nil { // for the server's user
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute) // the first one may have to download
	defer cancel()
	s, err := Start(ctx, Options{Dir: filepath.Join(dir, "pg"), Progress: os.Stderr})
	if err != nil {
		return "", fmt.Errorf("%w (its log may be in %s)", err, dir)
	}
	return s.dsn("postgres"), outlive(s.running().PID(), dir)
})

// outlive leaves a shell behind that ends the server and removes its files once
// this process is gone: a test process has no place to do it that a panic or a
// time-out does not skip. It learns of the end as its standard input closes.
func outlive(pid int, dir string) error {
	const script = `read -r _; kill -QUIT "$1" 2>/dev/null
n=0; while kill -0 "$1" 2>/dev/null && [ "$n" -lt 100 ]; do sleep 0.1; n=$((n+1)); done
rm -rf -- "$2"`
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	shell := exec.Command("/bin/sh", "-c", script, "sh", fmt.Sprint(pid), dir)
	shell.Dir, shell.Stdin = "/", read
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := shell.Start(); err != nil {
		write.Close()
		return err
	}
	keepOpen = write
	return nil
}

// keepOpen is the other end of the shell's standard input; unreachable, it would be closed by the collector.
//
//lint:ignore U1000 holding it is all that it is for
var keepOpen *os.File
