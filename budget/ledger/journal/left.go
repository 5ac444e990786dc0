package journal

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"
)

const (
	asideInfix     = ".aside-"
	asideName      = "aside.json"
	finishedSuffix = ".finished"
	youngSuffix    = ".new"
)

// Aside is a journal that was not read, and is kept for a person to look at. What it holds
// that was not settled before is not settled.
type Aside struct {
	Path   string    `json:"-"` // of its folder, which was renamed
	Epoch  uuid.UUID `json:"epoch"`
	Kind   string    `json:"kind"` // damaged, version or host
	File   string    `json:"file"` // that showed it, as it was named then
	Offset int64     `json:"offset"`
	Reason string    `json:"reason"` // what is wrong and what to do
}

// Left returns the journals of earlier epochs, oldest first, to be read, settled and finished.
// Each was read once to its end: one that is damaged, of another format version or of another
// host is renamed, and reported now and every time from now on. A journal that a process
// died in the middle of beginning held nothing yet, and is deleted.
func (f *Folder) Left() (found []*Journal, aside []Aside, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, nil, ErrClosed
	}
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, nil, fmt.Errorf("journal: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(f.dir, e.Name())
		epoch, suffix, ok := epochOf(e.Name())
		switch {
		case !ok || !e.IsDir() || suffix == finishedSuffix:
		case suffix == youngSuffix:
			if err := os.RemoveAll(path); err != nil {
				return nil, nil, fmt.Errorf("journal: %w", err)
			}
		case strings.HasPrefix(suffix, asideInfix):
			aside = append(aside, readAside(path, epoch, suffix))
		case suffix == "" && f.journals[epoch] == nil:
			j, err := f.openLeft(path, epoch)
			var a *Aside
			if err != nil {
				a, err = f.putAside(path, epoch, err)
			}
			if err != nil {
				return nil, nil, fmt.Errorf("journal %s of an earlier epoch can't be read: %w", path, err)
			}
			if a != nil {
				aside = append(aside, *a)
				continue
			}
			f.journals[epoch] = j
		}
	}
	for _, j := range f.journals {
		if j.readOnly {
			found = append(found, j)
		}
	}
	slices.SortFunc(found, func(a, b *Journal) int {
		return cmp.Or(a.meta.CreatedAt.Compare(b.meta.CreatedAt), strings.Compare(a.meta.Epoch.String(), b.meta.Epoch.String()))
	})
	return found, aside, nil
}

// epochOf splits the name of a journal's folder. Everything else in the folder is not ours.
func epochOf(name string) (epoch uuid.UUID, suffix string, ok bool) {
	const length = 36
	if len(name) < length {
		return epoch, "", false
	}
	epoch, err := uuid.Parse(name[:length])
	return epoch, name[length:], err == nil && epoch.String() == name[:length]
}

func (f *Folder) openLeft(path string, epoch uuid.UUID) (*Journal, error) {
	m, err := readMeta(path, epoch)
	if err != nil {
		return nil, err
	}
	if m.Host != f.o.Host {
		return nil, &HostError{filepath.Join(path, metaName), m.Host, f.o.Host}
	}
	j := newJournal(f, path, m)
	j.readOnly, j.over = true, ErrReadOnly
	if err := removeYoung(path); err != nil {
		return nil, err
	}
	if err := j.verify(); err != nil {
		return nil, err
	}
	if err := j.syncLeft(); err != nil {
		return nil, err
	}
	all, first, err := listSegments(path)
	if err != nil {
		return nil, err
	}
	if err := j.trim(all); err != nil { // nobody writes it any more, and several may wait for the database
		return nil, err
	}
	j.hold(int64(len(all)-first) * j.size)
	return j, nil
}

// removeYoung deletes a segment that a process died in the middle of making.
func removeYoung(dir string) error {
	young, err := filepath.Glob(filepath.Join(dir, "*"+openSuffix+youngSuffix))
	for _, name := range young {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

// putAside renames a journal for what is wrong with it. An error that may pass is returned.
func (f *Folder) putAside(path string, epoch uuid.UUID, cause error) (*Aside, error) {
	var (
		damaged *DamagedError
		version *VersionError
		host    *HostError
	)
	a := &Aside{Epoch: epoch, Reason: cause.Error()}
	switch {
	case errors.As(cause, &damaged):
		a.Kind, a.File, a.Offset = "damaged", damaged.File, damaged.Offset
		a.Reason += "; check the disk, restore the folder from a copy under its old name if there is one, and start again; else what it held and was not settled is lost, and its leases must be forfeited"
	case errors.As(cause, &version):
		a.Kind, a.File = "version", version.File
		a.Reason += "; give the folder its old name and start the program of that version once, which settles it"
	case errors.As(cause, &host):
		a.Kind, a.File = "host", host.File
		a.Reason += "; if nothing runs on that host with this journal any more, give the folder its old name and start once with that host name"
	default:
		return nil, cause
	}
	text, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := f.disk.writeFile(filepath.Join(path, asideName), append(text, '\n')); err != nil {
		f.o.Logger.Warn("journal: why it is kept aside can't be written beside it", "journal", path, "error", err)
	}
	to := strings.TrimSuffix(path, finishedSuffix) + asideInfix + a.Kind
	a.Path = to
	for n := 2; ; n++ {
		if _, err := os.Lstat(a.Path); errors.Is(err, fs.ErrNotExist) {
			break
		}
		a.Path = fmt.Sprintf("%s-%d", to, n)
	}
	return a, f.disk.move(path, a.Path)
}

// readAside reads again why a journal is kept aside.
func readAside(path string, epoch uuid.UUID, suffix string) Aside {
	var a Aside
	b, err := readSmall(filepath.Join(path, asideName))
	if err == nil {
		err = json.Unmarshal(b, &a)
	}
	if err != nil {
		a = Aside{Kind: strings.TrimPrefix(suffix, asideInfix), Reason: fmt.Sprintf("kept aside earlier, and %s says not why: %v", asideName, err)}
	}
	a.Path, a.Epoch = path, epoch
	return a
}
