package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Record is what was appended.
type Record struct {
	Position
	Org        string
	JournalSeq uint64 // of all orgs, from 1 and without gaps
	Kind       byte
	Payload    []byte // valid until the next call
	Segment    int64  // number of the file, from 1
}

const readAhead = 256 << 10

// Reader reads a journal in order, behind its writer. It holds no file open. It is not
// safe for concurrent use.
type Reader struct {
	j     *Journal
	chain chain
	at    int64  // position of the next record
	ahead []byte // what was read from there on
	memo  []byte // buffer of ahead
	names map[string]string
}

// Reader begins with the first segment that is not settled.
func (j *Journal) Reader() *Reader {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := &Reader{j: j, names: make(map[string]string)}
	end := j.end.Load()
	switch {
	case len(j.sealed) > 0:
		r.begin(j.base(j.sealed[0].index) + recordsAt)
	case j.finished.Load() || j.readOnly && j.settled.Load() == end:
		r.begin(end)
	default:
		r.begin(j.base(j.indexOf(end)) + recordsAt)
	}
	return r
}

// Rewind lets a reader begin again with the first record that is kept, for a database
// that forgot. It reads what is settled once to its end before, and returns a
// *DamagedError, and does not move the reader, when that is not whole.
func (j *Journal) Rewind(r *Reader) error {
	j.files.RLock()
	defer j.files.RUnlock()
	if j.left {
		return ErrClosed
	}
	all, settled, err := listSegments(j.path)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if len(all) == 0 {
		return &DamagedError{j.path, 0, "there are no segments"}
	}
	c := &chain{salt: j.salt, fromZero: all[0].index == 1}
	var buffer []byte
	for i, s := range all[:settled] {
		if i > 0 && s.index != all[i-1].index+1 {
			return &DamagedError{j.path, 0, fmt.Sprintf("segment %d follows segment %d", s.index, all[i-1].index)}
		}
		data, err := readSegment(s.name, j.size, buffer)
		if err != nil {
			return err
		}
		buffer = data
		synced, _, err := j.checkHead(data, s)
		if err != nil {
			return err
		}
		end, why := c.scan(data, j.base(s.index))
		if why == "" && (!allZero(data[end:]) || synced > j.base(s.index)+end) {
			why = "there is no valid record, but all of this was settled"
		}
		if why != "" {
			return &DamagedError{s.name, end, why}
		}
	}
	r.begin(j.base(all[0].index) + recordsAt)
	return nil
}

func (r *Reader) begin(at int64) {
	r.at, r.ahead = at, nil
	r.chain = chain{salt: r.j.salt, fromZero: at == recordsAt}
}

// Next returns the next record. It is not ok where there is none at the moment. A
// *DamagedError says that the file was changed since it was verified or written.
func (r *Reader) Next() (rec Record, ok bool, err error) {
	for {
		end := r.j.end.Load()
		if r.at >= end {
			return Record{}, false, nil
		}
		index := r.j.indexOf(r.at + 1)
		if start := r.j.base(index) + recordsAt; r.at < start { // the segment before was full to the last byte
			r.at, r.ahead = start, nil
		}
		size, err := r.fill(index, end)
		if errors.Is(err, fs.ErrNotExist) && r.pruned(index) {
			continue
		}
		if err != nil {
			return Record{}, false, err
		}
		if size == 0 && index < r.j.indexOf(end) {
			r.at, r.ahead = r.j.base(index+1)+recordsAt, nil
			continue
		}
		f, ok := parse(r.ahead, r.j.salt, r.at)
		why := "there is no valid record"
		if ok {
			why = r.chain.follow(&f)
		}
		if why != "" {
			return Record{}, false, &DamagedError{r.j.fileName(index), r.at - r.j.base(index), why}
		}
		r.at += f.size
		r.ahead = r.ahead[f.size:]
		return Record{Position: Position{f.seq, r.at}, Org: r.name(f.org), JournalSeq: f.journalSeq, Kind: f.kind, Payload: f.payload, Segment: index}, true, nil
	}
}

// name makes one string of every org.
func (r *Reader) name(org []byte) string {
	s, ok := r.names[string(org)]
	if !ok {
		s = string(org)
		r.names[s] = s
	}
	return s
}

// fill makes sure that all of the next record is read, if the segment has one. It returns its size, or 0.
func (r *Reader) fill(index, end int64) (size int64, err error) {
	if len(r.ahead) >= frameBytes {
		size = extent(r.ahead)
		if size == 0 || size <= int64(len(r.ahead)) {
			return size, nil
		}
	}
	limit := min(end, r.j.base(index+1)) - r.at // of what may be read of this segment
	if limit < frameBytes {
		return 0, nil
	}
	if err := r.read(index, min(max(size, readAhead), limit)); err != nil || len(r.ahead) < frameBytes {
		return 0, err
	}
	if size = extent(r.ahead); size > int64(len(r.ahead)) && int64(len(r.ahead)) < limit {
		return size, r.read(index, min(size, limit))
	}
	return size, nil
}

// read reads ahead from where the reader is. A file that is too short gives less.
func (r *Reader) read(index, n int64) error {
	r.j.files.RLock()
	defer r.j.files.RUnlock()
	if r.j.left {
		return ErrClosed
	}
	file, err := r.j.openSegment(index)
	if err != nil {
		return err
	}
	defer file.Close()
	if int64(cap(r.memo)) < n || int64(cap(r.memo)) > 4<<20 && n <= readAhead {
		r.memo = make([]byte, n)
	}
	got, err := file.ReadAt(r.memo[:n], r.at-r.j.base(index))
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("journal: %w", err)
	}
	r.ahead = r.memo[:got]
	return nil
}

// pruned moves the reader to the first segment that is kept, if the one that it reads was
// old enough to be deleted meanwhile.
func (r *Reader) pruned(index int64) bool {
	r.j.files.RLock()
	defer r.j.files.RUnlock()
	all, _, err := listSegments(r.j.path)
	if err != nil || len(all) == 0 || all[0].index <= index {
		return false
	}
	r.begin(r.j.base(all[0].index) + recordsAt)
	return true
}

// openSegment opens a segment under the name that it has now; j.files is held.
func (j *Journal) openSegment(index int64) (*os.File, error) {
	file, err := os.Open(j.segmentPath(index, openSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		file, err = os.Open(j.segmentPath(index, settledSuffix))
	}
	return file, err
}
