package export

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"time"

	"golang.org/x/mod/sumdb/note"

	"keel/pricing"
)

// Manifest says what is in a file.
type Manifest struct {
	File       string            `json:"file"`
	Table      string            `json:"table"`
	Format     Encoding          `json:"format"`
	Bytes      int64             `json:"bytes"`
	SHA256     string            `json:"sha256"` // of the file, hex
	Org        string            `json:"org"`
	Since      *time.Time        `json:"since"` // decided from then on; null for no bound
	Until      *time.Time        `json:"until"` // decided before then
	Columns    []Column          `json:"columns"`
	Rows       int64             `json:"rows"`    // of the file, without a header
	Records    int64             `json:"records"` // calls
	Open       int64             `json:"open"`    // calls of them without an end yet: their cost is not known
	Sum        Amount            `json:"sum"`     // of the calls
	Meters     map[string]Amount `json:"meters"`  // what of the sum each meter is; "unmetered" is what was charged as bound or hold
	TrueUps    TrueUps           `json:"true_ups"`
	Total      Amount            `json:"total"` // sum and true-ups
	Snapshots  []Snapshot        `json:"snapshots"`
	Ledger     Amount            `json:"ledger"`          // what the ledger itself adds up for the calls of the range, in the last snapshot; equal to sum
	Version    string            `json:"keel"`            // of the program
	Key        string            `json:"key,omitempty"`   // name and hash of the key that signed, as in the note
	Checkpoint *json.RawMessage  `json:"checkpoint"`      // the newest one of the log; null where there is none
	Notes      []string          `json:"notes,omitempty"` // what a reader has to know
}

// TrueUps are the accepted adjustments of a file. There is a row for each, behind those of the calls.
type TrueUps struct {
	Rows   int64             `json:"rows"`
	Sum    Amount            `json:"sum"`
	Causes map[string]Amount `json:"causes"` // what of the sum each cause is
	Ledger Amount            `json:"ledger"` // what the ledger itself adds up; equal to sum
}

// Amount is exact, both ways.
type Amount struct {
	Nano string `json:"nano_usd"` // nano-dollars; text, because a sum can be more than a JSON number holds
	USD  string `json:"usd"`
}

// Snapshot is a moment of the database that records were read of. A resumed export has several.
type Snapshot struct {
	At    time.Time `json:"at"`
	After int64     `json:"after_records"` // how many records earlier snapshots gave
}

// Unmetered is the meter of what was charged although nobody metered it: a bound, or a hold.
const Unmetered = "unmetered"

// AmountOf is n nano-dollars.
func AmountOf(n *big.Int) Amount {
	if n.IsInt64() {
		return Amount{n.String(), pricing.NanoUSD(n.Int64()).String()}
	}
	return Amount{n.String(), string(appendDecimal(nil, new(big.Int).Mul(n, big.NewInt(1_000_000_000))))}
}

// Seal vouches for manifests. The zero Seal leaves them as they are.
type Seal struct {
	// Signer is an Ed25519 key of golang.org/x/mod/sumdb/note: the manifest is then also
	// written as a signed note.
	Signer note.Signer
	// Checkpoint returns the newest checkpoint of the log that has the records of an org, as a JSON
	// value; nil where there is none. It is asked when the export is whole.
	Checkpoint func(ctx context.Context, org string) (json.RawMessage, error)
}

// apply fills the manifest and returns its text, and the signed note around it, nil without a key.
func (s *Seal) apply(ctx context.Context, m *Manifest) (text, signed []byte, err error) {
	if s.Checkpoint != nil {
		checkpoint, err := s.Checkpoint(ctx, m.Org)
		if err != nil {
			return nil, nil, fmt.Errorf("export: the newest checkpoint: %w", err)
		}
		if checkpoint != nil {
			m.Checkpoint = &checkpoint
		}
	}
	if s.Signer != nil {
		m.Key = fmt.Sprintf("%s+%08x", s.Signer.Name(), s.Signer.KeyHash())
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(m); err != nil {
		return nil, nil, err
	}
	if s.Signer != nil {
		if signed, err = note.Sign(&note.Note{Text: b.String()}, s.Signer); err != nil {
			return nil, nil, fmt.Errorf("export: sign the manifest: %w", err)
		}
	}
	return b.Bytes(), signed, nil
}
