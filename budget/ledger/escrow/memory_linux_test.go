package escrow

import "syscall"

// memory is a folder that is no disk, where there is one with room: the simulator syncs often. A container may have one of 64 MB, which others fill, too.
func memory() string {
	var is syscall.Statfs_t
	if err := syscall.Statfs("/dev/shm", &is); err != nil || is.Bavail*uint64(is.Bsize) < 256<<20 {
		return ""
	}
	return "/dev/shm"
}
