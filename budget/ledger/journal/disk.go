package journal

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// disk is what a journal does to files, so that tests can let each of it fail.
type disk struct {
	pwrite    func(fd int, b []byte, at int64) (int, error)
	fdatasync func(fd int) error
	fallocate func(fd int, size int64) error
	rename    func(from, to string) error
	syncDir   func(dir string) error
}

var realDisk = disk{pwrite: syscall.Pwrite, fdatasync: fdatasync, fallocate: fallocate, rename: os.Rename, syncDir: syncDir}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// write writes all of b. Half a write is a failed write: the rest would
// most likely tell why, but the file is given up anyway.
func (d *disk) write(fd int, b []byte, at int64) error {
	for {
		n, err := d.pwrite(fd, b, at)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return err
		case n < len(b):
			return io.ErrShortWrite
		default:
			return nil
		}
	}
}

// allocate makes sure that size bytes can be written without finding the disk full.
func (d *disk) allocate(fd int, size int64) error {
	var err error
	for err = d.fallocate(fd, size); err == syscall.EINTR; err = d.fallocate(fd, size) {
	}
	if err != syscall.EOPNOTSUPP && err != syscall.ENOSYS {
		return err
	}
	zeros := make([]byte, min(size, 1<<20))
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if err := d.write(fd, zeros[:min(int64(len(zeros)), size-at)], at); err != nil {
			return err
		}
	}
	return nil
}

// writeFile makes a small file that is durable, but for its name in the folder.
func (d *disk) writeFile(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	if err = d.write(int(f.Fd()), b, 0); err == nil {
		err = d.fdatasync(int(f.Fd()))
	}
	return errors.Join(err, f.Close())
}

// move renames within a folder, durably.
func (d *disk) move(from, to string) error {
	if err := d.rename(from, to); err != nil {
		return err
	}
	return d.syncDir(filepath.Dir(to))
}

// diskFree is what the file system of a folder has left for us, 0 when it does not say.
func diskFree(dir string) int64 {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0
	}
	return int64(s.Bavail) * int64(s.Bsize)
}
