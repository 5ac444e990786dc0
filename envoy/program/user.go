package program

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// User is whom a child runs as.
type User struct {
	Name     string
	UID, GID uint32
}

// Unprivileged is the user that a child of root runs as: the first of the
// given names that this machine knows, else "nobody". It is nil, which means
// no change of user, if this process is not root.
func Unprivileged(names ...string) *User {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range append(names, "nobody") {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil || uid == 0 {
			continue
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			continue
		}
		return &User{Name: name, UID: uint32(uid), GID: uint32(gid)}
	}
	return &User{Name: "65534", UID: 65534, GID: 65534}
}

// credential drops the groups of root too.
func (u *User) credential() *syscall.Credential {
	if u == nil {
		return nil
	}
	return &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: []uint32{}}
}

// CanRead says whether the user may read a file, or enter and list a folder,
// going by the mode bits of it and of every parent. A nil user is the one of this process,
// of whom nothing is asked. Access lists are not looked at.
func (u *User) CanRead(path string) bool {
	if u == nil {
		return true
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return false
	}
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	need := os.FileMode(4)
	if info.IsDir() {
		need = 5
	}
	for {
		if !u.may(info, need) {
			return false
		}
		parent := filepath.Dir(path)
		if parent == path {
			return true
		}
		path, need = parent, 1
		if info, err = os.Stat(path); err != nil {
			return false
		}
	}
}

func (u *User) may(info os.FileInfo, need os.FileMode) bool {
	mode := info.Mode().Perm()
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		switch {
		case st.Uid == u.UID:
			mode >>= 6
		case st.Gid == u.GID:
			mode >>= 3
		}
	}
	return mode&need == need
}

// Home makes a folder of mode 0700 for the files of a child that runs as u,
// and owned by it. It is dir, unless u can't get there: then it is a folder
// named after dir below /var/tmp/keel-0. The same dir gives the same folder every time.
func Home(dir string, u *User) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if u == nil {
		return dir, os.MkdirAll(dir, 0o700)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	if !u.canEnter(filepath.Dir(dir)) {
		shared, err := sharedRoot()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(shared, shortName(dir))
	}
	switch err := os.Mkdir(dir, 0o700); {
	case err == nil:
		return dir, os.Chown(dir, int(u.UID), int(u.GID))
	case !os.IsExist(err):
		return "", err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return "", fmt.Errorf("%s is not a folder: remove it or choose another", dir)
	case ok && st.Uid == u.UID:
		return dir, nil
	case ok && st.Uid == 0 && isEmpty(dir):
		if err := os.Chmod(dir, 0o700); err != nil {
			return "", err
		}
		return dir, os.Chown(dir, int(u.UID), int(u.GID))
	}
	return "", fmt.Errorf("%s belongs to user id %d, not to %s: start keel as that user, or choose another folder", dir, st.Uid, u.Name)
}

func (u *User) canEnter(dir string) bool {
	for {
		info, err := os.Stat(dir)
		if err != nil || !u.may(info, 1) {
			return false
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return true
		}
		dir = parent
	}
}

func isEmpty(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) == 0
}
