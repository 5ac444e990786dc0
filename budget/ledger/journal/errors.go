package journal

import (
	"errors"
	"fmt"
)

// Errors of a journal that is in order, asked at the wrong time.
var (
	ErrClosed   = errors.New("journal: closed")
	ErrReadOnly = errors.New("journal: read-only: it is of an earlier epoch")
)

// InUseError says that another process has the folder.
type InUseError struct {
	Dir  string
	PID  int    // 0 when the owner did not say
	Host string // "" when the owner did not say
}

func (e *InUseError) Error() string {
	owner := "another process"
	if e.PID != 0 {
		owner = fmt.Sprintf("process %d on host %s", e.PID, e.Host)
	}
	return fmt.Sprintf("journal folder %s is in use by %s: give each replica a folder of its own, or end that process", e.Dir, owner)
}

// FailedError says why a journal takes no record any more, for good. What was
// appended before can still be read.
type FailedError struct {
	File   string
	Offset int64  // in the file: where the write was to go, or from where on nothing is known to be durable
	Op     string // allocate, write, sync
	Err    error  // usually a syscall.Errno
}

func (e *FailedError) Error() string {
	return fmt.Sprintf("journal: %s %s at offset %d: %v; nothing more is written to this journal: make room or repair the disk, and begin a new one", e.Op, e.File, e.Offset, e.Err)
}

func (e *FailedError) Unwrap() error { return e.Err }

// FullError says that Options.MaxBytes is used up. It passes when records are settled.
type FullError struct {
	Dir             string
	Allocated, Most int64
}

func (e *FullError) Error() string {
	return fmt.Sprintf("journals in %s: %d bytes wait to be settled, and another segment would make more than %d: see whether the database takes records, or raise the limit", e.Dir, e.Allocated, e.Most)
}

// TooLargeError says that a record fits in no segment.
type TooLargeError struct{ Bytes, Most int64 }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("journal: a record of %d bytes fits in no segment, which has room for %d: use larger segments", e.Bytes, e.Most)
}

// DamagedError says that what was durable in a journal is not there any more, or was changed.
type DamagedError struct {
	File   string
	Offset int64
	Why    string
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("journal: %s is damaged at offset %d: %s", e.File, e.Offset, e.Why)
}

// VersionError says that a journal is of another format.
type VersionError struct {
	File string
	Has  int
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("journal: %s says format version %d, this program reads %d", e.File, e.Has, formatVersion)
}

// HostError says that a journal was written on another host.
type HostError struct {
	File      string
	Has, Here string
}

func (e *HostError) Error() string {
	return fmt.Sprintf("journal: %s is of host %q, this is %q", e.File, e.Has, e.Here)
}
