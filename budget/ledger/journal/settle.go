package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Settled notes that the records up to a position are kept by the database. Segments whose
// records all are get another name: recovery begins after them, Rewind still reads them.
func (j *Journal) Settled(through Position) error {
	j.mu.Lock()
	if end := j.end.Load(); through.End > end {
		j.mu.Unlock()
		return fmt.Errorf("journal %s: nothing was written up to %d: it ends at %d", j.meta.Epoch, through.End, end)
	}
	var full []seal
	for _, s := range j.sealed {
		if s.end <= through.End {
			full = append(full, s)
		}
	}
	j.mu.Unlock()
	j.files.Lock()
	defer j.files.Unlock()
	if j.left {
		return ErrClosed
	}
	if through.End > j.settled.Load() {
		j.settled.Store(through.End)
	}
	for _, s := range full {
		if err := j.markSettled(s.index); err != nil {
			return fmt.Errorf("journal: segment %d is settled and can't be marked: %w", s.index, err)
		}
		j.mu.Lock()
		j.sealed = slices.DeleteFunc(j.sealed, func(o seal) bool { return o.index <= s.index })
		j.mu.Unlock()
	}
	return nil
}

// markSettled renames a segment, unless it is already; j.files is held. Its time is that of the marking.
func (j *Journal) markSettled(index int64) error {
	from, now := j.segmentPath(index, openSuffix), time.Now()
	if _, err := os.Lstat(from); err != nil {
		_, err = os.Lstat(j.segmentPath(index, settledSuffix))
		return err
	}
	if err := os.Chtimes(from, now, now); err != nil {
		return err
	}
	if err := j.disk.move(from, j.segmentPath(index, settledSuffix)); err != nil {
		return err
	}
	j.hold(-j.size)
	return nil
}

func (j *Journal) segmentPath(index int64, suffix string) string {
	return filepath.Join(j.path, segmentName(index, suffix))
}

func (j *Journal) fileName(index int64) string {
	j.files.RLock()
	defer j.files.RUnlock()
	return j.segmentPath(index, openSuffix)
}

// Finished ends a journal whose records are all settled and whose epoch the database has
// finished. It takes no more records. The folder is kept, under another name, until
// Prune finds it old enough. Finishing twice changes nothing.
func (j *Journal) Finished() error {
	j.mu.Lock()
	if waiting := j.end.Load() - j.settled.Load(); waiting > 0 {
		j.mu.Unlock()
		return fmt.Errorf("journal %s: %d bytes of records are not settled", j.meta.Epoch, waiting)
	}
	live := !j.readOnly && j.over == nil
	if live {
		j.over = ErrClosed
	}
	j.mu.Unlock()
	if live {
		_ = j.closeFiles() // everything is settled: how durable it is here no longer matters
	}
	j.folder.mu.Lock()
	defer j.folder.mu.Unlock()
	j.files.Lock()
	defer j.files.Unlock()
	if j.left {
		return ErrClosed
	}
	if j.finished.Load() {
		j.folder.unpin(j.path)
		return nil
	}
	if err := j.finish(); err != nil {
		return fmt.Errorf("journal %s can't be marked as finished: %w", j.meta.Epoch, err)
	}
	delete(j.folder.journals, j.meta.Epoch)
	return nil
}

// finish cuts off what was never written, so that the journal takes less while it is kept, and renames all.
func (j *Journal) finish() error {
	all, _, err := listSegments(j.path)
	if err != nil {
		return err
	}
	if err := j.trim(all); err != nil {
		return err
	}
	for _, s := range all {
		if s.settled {
			continue
		}
		if err := j.markSettled(s.index); err != nil {
			return err
		}
	}
	now, to := time.Now(), j.path+finishedSuffix
	if err := os.Chtimes(j.path, now, now); err != nil {
		return err
	}
	if err := j.disk.move(j.path, to); err != nil {
		return err
	}
	j.path = to
	j.finished.Store(true)
	return nil
}

// trim gives the disk back what no record was written to.
func (j *Journal) trim(all []listed) error {
	end := j.end.Load()
	for _, s := range all {
		if s.settled || s.index < j.indexOf(end) {
			continue
		}
		size := int64(recordsAt)
		if s.index == j.indexOf(end) {
			size = end - j.base(s.index)
		}
		if err := os.Truncate(s.name, size); err != nil {
			return err
		}
	}
	return nil
}

// leave gives up the files, because the folder is closed.
func (j *Journal) leave() error {
	err := j.close(ErrClosed)
	j.files.Lock()
	defer j.files.Unlock()
	j.left = true
	return err
}

// FinishedJournals returns the finished journals that are kept, oldest first, to be settled
// again by Rewind after a failover. Prune leaves them until Finished is called on them
// again. One that can't be read is put aside, where Left reports it.
func (f *Folder) FinishedJournals() (kept []*Journal, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, ErrClosed
	}
	paths, err := filepath.Glob(filepath.Join(f.dir, "*"+finishedSuffix))
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	for _, path := range paths {
		epoch, _, ok := epochOf(filepath.Base(path))
		if !ok {
			continue
		}
		m, err := readMeta(path, epoch)
		if err == nil && m.Host != f.o.Host {
			err = &HostError{filepath.Join(path, metaName), m.Host, f.o.Host}
		}
		j := newJournal(f, path, m)
		j.readOnly, j.over = true, ErrReadOnly
		j.finished.Store(true)
		if err == nil {
			err = j.verify()
		}
		if err != nil {
			a, err := f.putAside(path, epoch, err)
			if err != nil {
				return nil, err
			}
			f.o.Logger.Error("journal: a finished journal can't be read and is kept aside", "journal", a.Path, "why", a.Reason)
			continue
		}
		f.kept[path]++
		kept = append(kept, j)
	}
	slices.SortFunc(kept, func(a, b *Journal) int { return a.meta.CreatedAt.Compare(b.meta.CreatedAt) })
	return kept, nil
}

func (f *Folder) unpin(path string) {
	if f.kept[path]--; f.kept[path] <= 0 {
		delete(f.kept, path)
	}
}

// Prune deletes settled segments and finished journals that were marked longer than
// Options.Retain before now. Of a journal that goes on, the last settled segment is
// kept: it shows that none after it is missing.
func (f *Folder) Prune(now time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return ErrClosed
	}
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	oldest := now.Add(-f.o.Retain)
	var problems error
	for _, e := range entries {
		path := filepath.Join(f.dir, e.Name())
		epoch, suffix, ok := epochOf(e.Name())
		switch {
		case !ok:
		case suffix == finishedSuffix && f.kept[path] == 0:
			if old, err := markedBefore(path, oldest); err != nil || !old {
				problems = errors.Join(problems, err)
				continue
			}
			problems = errors.Join(problems, os.RemoveAll(path))
		case suffix == "" && f.journals[epoch] != nil:
			problems = errors.Join(problems, pruneSegments(path, oldest))
		}
	}
	return problems
}

// pruneSegments deletes in order, so that what is kept has no gap.
func pruneSegments(path string, oldest time.Time) error {
	all, settled, err := listSegments(path)
	if err != nil {
		return err
	}
	for _, s := range all[:max(0, settled-1)] {
		if old, err := markedBefore(s.name, oldest); err != nil || !old {
			return err
		}
		if err := os.Remove(s.name); err != nil {
			return err
		}
	}
	return nil
}

func markedBefore(path string, t time.Time) (bool, error) {
	info, err := os.Stat(path)
	return err == nil && info.ModTime().Before(t), err
}
