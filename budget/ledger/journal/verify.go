package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// chain follows records in order: neither the journal nor an org leaves out a number.
type chain struct {
	salt     uint32
	fromZero bool // the first record of all is among those seen: every org begins at 1
	last     uint64
	orgs     map[string]*uint64
}

// follow returns why a record that is in order by itself is not the next one, or "".
func (c *chain) follow(f *frame) string {
	if c.orgs == nil {
		c.orgs = make(map[string]*uint64)
		if !c.fromZero {
			c.last = f.journalSeq - 1
		}
	}
	if f.journalSeq != c.last+1 {
		return fmt.Sprintf("record %d follows record %d", f.journalSeq, c.last)
	}
	before := c.orgs[string(f.org)]
	if before == nil {
		before = new(uint64)
		if !c.fromZero {
			*before = f.seq - 1
		}
		c.orgs[string(f.org)] = before
	}
	if f.seq != *before+1 || f.seq == 0 {
		return fmt.Sprintf("of org %q record %d follows record %d", f.org, f.seq, *before)
	}
	c.last++
	*before = f.seq
	return ""
}

// scan reads the records of a segment, which begins at a position of the journal.
// It returns where they end, and damage that is sure whatever else is found.
func (c *chain) scan(data []byte, base int64) (end int64, why string) {
	for at := int64(recordsAt); ; {
		f, ok := parse(data[min(at, int64(len(data))):], c.salt, base+at)
		if !ok {
			return at, ""
		}
		if int64(f.synced) > base+at {
			return at, "the record claims that bytes behind itself were durable"
		}
		if why := c.follow(&f); why != "" {
			return at, why
		}
		at += f.size
	}
}

// torn tells a torn tail from damage: whether nothing shows that what follows the end of
// the records was durable. It returns why not, or "".
func (c *chain) torn(data []byte, base, end int64) string {
	// Bytes made to look like many long records must not cost more than reading the file a few times.
	budget := 4 * int64(len(data))
	for at := end + alignment; at+smallest <= int64(len(data)); at += alignment {
		size := extent(data[at:])
		if size < smallest || size > int64(len(data))-at {
			continue
		}
		if budget -= size; budget < 0 {
			return "what follows looks like far more records than there can be"
		}
		if f, ok := parse(data[at:], c.salt, base+at); ok {
			if int64(f.synced) > base+end {
				return fmt.Sprintf("there is no valid record, but the one at %d says that it was durable up to %d", at, int64(f.synced)-base)
			}
			at += f.size - alignment
		}
	}
	return ""
}

// readSegment reads a whole segment, into a buffer if it is large enough. What the file lacks is cut off.
func readSegment(name string, size int64, buffer []byte) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if size = min(size, info.Size()); int64(cap(buffer)) < size {
		buffer = make([]byte, size)
	}
	n, err := io.ReadFull(file, buffer[:size])
	if errors.Is(err, syscall.EIO) {
		return nil, &DamagedError{name, int64(n), "it can't be read: " + err.Error()}
	}
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return buffer[:n], nil
}

// checkHead checks what lies before the records, and returns the mark.
func (j *Journal) checkHead(data []byte, s listed) (synced int64, sealed bool, err error) {
	if len(data) < recordsAt {
		return 0, false, &DamagedError{s.name, int64(len(data)), "it is cut off before the first record"}
	}
	head := segmentHead(j.meta.Epoch, s.index, j.size)
	if !bytes.Equal(data[:headBytes], head) || !allZero(data[headBytes:markAt]) {
		return 0, false, &DamagedError{s.name, 0, "its head is not that of this segment of this journal"}
	}
	synced, sealed, ok := parseMark(data[markAt:], j.salt, s.index)
	if !ok || !allZero(data[markAt+markBytes:recordsAt]) {
		return 0, false, &DamagedError{s.name, markAt, "its mark was changed"}
	}
	return synced, sealed, nil
}

// verify reads all that is not settled, and learns where it ends. It returns a
// *DamagedError unless everything that was ever durable is there, unchanged.
func (j *Journal) verify() error {
	all, first, err := listSegments(j.path)
	if err != nil {
		return err
	}
	if err := contiguous(j.path, all, first); err != nil {
		return err
	}
	open := all[first:]
	if len(open) == 0 {
		return j.verifyEnd(all[len(all)-1])
	}
	j.moveTo(j.base(open[0].index) + recordsAt)
	c := &chain{salt: j.salt, fromZero: open[0].index == 1}
	var buffer []byte
	var before struct {
		listed
		torn bool
		end  int64
	}
	for i, s := range open {
		data, err := readSegment(s.name, j.size, buffer)
		if err != nil {
			return err
		}
		buffer = data
		synced, sealed, err := j.checkHead(data, s)
		if err != nil {
			return err
		}
		base := j.base(s.index)
		if before.torn && !allZero(data[recordsAt:]) {
			return &DamagedError{before.name, before.end, fmt.Sprintf("there is no valid record, but the journal goes on in %s, so all of this was durable", s.name)}
		}
		end, why := c.scan(data, base)
		torn := !allZero(data[end:])
		if why == "" && synced > base+end {
			why = fmt.Sprintf("there is no valid record, but it was durable up to %d", synced-base)
		}
		if why == "" && torn {
			why = c.torn(data, base, end)
		}
		if why == "" && sealed && i == len(open)-1 {
			why = "the next segment is missing"
		}
		if why != "" {
			return &DamagedError{s.name, end, why}
		}
		if end > recordsAt {
			if n := len(j.sealed); n > 0 && j.sealed[n-1].end == 0 {
				return &DamagedError{before.name, recordsAt, "it is empty, but the journal goes on behind it"}
			}
			j.end.Store(base + end)
		}
		before.listed, before.torn, before.end = s, torn, end
		j.sealed = append(j.sealed, seal{s.index, 0})
		if end > recordsAt {
			j.sealed[i].end = base + end
		}
	}
	for len(j.sealed) > 0 && j.sealed[len(j.sealed)-1].index >= j.indexOf(j.end.Load()) {
		j.sealed = j.sealed[:len(j.sealed)-1] // the last one with records is marked when the journal is finished
	}
	return nil
}

// verifyEnd learns where a journal ends of which all is settled.
func (j *Journal) verifyEnd(s listed) error {
	data, err := readSegment(s.name, j.size, nil)
	if err != nil {
		return err
	}
	if _, _, err := j.checkHead(data, s); err != nil {
		return err
	}
	c := &chain{salt: j.salt, fromZero: s.index == 1}
	end, why := c.scan(data, j.base(s.index))
	if why != "" {
		return &DamagedError{s.name, end, why}
	}
	j.moveTo(j.base(s.index) + end)
	return nil
}

// contiguous checks that no segment is missing. Those before the last settled one may have been pruned.
func contiguous(dir string, all []listed, first int) error {
	for i, s := range all {
		switch {
		case i == 0 && s.index != 1 && first == 0:
			return &DamagedError{dir, 0, fmt.Sprintf("segment %d is the first and not settled, so those before it are missing", s.index)}
		case i > 0 && s.index != all[i-1].index+1:
			return &DamagedError{dir, 0, fmt.Sprintf("segment %d follows segment %d", s.index, all[i-1].index)}
		}
	}
	if len(all) == 0 {
		return &DamagedError{dir, 0, "there are no segments"}
	}
	return nil
}

// syncLeft makes durable what a process that was killed left in memory, before anybody relies on it.
func (j *Journal) syncLeft() error {
	all, first, err := listSegments(j.path)
	if err != nil {
		return err
	}
	for _, s := range all[first:] {
		file, err := os.Open(s.name)
		if err != nil {
			return err
		}
		if err := errors.Join(j.disk.fdatasync(int(file.Fd())), file.Close()); err != nil {
			return fmt.Errorf("sync %s: %w", s.name, err)
		}
	}
	j.synced.Store(j.end.Load())
	return nil
}
