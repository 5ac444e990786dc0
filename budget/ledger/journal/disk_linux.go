package journal

import "syscall"

func fdatasync(fd int) error { return syscall.Fdatasync(fd) }

func fallocate(fd int, size int64) error { return syscall.Fallocate(fd, 0, 0, size) }
