package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Sync returns when the records up to a position are durable. It returns the error of
// Err when that will never be, and that of ctx when it ends first. Many wait for the same fdatasync.
func (j *Journal) Sync(ctx context.Context, end int64) error {
	for {
		progress := j.progress.next()
		if j.synced.Load() >= end {
			return nil
		}
		if written := j.end.Load(); end > written {
			return fmt.Errorf("journal %s: nothing was written up to %d: it ends at %d", j.meta.Epoch, end, written)
		}
		if failed := j.failed.Load(); failed != nil {
			return failed
		}
		wake(j.hurry)
		select {
		case <-progress:
		case <-j.stopped:
			if j.synced.Load() >= end {
				return nil
			}
			return errors.Join(ErrClosed, j.Err())
		case <-ctx.Done():
			return fmt.Errorf("journal: not durable yet: %w", context.Cause(ctx))
		}
	}
}

// syncLoop makes durable what was appended, for all at a time, and segments ahead.
func (j *Journal) syncLoop() {
	defer close(j.stopped)
	var tried time.Time
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		tried = j.makeAhead(tried)
		select {
		case <-j.stop:
			return
		case <-j.dirty:
		}
		pause.Reset(j.folder.o.SyncEvery)
		select {
		case <-j.stop:
		case <-j.hurry:
		case <-pause.C:
		}
		j.syncNow()
	}
}

// syncNow makes durable what is written. The journal fails when it can't be:
// the kernel forgets what it could not write, and a second try would lie.
func (j *Journal) syncNow() {
	j.mu.Lock()
	s, end, retired := j.current, j.end.Load(), j.retired
	j.retired = nil
	j.mu.Unlock()
	j.syncing.Lock()
	if j.synced.Load() < end && j.failed.Load() == nil {
		if err := j.disk.fdatasync(s.fd); err != nil {
			_ = j.fail(s.name, j.synced.Load()-j.base(s.index), "sync", err)
		} else {
			j.durable(s, end, false)
		}
	}
	j.syncing.Unlock()
	for _, r := range retired {
		_ = r.file.Close() // it is durable, or the journal has failed
	}
	j.progress.send()
}

// sealSegment makes a full segment durable.
func (j *Journal) sealSegment(s *segment, end int64) error {
	j.syncing.Lock()
	defer j.syncing.Unlock()
	if failed := j.failed.Load(); failed != nil {
		return failed
	}
	if err := j.disk.fdatasync(s.fd); err != nil {
		return j.fail(s.name, max(recordsAt, j.synced.Load()-j.base(s.index)), "sync", err)
	}
	if j.durable(s, end, true); j.failed.Load() != nil {
		return j.failed.Load()
	}
	j.progress.send()
	return nil
}

// durable notes that a segment is durable up to a position, and marks it there unless
// later records, which say so, too, are on their way.
func (j *Journal) durable(s *segment, end int64, sealed bool) {
	j.synced.Store(end)
	if !sealed && j.end.Load() != end {
		return
	}
	j.mark = appendMark(j.mark[:0], j.salt, s.index, end, sealed)
	if err := j.disk.write(s.fd, j.mark, markAt); err != nil {
		_ = j.fail(s.name, markAt, "write", err)
	}
}

// makeAhead makes the next segment before it is needed. If that can't be, there is
// still room in this one, so it is tried again every second, and only an Append that needs it fails.
func (j *Journal) makeAhead(tried time.Time) time.Time {
	j.making.Lock()
	defer j.making.Unlock()
	if j.next != nil || j.failed.Load() != nil || time.Since(tried) < time.Second {
		return tried
	}
	err := j.makeNext()
	if full := (*FullError)(nil); err == nil || errors.As(err, &full) {
		return time.Time{}
	}
	j.log.Error("journal: the next segment can't be made; the journal fails when this one is full", "epoch", j.meta.Epoch, "error", err)
	return time.Now()
}

// takeNext returns the next segment, made ahead or now.
func (j *Journal) takeNext() (*segment, error) {
	j.making.Lock()
	defer j.making.Unlock()
	if j.next == nil {
		err := j.makeNext()
		if failed := (*FailedError)(nil); errors.As(err, &failed) {
			return nil, j.fail(failed.File, failed.Offset, failed.Op, failed.Err)
		}
		if err != nil {
			return nil, err
		}
	}
	next := j.next
	j.next = nil
	return next, nil
}

func (j *Journal) makeNext() error {
	if err := j.folder.reserve(j.size); err != nil {
		return err
	}
	s, err := j.makeSegment(j.path, j.made+1)
	if err != nil {
		j.folder.allocated.Add(-j.size)
		return err
	}
	j.held.Add(j.size)
	j.made++
	j.next = s
	return nil
}

// close takes no more records, for the given reason, and syncs a last time.
func (j *Journal) close(reason error) error {
	j.mu.Lock()
	if j.readOnly || j.over != nil {
		j.mu.Unlock()
		return nil
	}
	j.over = reason
	j.mu.Unlock()
	return j.closeFiles()
}

// closeFiles is called once, by who set j.over.
func (j *Journal) closeFiles() error {
	close(j.stop)
	<-j.stopped
	j.syncNow()
	err := j.current.file.Close()
	if j.next != nil {
		err = errors.Join(err, j.next.file.Close())
	}
	return errors.Join(j.Err(), err)
}

// broadcast tells any number that something happened.
type broadcast struct {
	mu sync.Mutex
	c  chan struct{}
}

func (b *broadcast) init() { b.c = make(chan struct{}) }

func (b *broadcast) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.c
}

func (b *broadcast) send() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.c)
	b.c = make(chan struct{})
}
