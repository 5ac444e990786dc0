package program

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// CacheDir is where installed programs are kept: $KEEL_CACHE, else preferred
// if it is not "", else .keel/cache in the root of Keel's own checkout if the
// working directory lies in one, else .keel/cache in the working directory.
func CacheDir(preferred string) (string, error) {
	if dir := os.Getenv("KEEL_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	if preferred != "" {
		return filepath.Abs(preferred)
	}
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		if isKeelModule(filepath.Join(dir, "go.mod")) {
			return filepath.Join(dir, ".keel", "cache"), nil
		}
		if dir == filepath.Dir(dir) {
			return filepath.Join(wd, ".keel", "cache"), nil
		}
	}
}

func isKeelModule(file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, ok := strings.CutPrefix(strings.TrimSpace(s.Text()), "module "); ok {
			return strings.TrimSpace(name) == "keel"
		}
	}
	return false
}

// cacheFor is CacheDir if the user can read what lies there, else a folder
// below /var/tmp/keel-0. It exists when cacheFor returns.
func cacheFor(preferred string, u *User) (string, error) {
	dir, err := CacheDir(preferred)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("cache folder: %w: name another in KEEL_CACHE", err)
	}
	if u.CanRead(dir) {
		return dir, nil
	}
	shared, err := sharedRoot()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(shared, "cache")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755) // whatever the umask made of it
}

// sharedRoot is a folder of this user that others can pass through but not
// list. Its name is known to everyone and its parent is writable by everyone,
// so one that somebody else made is refused.
func sharedRoot() (string, error) {
	parent := "/var/tmp" // outlives a reboot, other than /tmp
	if info, err := os.Stat(parent); err != nil || !info.IsDir() {
		parent = os.TempDir()
	}
	dir := filepath.Join(parent, fmt.Sprintf("keel-%d", os.Geteuid()))
	if err := os.Mkdir(dir, 0o711); err != nil && !os.IsExist(err) {
		return "", err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return "", fmt.Errorf("%s is not a folder that only user id %d can write to: remove it", dir, os.Geteuid())
	}
	return dir, os.Chmod(dir, 0o711) // whatever the umask made of it
}

// shortName names a folder after another: short, as socket paths have to be.
func shortName(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return filepath.Base(dir) + "-" + hex.EncodeToString(sum[:6])
}
