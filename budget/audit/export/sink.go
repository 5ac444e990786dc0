package export

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// sink is the file that an export writes until it is whole: FILE.partial, of Parquet
// FILE.partial.0, FILE.partial.1 and so on, because a Parquet file that lacks its end can't be read or continued.
type sink struct {
	o    *Options
	s    *state
	file *os.File // open; nil between parts
	enc  encoder
	part int64 // records when the open part began
	half bool  // rows of a record may be written, and not all of them
}

func openSink(o *Options, s *state) (*sink, error) {
	k := &sink{o: o, s: s, part: s.Records}
	if o.Format == Parquet {
		return k, nil
	}
	name := partial(o.File)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() < s.Bytes {
		err = fmt.Errorf("%s has %d bytes, and should have %d: remove it and %s, and begin again", name, info.Size(), s.Bytes, sidecar(o.File))
	}
	if err == nil { // what came after the last checkpoint may be half a line
		err = f.Truncate(s.Bytes)
	}
	if err == nil {
		_, err = f.Seek(s.Bytes, io.SeekStart)
	}
	if err == nil {
		k.file = f
		if o.Format == CSV {
			k.enc, err = newCSV(f, o.Table.Columns, s.Bytes == 0)
		} else {
			k.enc = newJSON(f, o.Table.Columns)
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return k, k.checkpoint(false)
}

func (k *sink) write(row []Cell) error {
	if k.enc == nil {
		f, err := os.OpenFile(k.partFile(k.s.Parts), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
		if err != nil {
			return err
		}
		k.file, k.enc, k.part = f, newParquet(f, &k.o.Table), k.s.Records
	}
	return k.enc.write(row)
}

func (k *sink) partFile(n int) string { return fmt.Sprintf("%s.%d", partial(k.o.File), n) }

// checkpoint makes what is written safe, and notes how far it goes. Of Parquet only whole parts count.
func (k *sink) checkpoint(end bool) error {
	if p, ok := k.enc.(*parquetEncoder); ok {
		if !end && k.s.Records-k.part < k.o.part {
			return nil
		}
		err := errors.Join(p.close(), k.file.Sync(), k.file.Close())
		k.enc, k.file = nil, nil
		if err != nil {
			return err
		}
		k.s.Parts++
		return k.s.write(sidecar(k.o.File))
	}
	if k.o.Format == Parquet {
		if end && k.s.Parts == 0 { // no rows: an empty file still has its columns
			f, err := os.OpenFile(k.partFile(0), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
			if err != nil {
				return err
			}
			k.file, k.enc = f, newParquet(f, &k.o.Table)
			return k.checkpoint(true)
		}
		return k.s.write(sidecar(k.o.File))
	}
	if err := errors.Join(k.enc.flush(), k.file.Sync()); err != nil {
		return err
	}
	at, err := k.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	k.s.Bytes = at
	return k.s.write(sidecar(k.o.File))
}

// cut ends an export that failed, so that it can go on from its last record.
func (k *sink) cut(why error, records int64) error {
	var err error
	if !k.half { // else what counts is what the last checkpoint says
		err = k.checkpoint(true)
	}
	if k.file != nil {
		err = errors.Join(err, k.file.Close())
	}
	if err != nil {
		return errors.Join(why, err)
	}
	return fmt.Errorf("%w (at record %d, the %dth of this run): %w", ErrCut, k.s.Records, records, why)
}

// whole ends the file and returns its name for now.
func (k *sink) whole() (string, error) {
	if k.o.Format != Parquet {
		return partial(k.o.File), k.file.Close()
	}
	if k.s.Parts == 1 {
		return k.partFile(0), nil
	}
	name := partial(k.o.File)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	err = join(f, &k.o.Table, k.parts())
	return name, errors.Join(err, f.Sync(), f.Close())
}

func (k *sink) parts() []string {
	var names []string
	for n := range k.s.Parts {
		names = append(names, k.partFile(n))
	}
	return names
}

// clean removes what is not needed any more.
func (k *sink) clean() error {
	var err error
	for _, name := range append(k.parts(), sidecar(k.o.File)) {
		if gone := os.Remove(name); gone != nil && !errors.Is(gone, os.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return errors.Join(err, syncFolder(filepath.Dir(k.o.File)))
}

func baseName(file string) string { return filepath.Base(file) }
