package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"time"

	"keel/budget/audit/spend"
	"keel/pricing"
)

// state is how far an export has come: what the sidecar of a file that is not whole says.
type state struct {
	Table     string            `json:"table"`
	Format    Encoding          `json:"format"`
	Columns   []Column          `json:"columns"`
	Org       string            `json:"org"`
	Since     time.Time         `json:"since"`
	Until     time.Time         `json:"until"`
	Position  *spend.Position   `json:"position"` // of the last record written; null before the first
	Records   int64             `json:"records"`
	Rows      int64             `json:"rows"`
	Open      int64             `json:"open"`
	Bytes     int64             `json:"bytes"` // of CSV and JSON lines that count
	Parts     int               `json:"parts"` // whole files of Parquet
	Nano      *big.Int          `json:"nano_usd"`
	Meters    map[string]string `json:"meters"` // nano-dollars
	Snapshots []Snapshot        `json:"snapshots"`

	meters map[string]*big.Int
}

func newState(o *Options) *state {
	return &state{Table: o.Table.Name, Format: o.Format, Columns: o.Table.Columns, Org: o.Query.Org, Since: o.Query.Since.UTC(), Until: o.Query.Until.UTC(),
		Nano: new(big.Int), meters: make(map[string]*big.Int)}
}

// same says what of another export differs, "" if nothing.
func (s *state) same(o *state) string {
	switch {
	case s.Table != o.Table || s.Format != o.Format:
		return fmt.Sprintf("it is %s as %s", s.Table, s.Format)
	case s.Org != o.Org:
		return "it is of org " + s.Org
	case !s.Since.Equal(o.Since) || !s.Until.Equal(o.Until):
		return fmt.Sprintf("it is of %s to %s", s.Since.Format(time.RFC3339), s.Until.Format(time.RFC3339))
	case !slices.Equal(s.Columns, o.Columns):
		return "another version of keel wrote it, with other columns"
	}
	return ""
}

// count adds a record to the sums.
func (s *state) count(r *spend.Record) error {
	rest, err := r.Rest()
	if err != nil {
		return err
	}
	add := func(meter string, n pricing.NanoUSD) {
		sum := s.meters[meter]
		if sum == nil {
			sum = new(big.Int)
			s.meters[meter] = sum
		}
		sum.Add(sum, big.NewInt(int64(n)))
	}
	if r.Cost != nil {
		s.Nano.Add(s.Nano, big.NewInt(int64(*r.Cost)))
		for i := range r.Lines {
			add(r.Lines[i].Meter.String(), r.Lines[i].Amount)
		}
		if rest != 0 {
			add(Unmetered, rest)
		}
	}
	if r.Outcome == "open" {
		s.Open++
	}
	s.Records++
	p := r.Position()
	s.Position = &p
	return nil
}

func readState(name string) (*state, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	s := new(state)
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("%s: %w; remove it and begin again", name, err)
	}
	if s.Nano == nil {
		return nil, fmt.Errorf("%s: it lacks a sum; remove it and begin again", name)
	}
	s.meters = make(map[string]*big.Int)
	for meter, text := range s.Meters {
		n, ok := new(big.Int).SetString(text, 10)
		if !ok {
			return nil, fmt.Errorf("%s: %q is no sum; remove it and begin again", name, text)
		}
		s.meters[meter] = n
	}
	return s, nil
}

func (s *state) write(name string) error {
	s.Meters = make(map[string]string, len(s.meters))
	for meter, n := range s.meters {
		s.Meters[meter] = n.String()
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return writeFile(name, text)
}

// writeFile replaces a file as a whole: after a power loss there is the old one or the new one.
func writeFile(name string, text []byte) error {
	part := name + ".new"
	f, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(part, name)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(name))
	}
	return err
}

func syncFolder(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

func exists(name string) (bool, error) {
	_, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
