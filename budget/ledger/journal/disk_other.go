//go:build !linux

package journal

import "syscall"

func fdatasync(fd int) error { return syscall.Fsync(fd) }

func fallocate(int, int64) error { return syscall.EOPNOTSUPP }
