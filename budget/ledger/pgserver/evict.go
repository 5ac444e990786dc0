package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// evict deals with what an earlier run left in a data folder that this process
// has the lock of. A Postgres that still runs there lost its starter: it is told to end. A
// postmaster.pid whose process id now belongs to another program is removed:
// Postgres would take a process of its own user for a running server.
func evict(ctx context.Context, data string) error {
	file := filepath.Join(data, "postmaster.pid")
	for deadline := time.Now().Add(15 * time.Second); ; {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		first, _, _ := strings.Cut(string(text), "\n")
		pid, err := strconv.Atoi(strings.TrimSpace(first))
		if err != nil || pid <= 1 || !runsIn(pid, data) {
			if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			return nil
		}
		if err := syscall.Kill(pid, syscall.SIGINT); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("a postgres (process %d) that an earlier keel left runs on %s and can't be stopped: %w: stop it by hand", pid, data, err)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("a postgres (process %d) that an earlier keel left runs on %s and does not end: stop it by hand", pid, data)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// runsIn says whether a process is a Postgres on a data folder, which is its
// working directory. Where /proc does not tell, any living process counts.
func runsIn(pid int, data string) bool {
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		return false
	}
	if _, err := os.Stat("/proc/self/cwd"); err != nil {
		return true
	}
	dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	if real, err := filepath.EvalSymlinks(data); err == nil {
		data = real
	}
	return dir == data
}
