package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	openSuffix    = ".seg"
	settledSuffix = ".done"
)

// segment is a file that is written, or will be next.
type segment struct {
	file  *os.File
	fd    int
	name  string
	index int64 // from 1
	at    int64 // where the next record goes
}

func segmentName(index int64, suffix string) string { return fmt.Sprintf("%06d%s", index, suffix) }

// makeSegment makes a file of zeros that is durable with its name. Under its name
// it is whole, because it gets it last.
func (j *Journal) makeSegment(dir string, index int64) (s *segment, err error) {
	name := filepath.Join(dir, segmentName(index, openSuffix))
	young := name + ".new"
	failed := func(op string, at int64, err error) (*segment, error) {
		err = &FailedError{name, at, op, err}
		if s != nil {
			err = errors.Join(err, s.file.Close(), os.Remove(young))
		}
		return nil, err
	}
	file, err := os.OpenFile(young, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o640)
	if err != nil {
		return failed("create", 0, err)
	}
	s = &segment{file, int(file.Fd()), name, index, recordsAt}
	if err := j.disk.allocate(s.fd, j.size); err != nil {
		return failed("allocate", 0, err)
	}
	if err := j.disk.write(s.fd, segmentHead(j.meta.Epoch, index, j.size), 0); err != nil {
		return failed("write", 0, err)
	}
	if err := j.disk.fdatasync(s.fd); err != nil {
		return failed("sync", 0, err)
	}
	if err := j.disk.move(young, name); err != nil {
		return failed("name", 0, err)
	}
	return s, nil
}

// listed is a segment in a folder.
type listed struct {
	index   int64
	name    string
	settled bool
}

// listSegments returns the segments of a journal in order, and how many of the first are settled.
func listSegments(dir string) (all []listed, settled int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, 0, err
	}
	for _, e := range entries {
		number, suffix, _ := strings.Cut(e.Name(), ".")
		suffix = "." + suffix
		index, err := strconv.ParseInt(number, 10, 64)
		if (suffix == openSuffix || suffix == settledSuffix) && err == nil && index > 0 {
			all = append(all, listed{index, filepath.Join(dir, e.Name()), suffix == settledSuffix})
		}
	}
	slices.SortFunc(all, func(a, b listed) int { return int(a.index - b.index) })
	for settled < len(all) && all[settled].settled {
		settled++
	}
	return all, settled, nil
}
