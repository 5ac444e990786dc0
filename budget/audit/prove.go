package audit

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"keel/budget/audit/leaf"
	"keel/budget/audit/log"
)

// BundleFormat is the first field of a bundle.
const BundleFormat = "keel-proof/1"

// Bundle is a record with all that it takes to check, with nothing but the log's public key, that it is what was signed.
type Bundle struct {
	Format     string         `json:"format"`
	ID         uuid.UUID      `json:"id"`         // that was asked for
	Checkpoint string         `json:"checkpoint"` // a signed note
	Records    []Proven       `json:"records"`
	Labels     []Opening      `json:"labels"`         // what commitments in the records are of; none for those that were erased
	Keys       []keyStatement `json:"keys,omitempty"` // how the log went over from key to key
}

// Opening says which value a commitment is of.
type Opening struct {
	Org        string `json:"org"`
	Label      string `json:"label"`
	Value      string `json:"value"`
	Salt       string `json:"salt"` // hex
	Commitment string `json:"commitment"`
}

// ErrNotSigned says that a record is not covered by a checkpoint yet.
var ErrNotSigned = errors.New("no checkpoint covers it yet: one is signed within seconds while a processor runs with --audit-key")

// Prove makes a bundle of a record, and of those that belong to it. open says whether it tells
// the values of labels.
func Prove(ctx context.Context, dsn string, id uuid.UUID, open bool) (*Bundle, error) {
	b := &Bundle{Format: BundleFormat, ID: id, Labels: []Opening{}}
	conn, err := connect(ctx, dsn, "keel audit prove")
	if err != nil {
		return nil, err
	}
	defer closeConn(conn)
	if err := pgx.BeginTxFunc(ctx, conn, readOnly, func(tx pgx.Tx) error { return b.read(ctx, tx, open) }); err != nil {
		return nil, fmt.Errorf("audit: prove %s: %w", id, err)
	}
	return b, nil
}

func (b *Bundle) read(ctx context.Context, tx pgx.Tx, open bool) error {
	org, err := orgOf(ctx, tx, b.ID)
	if err != nil {
		return err
	}
	if err := b.readLabels(ctx, tx, org, open); err != nil {
		return err
	}
	last := int64(-1)
	for i := range b.Records {
		p := &b.Records[i]
		var hash []byte
		err := tx.QueryRow(ctx, "select index, hash from keel.leaves where org = $1 and kind = $2 and id = $3 and version = $4", p.Org, string(p.Kind), p.ID, p.Version).Scan(&p.Index, &hash)
		if errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("%s: %w", p.ref(), ErrNotSigned)
		}
		if err != nil {
			return err
		}
		if !bytes.Equal(hash, p.hash[:]) {
			return fmt.Errorf("%s was changed since leaf %d was made of it: there is nothing to prove; run keel audit verify", p.ref(), p.Index)
		}
		last = max(last, p.Index)
	}
	err = tx.QueryRow(ctx, "select note from keel.checkpoints where size > $1 order by size desc limit 1", last).Scan(&b.Checkpoint)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNotSigned
	}
	if err != nil {
		return err
	}
	text, _, _ := bytes.Cut([]byte(b.Checkpoint), []byte("\n\n"))
	c, err := log.ParseCheckpoint(string(text) + "\n")
	if err != nil {
		return err
	}
	tree := log.NewTree(tilesOf(ctx, tx), c.Size)
	for i := range b.Records {
		p := &b.Records[i]
		proof, err := tree.Inclusion(c.Size, p.Index)
		if err != nil {
			return err
		}
		p.Proof = make([][]byte, 0, len(proof))
		for _, h := range proof {
			p.Proof = append(p.Proof, h[:])
		}
		if err := log.CheckInclusion(proof, c, p.Index, p.hash[:]); err != nil {
			return fmt.Errorf("%s: the tree of the log is not what was signed (%w); run keel audit verify", p.ref(), err)
		}
	}
	rows, err := tx.Query(ctx, "select vkey, statement from keel.audit_keys order by added_at")
	if err == nil {
		b.Keys, err = pgx.CollectRows(rows, pgx.RowToStructByPos[keyStatement])
	}
	return err
}

// readLabels reads the records, once to find which values they have, and once with their commitments.
func (b *Bundle) readLabels(ctx context.Context, tx pgx.Tx, org string, open bool) (err error) {
	s := newSalts()
	if _, err = readRecords(ctx, tx, commitments{noting: s}, org, b.ID); err != nil {
		return err
	}
	for m := range s.missing {
		var salt []byte
		err := tx.QueryRow(ctx, "select salt from keel.label_values where org = $1 and label = $2 and value = $3", m.org, m.label, m.value).Scan(&salt)
		if errors.Is(err, pgx.ErrNoRows) {
			return fmt.Errorf("label %s has a value that is not in the log: %w", m.label, ErrNotSigned)
		}
		if err != nil {
			return err
		}
		s.known[m] = leaf.Commit(m.org, m.label, m.value, salt)
		if open {
			b.Labels = append(b.Labels, Opening{m.org, m.label, m.value, hex.EncodeToString(salt), s.known[m]})
		}
	}
	b.Records, err = readRecords(ctx, tx, s.commitments, org, b.ID)
	return err
}

// ErrProof says that a bundle does not prove what it says.
var ErrProof = errors.New("the proof does not hold")

// Checked is what a bundle proves.
type Checked struct {
	Checkpoint log.Signed
	Records    []Proven
	Labels     []Opening
}

// CheckBundle reads a bundle and checks it with public keys alone. It returns an error that wraps ErrProof for
// one that does not hold.
func CheckBundle(in io.Reader, keys log.Keys) (*Checked, error) {
	var b Bundle
	d := json.NewDecoder(in)
	d.DisallowUnknownFields()
	if err := d.Decode(&b); err != nil {
		return nil, fmt.Errorf("audit: not a bundle of keel audit prove: %w", err)
	}
	if b.Format != BundleFormat {
		return nil, fmt.Errorf("audit: a bundle of format %q, and this version reads %q", b.Format, BundleFormat)
	}
	keys = keys.Clone()
	trust(&keys, b.Keys)
	signed, err := log.Open(b.Checkpoint, keys)
	if err != nil {
		return nil, fmt.Errorf("audit: %w: its checkpoint: %w", ErrProof, err)
	}
	if len(b.Records) == 0 {
		return nil, fmt.Errorf("audit: %w: it has no records", ErrProof)
	}
	for i := range b.Records {
		p := &b.Records[i]
		err := p.check()
		if err == nil {
			proof := make([]log.Hash, 0, len(p.Proof))
			for _, h := range p.Proof {
				if len(h) != len(log.Hash{}) {
					return nil, fmt.Errorf("audit: %w: a hash of %d bytes", ErrProof, len(h))
				}
				proof = append(proof, log.Hash(h))
			}
			err = log.CheckInclusion(proof, signed.Checkpoint, p.Index, p.hash[:])
		}
		if err != nil {
			return nil, fmt.Errorf("audit: %w: %s: %w", ErrProof, p.ref(), err)
		}
	}
	for _, o := range b.Labels {
		salt, err := hex.DecodeString(o.Salt)
		if err != nil || leaf.Commit(o.Org, o.Label, o.Value, salt) != o.Commitment {
			return nil, fmt.Errorf("audit: %w: the commitment to label %s is not to %q", ErrProof, o.Label, o.Value)
		}
	}
	return &Checked{signed, b.Records, b.Labels}, nil
}
