package journal

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// Options tune a Folder. The zero value is ready for use.
type Options struct {
	Logger       *slog.Logger  // slog.Default() when nil
	SegmentBytes int64         // of every file, a multiple of 4096 from 16 KiB to 1 GiB; 64 MiB when 0. A record must fit in one
	SyncEvery    time.Duration // the longest that a record waits for fdatasync to begin, 5 ms when 0
	Retain       time.Duration // how long Prune leaves what is settled, 24 h when 0
	// MaxBytes is for all segments in the folder that are not settled, but not for
	// journals kept aside; 0 is no limit. At least two segments. The first segment
	// of a new journal is made even beyond it, so that a process can start.
	MaxBytes int64
	Host     string // os.Hostname() when ""

	disk *disk // tests make it fail
}

// Folder is where the journals of a replica lie. One process has it at a time. It
// is safe for concurrent use.
type Folder struct {
	dir       string
	o         Options
	disk      *disk
	lock      *os.File
	allocated atomic.Int64 // bytes of segments that are not settled

	mu       sync.Mutex
	closed   bool
	journals map[uuid.UUID]*Journal // handed out and not finished
	kept     map[string]int         // paths of finished journals that are read again, and by how many
}

// Open takes a folder, and makes it where there is none. It returns an
// *InUseError when another process has it.
func Open(dir string, o Options) (*Folder, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	o.SegmentBytes = cmp.Or(o.SegmentBytes, 64<<20)
	o.SyncEvery = cmp.Or(o.SyncEvery, 5*time.Millisecond)
	o.Retain = cmp.Or(o.Retain, 24*time.Hour)
	if o.disk == nil {
		o.disk = &realDisk
	}
	if o.Host == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("journal folder %s: this host has no name, and needs one: %w", dir, err)
		}
		o.Host = host
	}
	if err := checkSegmentBytes(o.SegmentBytes); err != nil {
		return nil, fmt.Errorf("journal folder %s: %w", dir, err)
	}
	if o.MaxBytes != 0 && o.MaxBytes < 2*o.SegmentBytes {
		return nil, fmt.Errorf("journal folder %s: a limit of %d bytes has no room for two segments of %d", dir, o.MaxBytes, o.SegmentBytes)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("journal folder: %w", err)
	}
	lock, err := lockFolder(dir, o.Host)
	if err != nil {
		return nil, err
	}
	return &Folder{dir: dir, o: o, disk: o.disk, lock: lock, journals: make(map[uuid.UUID]*Journal), kept: make(map[string]int)}, nil
}

// Create begins the journal of an epoch that has none yet.
func (f *Folder) Create(epoch uuid.UUID) (*Journal, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, ErrClosed
	}
	path := filepath.Join(f.dir, epoch.String())
	if _, err := os.Lstat(path); err == nil || f.journals[epoch] != nil {
		return nil, fmt.Errorf("journal: %s exists already: every process run needs an epoch of its own", path)
	}
	j := newJournal(f, path, meta{FormatVersion: formatVersion, Host: f.o.Host, Epoch: epoch, CreatedAt: time.Now().UTC(), SegmentBytes: f.o.SegmentBytes})
	if err := j.create(); err != nil {
		return nil, fmt.Errorf("journal %s can't be begun: %w", path, err)
	}
	f.journals[epoch] = j
	go j.syncLoop()
	return j, nil
}

// create makes the folder of the journal under another name, so that one with
// the epoch's name is whole.
func (j *Journal) create() error {
	young := j.path + ".new"
	if err := os.RemoveAll(young); err != nil {
		return err
	}
	if err := os.Mkdir(young, 0o750); err != nil {
		return err
	}
	about, err := j.meta.encode()
	if err == nil {
		err = j.disk.writeFile(filepath.Join(young, metaName), about)
	}
	if err == nil {
		j.current, err = j.makeSegment(young, 1)
	}
	if err == nil {
		if err = j.disk.move(young, j.path); err != nil {
			err = errors.Join(err, j.current.file.Close())
		}
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(young), os.RemoveAll(j.path))
	}
	j.current.name = filepath.Join(j.path, filepath.Base(j.current.name))
	j.made = 1
	j.hold(j.size)
	return nil
}

// Close ends all journals of the folder, after a last sync, and lets go of it.
func (f *Folder) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	var err error
	for _, j := range f.journals {
		err = errors.Join(err, j.leave())
	}
	return errors.Join(err, f.lock.Close())
}

// reserve takes room for a segment.
func (f *Folder) reserve(bytes int64) error {
	for {
		n := f.allocated.Load()
		if f.o.MaxBytes > 0 && n+bytes > f.o.MaxBytes {
			return &FullError{f.dir, n, f.o.MaxBytes}
		}
		if f.allocated.CompareAndSwap(n, n+bytes) {
			return nil
		}
	}
}
