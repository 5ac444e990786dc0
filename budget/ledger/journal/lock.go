package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// lockFolder takes the folder for this process. The kernel gives it back when the
// process ends, however it ends. The file stays: deleting it would let two
// processes lock two files of the same name.
func lockFolder(dir, host string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, fmt.Errorf("journal folder %s can't be locked: %w", dir, err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		inUse := &InUseError{Dir: dir}
		if text, readErr := io.ReadAll(io.LimitReader(f, 1024)); readErr == nil {
			if n, _ := fmt.Sscanf(string(text), "%d %q\n", &inUse.PID, &inUse.Host); n != 2 {
				inUse.PID, inUse.Host = 0, "" // it has the lock, and was about to write its name
			}
		}
		return nil, errors.Join(inUse, f.Close())
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintf(f, "%d %q\n", os.Getpid(), host)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("journal folder %s can't be locked: %w", dir, err), f.Close())
	}
	return f, nil
}
