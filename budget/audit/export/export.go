package export

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"time"

	"keel/budget/audit/spend"
)

// Options say what to export where.
type Options struct {
	Query   spend.Query
	Table   Table
	Format  Encoding
	File    string // must not be there yet
	Resume  bool   // go on with a file that was cut
	Seal    Seal
	Version string // of the program, for the manifest
	Notes   []string

	Progress func(Progress) // nil for none; called now and then

	every int64 // records between two checkpoints, for tests
	part  int64 // records of a part of a Parquet file, for tests
}

// Progress is how far an export has come.
type Progress struct {
	Records, Rows int64
	At            time.Time // when the last record was decided
}

const (
	checkpointEvery = 20_000    // records
	partRecords     = 1_000_000 // of a part of a Parquet file: what is lost at most when it is cut hard
)

// ErrCut says that an export ended before its end, and can be resumed.
var ErrCut = errors.New("the export was cut; go on with --resume")

// Names of the files around an export.
func partial(file string) string { return file + ".partial" }
func sidecar(file string) string { return file + ".partial.json" }

// ManifestFile and NoteFile are the names of what stands beside an export.
func ManifestFile(file string) string { return file + ".manifest.json" }

// NoteFile is the name of the signed manifest.
func NoteFile(file string) string { return file + ".manifest.note" }

// Run exports from a snapshot. Where ctx ends or the database goes, what is written stays, and the
// error wraps ErrCut.
func Run(ctx context.Context, from *spend.Reader, o Options) (*Manifest, error) {
	if o.every == 0 {
		o.every = checkpointEvery
	}
	if o.part == 0 {
		o.part = partRecords
	}
	s, err := begin(ctx, from, &o)
	if err != nil {
		return nil, err
	}
	s.Snapshots = append(s.Snapshots, Snapshot{from.At(), s.Records})
	out, err := openSink(&o, s)
	if err != nil {
		return nil, err
	}
	since, last := s.Records, s.Records
	err = from.Read(ctx, o.Query, s.Position, func(r *spend.Record) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		var rows int64
		out.half = true // until the record is counted: a cut leaves no half of one
		if err := o.Table.Rows(r, func(row []Cell) error {
			rows++
			if err := checkRow(o.Table.Columns, row); err != nil {
				return fmt.Errorf("call %s: %w", r.ID, err)
			}
			return out.write(row)
		}); err != nil {
			return err
		}
		if err := s.count(r); err != nil {
			return err
		}
		s.Rows += rows
		out.half = false
		if s.Records-last >= o.every {
			last = s.Records
			if err := out.checkpoint(false); err != nil {
				return err
			}
		}
		if o.Progress != nil && s.Records%1000 == 0 {
			o.Progress(Progress{s.Records, s.Rows, s.Position.At})
		}
		return nil
	})
	var ups *trueUps
	if err == nil {
		ups, err = writeTrueUps(ctx, from, &o, s, out)
	}
	if err != nil {
		return nil, out.cut(err, s.Records-since)
	}
	if err := out.checkpoint(true); err != nil {
		return nil, err
	}
	return finish(ctx, from, &o, s, out, ups)
}

// begin is the state to go on from.
func begin(ctx context.Context, from *spend.Reader, o *Options) (*state, error) {
	fresh := newState(o)
	if there, err := exists(o.File); err != nil || there {
		if err == nil {
			err = fmt.Errorf("%s is there already: an export does not overwrite", o.File)
		}
		return nil, err
	}
	cut, err := exists(sidecar(o.File))
	switch {
	case err != nil:
		return nil, err
	case cut && !o.Resume:
		return nil, fmt.Errorf("%s is there: an export to this file was cut; go on with --resume, or remove %s*", sidecar(o.File), partial(o.File))
	case !cut && o.Resume:
		return nil, fmt.Errorf("nothing to resume: there is no %s", sidecar(o.File))
	case !cut:
		return fresh, nil
	}
	s, err := readState(sidecar(o.File))
	if err != nil {
		return nil, err
	}
	if differs := s.same(fresh); differs != "" {
		return nil, fmt.Errorf("%s can't be resumed as asked: %s", partial(o.File), differs)
	}
	if s.Position == nil {
		return s, nil
	}
	sum, err := from.Sum(ctx, o.Query, s.Position)
	if err != nil {
		return nil, err
	}
	if sum.Records != s.Records || sum.Nano.Cmp(s.Nano) != 0 || sum.Open != s.Open {
		return nil, fmt.Errorf("records before the cut have changed since: there were %d for %s nano-dollars (%d open), and are %d for %s (%d open); remove %s* and begin again",
			s.Records, s.Nano, s.Open, sum.Records, sum.Nano, sum.Open, partial(o.File))
	}
	return s, nil
}

// finish gives the file its name, with a manifest beside it.
func finish(ctx context.Context, from *spend.Reader, o *Options, s *state, out *sink, ups *trueUps) (*Manifest, error) {
	name, err := out.whole()
	if err != nil {
		return nil, err
	}
	ledger, err := from.Sum(ctx, o.Query, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCut, err)
	}
	if ledger.Records != s.Records || ledger.Nano.Cmp(s.Nano) != 0 {
		return nil, fmt.Errorf("the export does not add up: it has %d records for %s nano-dollars, and the ledger has %d for %s; remove %s* and begin again",
			s.Records, s.Nano, ledger.Records, ledger.Nano, partial(o.File))
	}
	stated, err := ups.manifest(ctx, from, o)
	if err != nil {
		return nil, err
	}
	m := &Manifest{Table: s.Table, Format: s.Format, Org: s.Org, Columns: s.Columns, Rows: s.Rows + ups.rows, Records: s.Records, Open: s.Open,
		Sum: AmountOf(s.Nano), TrueUps: stated, Total: AmountOf(new(big.Int).Add(s.Nano, ups.nano)), Ledger: AmountOf(ledger.Nano), Meters: make(map[string]Amount), Snapshots: s.Snapshots, Version: o.Version, Notes: o.Notes}
	m.File = baseName(o.File)
	for meter, n := range s.meters {
		m.Meters[meter] = AmountOf(n)
	}
	for _, bound := range []struct {
		at   time.Time
		into **time.Time
	}{{s.Since, &m.Since}, {s.Until, &m.Until}} {
		if !bound.at.IsZero() {
			at := bound.at
			*bound.into = &at
		}
	}
	if m.Bytes, m.SHA256, err = digest(name); err != nil {
		return nil, err
	}
	text, signed, err := o.Seal.apply(ctx, m)
	if err != nil {
		return nil, err
	}
	if err := writeFile(ManifestFile(o.File), text); err != nil {
		return nil, err
	}
	if signed != nil {
		if err := writeFile(NoteFile(o.File), signed); err != nil {
			return nil, err
		}
	}
	if err := os.Rename(name, o.File); err != nil {
		return nil, err
	}
	return m, out.clean()
}

func digest(name string) (int64, string, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return n, hex.EncodeToString(h.Sum(nil)), err
}
