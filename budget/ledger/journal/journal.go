package journal

import (
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
)

// Position is where a record lies.
type Position struct {
	Seq uint64 // of the org in this journal, from 1 and without gaps
	End int64  // where the record ends, in bytes from the beginning of the journal; every segment counts in full
}

// Journal is the records of one epoch. It is safe for concurrent use.
type Journal struct {
	folder   *Folder
	disk     *disk
	log      *slog.Logger
	meta     meta
	size     int64 // of a segment
	salt     uint32
	readOnly bool
	held     atomic.Int64 // bytes of the folder's limit that its segments take

	// Read without a lock. end and synced are positions.
	end, synced atomic.Int64
	settled     atomic.Int64
	failed      atomic.Pointer[FailedError]

	mu      sync.Mutex // of the writer. Never taken while one of those below is held.
	current *segment
	buffer  []byte
	orgs    map[string]*uint64 // last seq. It grows with the number of orgs
	last    uint64             // journal seq
	sealed  []seal             // segments that are full and not settled yet
	retired []*segment         // full, to be closed by who syncs
	over    error              // why it takes no records, while nothing failed

	making sync.Mutex // of who makes segments
	next   *segment   // made ahead
	made   int64      // index of the last one that was made

	// syncing is held from before a sync to after its outcome is known: an error is
	// reported to one of two who sync the same file at the same time.
	syncing  sync.Mutex
	mark     []byte // buffer of a mark
	progress broadcast
	dirty    chan struct{} // there is something to sync
	hurry    chan struct{} // somebody waits for it
	grown    chan struct{}
	stop     chan struct{}
	stopped  chan struct{}

	files    sync.RWMutex // of the names in the folder
	path     string
	finished atomic.Bool // set with files held
	left     bool        // the folder is closed: its files may be another's now
}

// seal is where the records of a full segment end.
type seal struct{ index, end int64 }

func newJournal(f *Folder, path string, m meta) *Journal {
	j := &Journal{folder: f, disk: f.disk, log: f.o.Logger, meta: m, size: m.SegmentBytes, salt: saltOf(m.Epoch), path: path, orgs: make(map[string]*uint64),
		dirty: make(chan struct{}, 1), hurry: make(chan struct{}, 1), grown: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{})}
	j.progress.init()
	j.moveTo(recordsAt)
	return j
}

// moveTo makes an empty journal begin at a position.
func (j *Journal) moveTo(at int64) {
	j.end.Store(at)
	j.synced.Store(at)
	j.settled.Store(at)
}

// base is the position at which a segment begins.
func (j *Journal) base(index int64) int64 { return (index - 1) * j.size }

// indexOf is the segment of a record that ends at a position.
func (j *Journal) indexOf(end int64) int64 { return (end-1)/j.size + 1 }

// Epoch is the name of the journal.
func (j *Journal) Epoch() uuid.UUID { return j.meta.Epoch }

// Append writes a record and returns where it lies. When it returns, the record
// outlives this process; see Sync for power loss. It returns the *FailedError of
// Err, a *FullError while too much waits to be settled, a *TooLargeError,
// ErrReadOnly or ErrClosed; then nothing was written that will be read.
func (j *Journal) Append(org string, kind byte, payload []byte) (Position, error) {
	size := recordBytes(org, payload)
	if len(org) > maxOrg || size > j.size-recordsAt {
		return Position{}, &TooLargeError{size, min(j.size-recordsAt, recordBytes("", payload)+maxOrg)}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.over != nil {
		return Position{}, j.over
	}
	if failed := j.failed.Load(); failed != nil {
		return Position{}, failed
	}
	if j.current.at+size > j.size {
		if err := j.turn(); err != nil {
			return Position{}, err
		}
	}
	seq := j.orgs[org]
	if seq == nil {
		seq = new(uint64)
		j.orgs[strings.Clone(org)] = seq
	}
	s := j.current
	at := j.base(s.index) + s.at
	j.buffer = appendRecord(j.buffer[:0], j.salt, at, j.last+1, uint64(j.synced.Load()), org, *seq+1, kind, payload)
	err := j.disk.write(s.fd, j.buffer, s.at)
	if cap(j.buffer) > 1<<20 {
		j.buffer = nil
	}
	if err != nil {
		return Position{}, j.fail(s.name, s.at, "write", err)
	}
	s.at += size
	*seq++
	j.last++
	j.end.Store(at + size)
	wake(j.dirty)
	wake(j.grown)
	return Position{*seq, at + size}, nil
}

// turn goes on in the next segment, when all of this one is durable: so damage in
// a segment with a successor can't be mistaken for a torn tail.
func (j *Journal) turn() error {
	next, err := j.takeNext()
	if err != nil {
		return err
	}
	s, end := j.current, j.end.Load()
	j.retired = append(j.retired, s)
	j.current = next
	wake(j.dirty) // the one after it is to be made
	if err := j.sealSegment(s, end); err != nil {
		return err
	}
	j.sealed = append(j.sealed, seal{s.index, end})
	return nil
}

// Err is why the journal takes no record any more, a *FailedError, or nil.
func (j *Journal) Err() error {
	if failed := j.failed.Load(); failed != nil {
		return failed
	}
	return nil
}

// fail ends the journal for good. The first reason counts.
func (j *Journal) fail(file string, at int64, op string, err error) error {
	if j.failed.CompareAndSwap(nil, &FailedError{file, at, op, err}) {
		j.log.Error("journal failed", "epoch", j.meta.Epoch, "error", j.failed.Load())
		j.progress.send()
	}
	return j.failed.Load()
}

// Grown is signalled after records were appended, once for several if nobody listens.
func (j *Journal) Grown() <-chan struct{} { return j.grown }

// Bytes returns what waits to be settled, and what the segments that are not settled take on the disk.
func (j *Journal) Bytes() (waiting, allocated int64) {
	return max(0, j.end.Load()-j.settled.Load()), j.held.Load()
}

// Free returns about how many bytes can still be appended before Append fails or is refused.
func (j *Journal) Free() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.readOnly || j.over != nil || j.failed.Load() != nil {
		return 0
	}
	j.making.Lock()
	defer j.making.Unlock()
	free := j.size - j.current.at
	if j.next != nil {
		free += j.size - recordsAt
	}
	room := diskFree(j.folder.dir)
	if most := j.folder.o.MaxBytes; most > 0 {
		room = min(room, most-j.folder.allocated.Load())
	}
	return free + max(0, room)/j.size*(j.size-recordsAt)
}

// hold takes bytes of the folder's limit, or gives them back.
func (j *Journal) hold(bytes int64) {
	j.held.Add(bytes)
	j.folder.allocated.Add(bytes)
}

// wake tells one that listens, now or later.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
