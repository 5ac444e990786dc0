package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// TryLock takes an exclusive lock on a file, made if missing, until unlock is
// called; the kernel drops it when this process ends in whatever way. It
// returns false when another process or caller has the lock.
func TryLock(file string) (unlock func(), ok bool, err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, false, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return func() { f.Close() }, true, nil
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, false, nil
	}
	return nil, false, fmt.Errorf("can't lock %s: %w", file, err)
}

// lock waits for a lock, and calls waiting once if it has to.
func lock(ctx context.Context, file string, waiting func()) (unlock func(), err error) {
	for first := true; ; first = false {
		unlock, ok, err := TryLock(file)
		if err != nil || ok {
			return unlock, err
		}
		if first {
			waiting()
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
