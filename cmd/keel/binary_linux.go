package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// What a start needs of the binary, it needs once: the initialisation of seven hundred packages, the commands, the reading of prices. To
// serve calls takes a third of the 45 MB that are mapped by then, since Linux maps 64 KiB around whatever is touched. The
// rest is given back here. Nothing is lost: these pages are the file's, and what is touched again is mapped again, from the
// page cache for as long as that has room.

// releaseBinary unmaps the pages of the program's own file that nobody wrote to.
func releaseBinary() error {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return err
	}
	unwritten, err := unwrittenOf(bytes.NewReader(maps), self)
	for _, m := range unwritten {
		if _, _, failed := syscall.Syscall(syscall.SYS_MADVISE, m.start, m.end-m.start, syscall.MADV_DONTNEED); failed != 0 {
			err = errors.Join(err, fmt.Errorf("madvise(%x-%x): %w", m.start, m.end, failed))
		}
	}
	return err
}

// mapping is a range of addresses.
type mapping struct{ start, end uintptr }

// unwrittenOf reads smaps; see proc_pid_smaps(5). It returns the mappings of file that can't be written to and have no page of their own, which
// would be lost: those that a dynamic loader relocated, or that a debugger has a breakpoint in.
func unwrittenOf(smaps io.Reader, file string) (unwritten []mapping, err error) {
	var m *mapping
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		line := lines.Text()
		fields := strings.Fields(line)
		if len(fields) >= 5 && !strings.HasSuffix(fields[0], ":") { // address perms offset dev inode [pathname]
			m = nil
			if strings.Contains(fields[1], "w") || !strings.HasSuffix(line, " "+file) {
				continue
			}
			start, end, _ := strings.Cut(fields[0], "-")
			from, err := strconv.ParseUint(start, 16, 64)
			if err != nil {
				return nil, fmt.Errorf("smaps: %q: %w", line, err)
			}
			to, err := strconv.ParseUint(end, 16, 64)
			if err != nil {
				return nil, fmt.Errorf("smaps: %q: %w", line, err)
			}
			m = &mapping{uintptr(from), uintptr(to)}
			continue
		}
		if m != nil && len(fields) == 3 && fields[0] == "Anonymous:" {
			if fields[1] == "0" {
				unwritten = append(unwritten, *m)
			}
			m = nil
		}
	}
	return unwritten, lines.Err()
}
