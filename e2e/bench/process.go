package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// tick is the unit of CPU times in /proc: USER_HZ, 100 a second on every Linux
// that Go runs on (see clock(3) and asm/param.h).
const tick = 10 * time.Millisecond

// stat is what matters of /proc/PID/stat; see proc_pid_stat(5).
type stat struct {
	parent   int
	own      time.Duration // user and system time of its threads, also of those that ended
	children time.Duration // the same of children that ended and were waited for, and theirs
	resident int64         // bytes
}

// parseStat reads one line. The second field is the program's name in
// parentheses, which may hold anything, also spaces and parentheses.
func parseStat(line []byte) (stat, error) {
	end := bytes.LastIndexByte(line, ')')
	if end < 0 {
		return stat{}, fmt.Errorf("no name in %q", line)
	}
	const first = 3 // number of the field after the name
	fields := bytes.Fields(line[end+1:])
	const parent, user, system, childUser, childSystem, resident = 4, 14, 15, 16, 17, 24
	if len(fields) <= resident-first {
		return stat{}, fmt.Errorf("%d fields after the name in %q", len(fields), line)
	}
	var err error
	number := func(field int) int64 {
		n, e := strconv.ParseInt(string(fields[field-first]), 10, 64)
		if e != nil && err == nil {
			err = fmt.Errorf("field %d: %w", field, e)
		}
		return n
	}
	s := stat{
		parent:   int(number(parent)),
		own:      time.Duration(number(user)+number(system)) * tick,
		children: time.Duration(number(childUser)+number(childSystem)) * tick,
		resident: number(resident) * int64(os.Getpagesize()),
	}
	return s, err
}

func readStat(pid int) (stat, error) {
	file := filepath.Join("/proc", strconv.Itoa(pid), "stat")
	line, err := os.ReadFile(file)
	if err != nil {
		return stat{}, err
	}
	s, err := parseStat(line)
	if err != nil {
		return stat{}, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// tree adds up a process and all that it started, gone or not. A process that
// ends between two looks has its time in its parent's.
func tree(pid int) (stat, error) {
	sum, err := readStat(pid)
	if err != nil {
		return stat{}, err
	}
	sum.own, sum.children = sum.own+sum.children, 0
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return stat{}, err
	}
	all := map[int]stat{}
	for _, entry := range entries {
		n, err := strconv.Atoi(filepath.Base(entry))
		if err != nil {
			continue
		}
		if s, err := readStat(n); err == nil { // else it is gone
			all[n] = s
		}
	}
	for n, s := range all {
		if n != pid && descends(all, n, pid) {
			sum.own += s.own + s.children
			sum.resident += s.resident
		}
	}
	return sum, nil
}

func descends(all map[int]stat, pid, from int) bool {
	for range len(all) {
		s, ok := all[pid]
		if !ok {
			return false
		}
		if s.parent == from {
			return true
		}
		pid = s.parent
	}
	return false
}
