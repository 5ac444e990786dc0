package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
)

// Looked is a journal that Look read.
type Looked struct {
	Epoch    uuid.UUID
	Path     string
	Host     string // whose it is
	Finished bool
	Records  int64
	Pruned   bool   // its oldest segments were deleted
	Damage   string // why it was not read to its end, "" where it was
}

// Seen is a record with where it was found.
type Seen struct {
	Record
	Epoch   uuid.UUID
	Settled bool // the journal was told that the database keeps it
}

// Look reads every journal in a folder, in order, for somebody who compares: without taking the folder, and without
// changing anything, also while a process writes to it. Journals that are kept aside are read as far as they go. A copy of a folder will do.
// Payloads are valid until see returns; an error of see ends it.
func Look(dir string, see func(Seen) error) (looked []Looked, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	for _, e := range entries {
		epoch, suffix, ok := epochOf(e.Name())
		if !ok || !e.IsDir() || suffix != "" && suffix != finishedSuffix && !strings.HasPrefix(suffix, asideInfix) {
			continue
		}
		l := Looked{Epoch: epoch, Path: filepath.Join(dir, e.Name()), Finished: suffix == finishedSuffix}
		err := l.read(see)
		if errors.Is(err, fs.ErrNotExist) { // it was finished meanwhile
			l.Path, l.Finished, l.Records, l.Damage = filepath.Join(dir, epoch.String()+finishedSuffix), true, 0, ""
			err = l.read(see)
		}
		if err != nil {
			return looked, err
		}
		looked = append(looked, l)
	}
	return looked, nil
}

func (l *Looked) read(see func(Seen) error) error {
	m, err := readMeta(l.Path, l.Epoch)
	var damaged *DamagedError
	var version *VersionError
	if errors.As(err, &damaged) || errors.As(err, &version) {
		if _, gone := os.Stat(l.Path); gone != nil {
			return gone
		}
		l.Damage = err.Error()
		return nil
	}
	if err != nil {
		return err
	}
	l.Host = m.Host
	all, _, err := listSegments(l.Path)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		l.Damage = "it has no segments"
		return nil
	}
	l.Pruned = all[0].index != 1
	j := &Journal{meta: m, path: l.Path, size: m.SegmentBytes, salt: saltOf(m.Epoch)}
	c := &chain{salt: j.salt, fromZero: !l.Pruned}
	var buffer []byte
	for i, s := range all {
		if i > 0 && s.index != all[i-1].index+1 {
			l.Damage = fmt.Sprintf("segment %d follows segment %d", s.index, all[i-1].index)
			return nil
		}
		data, err := readSegment(s.name, j.size, buffer)
		if errors.Is(err, fs.ErrNotExist) && !s.settled { // it was settled meanwhile
			s.name, s.settled = j.segmentPath(s.index, settledSuffix), true
			data, err = readSegment(s.name, j.size, buffer)
		}
		if errors.As(err, &damaged) {
			l.Damage = err.Error()
			return nil
		}
		if err != nil {
			return err
		}
		buffer = data
		if l.Damage, err = j.lookSegment(c, data, s, i == len(all)-1, func(f *frame) error {
			l.Records++
			return see(Seen{Record{Position: Position{Seq: f.seq}, Org: string(f.org), JournalSeq: f.journalSeq, Kind: f.kind, Payload: f.payload, Segment: s.index}, l.Epoch, s.settled || l.Finished})
		}); err != nil || l.Damage != "" {
			return err
		}
	}
	return nil
}

// lookSegment reads the records of a segment. What follows the last one of a journal may be a record on its way.
func (j *Journal) lookSegment(c *chain, data []byte, s listed, last bool, see func(*frame) error) (damage string, err error) {
	synced, _, err := j.checkHead(data, s)
	if err != nil {
		return err.Error(), nil
	}
	at := int64(recordsAt)
	for {
		f, ok := parse(data[min(at, int64(len(data))):], c.salt, j.base(s.index)+at)
		if !ok {
			break
		}
		if why := c.follow(&f); why != "" {
			return fmt.Sprintf("%s at %d: %s", s.name, at, why), nil
		}
		if err := see(&f); err != nil {
			return "", err
		}
		at += f.size
	}
	switch {
	case synced > j.base(s.index)+at:
		return fmt.Sprintf("%s at %d: there is no valid record, but it was durable up to %d", s.name, at, synced-j.base(s.index)), nil
	case !last && !allZero(data[min(at, int64(len(data))):]):
		return fmt.Sprintf("%s at %d: there is no valid record, and the journal goes on", s.name, at), nil
	}
	return "", nil
}
