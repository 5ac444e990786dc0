package audit

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Anchor keeps checkpoints where who administers the database has no hand: then even a log that was
// rewritten as a whole, with the key, is found out.
type Anchor interface {
	// Put keeps a signed checkpoint for good. Putting one twice changes nothing.
	Put(size int64, signed string) error
	// All returns what was put, oldest first.
	All() (signed []string, err error)
	// String is its address, for people.
	String() string
}

// OpenAnchor returns the anchor of an address: a folder, or a file that is appended to where it begins with "file:".
func OpenAnchor(address string) (Anchor, error) {
	if name, ok := strings.CutPrefix(address, "file:"); ok {
		return fileAnchor(name), nil
	}
	dir := strings.TrimPrefix(address, "dir:")
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return nil, fmt.Errorf("anchor %s: it is no folder; write file:%s for a file that is appended to", dir, dir)
	}
	return folderAnchor(dir), nil
}

// folderAnchor has a file for each checkpoint, which is never written again: the shape of a bucket with object lock, or
// of a folder on a write-once volume. A file's name is the size of the log, and where two logs had one size, a part of the hash of the second one's name.
type folderAnchor string

func (a folderAnchor) String() string { return string(a) }

const checkpointSuffix = ".checkpoint"

func (a folderAnchor) Put(size int64, signed string) error {
	if err := os.MkdirAll(string(a), 0o755); err != nil {
		return fmt.Errorf("anchor: %w", err)
	}
	name := filepath.Join(string(a), fmt.Sprintf("%016d%s", size, checkpointSuffix))
	was, err := os.ReadFile(name)
	if err == nil && originOf(string(was)) != originOf(signed) {
		// A log that ended was of that size once, and the one that goes on in its place is now.
		of := sha256.Sum256([]byte(originOf(signed)))
		name = filepath.Join(string(a), fmt.Sprintf("%016d-%x%s", size, of[:4], checkpointSuffix))
		was, err = os.ReadFile(name)
	}
	if err == nil {
		if string(was) != signed {
			return fmt.Errorf("anchor %s: it has another checkpoint already, and is never written again", name)
		}
		return nil
	}
	// Whole or not at all: a link to a finished file can't replace one that is there.
	whole, err := os.CreateTemp(string(a), ".new-*")
	if err != nil {
		return fmt.Errorf("anchor: %w", err)
	}
	defer os.Remove(whole.Name())
	_, err = whole.WriteString(signed)
	if err := errors.Join(err, whole.Chmod(0o444), whole.Sync(), whole.Close()); err != nil {
		return fmt.Errorf("anchor: %w", err)
	}
	if err := os.Link(whole.Name(), name); err != nil {
		return fmt.Errorf("anchor: %w", err)
	}
	return syncFolder(string(a))
}

// originOf is the log that a note is of.
func originOf(signed string) string {
	origin, _, _ := strings.Cut(signed, "\n")
	return origin
}

func (a folderAnchor) All() (signed []string, err error) {
	names, err := filepath.Glob(filepath.Join(string(a), "*"+checkpointSuffix))
	if err != nil {
		return nil, fmt.Errorf("anchor %s: %w", a, err)
	}
	if _, err := os.Stat(string(a)); err != nil {
		return nil, fmt.Errorf("anchor: %w", err)
	}
	slices.Sort(names)
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("anchor: %w", err)
		}
		signed = append(signed, string(text))
	}
	return signed, nil
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("anchor: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("anchor: %w", err)
	}
	return nil
}

// fileAnchor is one file that is only appended to: for chattr +a, or a log shipper that takes it elsewhere. Between two
// notes is a line with nothing but "--".
type fileAnchor string

func (a fileAnchor) String() string { return "file:" + string(a) }

const between = "--\n"

func (a fileAnchor) Put(_ int64, signed string) error {
	was, err := os.ReadFile(string(a))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("anchor: %w", err)
	}
	if bytes.HasSuffix(was, []byte(signed+between)) {
		return nil
	}
	f, err := os.OpenFile(string(a), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("anchor: %w", err)
	}
	_, err = f.WriteString(signed + between)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("anchor: %w", err)
	}
	return nil
}

// All leaves out an end without its line, which is a Put that was cut.
func (a fileAnchor) All() (signed []string, err error) {
	text, err := os.ReadFile(string(a))
	if err != nil {
		return nil, fmt.Errorf("anchor: %w", err)
	}
	parts := strings.SplitAfter(string(text), "\n"+between)
	for _, part := range parts[:len(parts)-1] {
		signed = append(signed, strings.TrimSuffix(part, between))
	}
	return signed, nil
}
