package log

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Hash is a node of the tree.
type Hash = tlog.Hash

// Checkpoint is the state of a log: how many entries it has, and the hash that follows from all of them.
type Checkpoint struct {
	Origin string // the name of the log
	Size   int64
	Root   Hash
}

// Text is what is signed.
func (c Checkpoint) Text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
}

// ErrCheckpoint says that a text is no checkpoint.
var ErrCheckpoint = errors.New("not a checkpoint")

// ParseCheckpoint reads the text of a note. Lines after the third are extensions, which Keel does not write and does not refuse.
func ParseCheckpoint(text string) (c Checkpoint, err error) {
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) < 4 || lines[0] == "" {
		return c, fmt.Errorf("%w: it has fewer than three lines", ErrCheckpoint)
	}
	c.Origin = lines[0]
	if c.Size, err = strconv.ParseInt(lines[1], 10, 64); err != nil || c.Size < 0 || strconv.FormatInt(c.Size, 10) != lines[1] {
		return c, fmt.Errorf("%w: %q is no size", ErrCheckpoint, lines[1])
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != len(c.Root) {
		return c, fmt.Errorf("%w: %q is no root hash", ErrCheckpoint, lines[2])
	}
	copy(c.Root[:], root)
	return c, nil
}

// Sign makes a signed note of a checkpoint. The signer's name is the origin.
func Sign(c Checkpoint, signer note.Signer) (signed string, err error) {
	b, err := note.Sign(&note.Note{Text: c.Text()}, signer)
	return string(b), err
}

// Signed is a checkpoint with who signed it.
type Signed struct {
	Checkpoint
	Note       string   // as it came
	Signers    []string // key names with their hashes, of the keys that are known: "keel.example.com+1a2b3c4d"
	Cosigners  []Cosigner
	Unverified int // signatures by keys that are not known
}

// ErrUnsigned says that no key that is known has signed.
var ErrUnsigned = errors.New("no key that is known has signed it")

// Open reads a signed note. It fails where the log's own signature is missing, is by none of the keys, or is wrong.
func Open(signed string, keys Keys) (s Signed, err error) {
	n, err := note.Open([]byte(signed), keys)
	var unverified *note.UnverifiedNoteError
	if errors.As(err, &unverified) {
		c, parseErr := ParseCheckpoint(unverified.Note.Text)
		if parseErr != nil {
			return s, parseErr
		}
		return Signed{Checkpoint: c, Note: signed, Unverified: len(unverified.Note.UnverifiedSigs)}, ErrUnsigned
	}
	if err != nil {
		return s, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	s.Note, s.Unverified = signed, len(n.UnverifiedSigs)
	if s.Checkpoint, err = ParseCheckpoint(n.Text); err != nil {
		return s, err
	}
	for _, sig := range n.Sigs {
		if at, ok := cosignedAt(sig); ok && keys.isWitness(sig.Name, sig.Hash) {
			s.Cosigners = append(s.Cosigners, Cosigner{sig.Name, at})
			continue
		}
		if sig.Name == s.Origin {
			s.Signers = append(s.Signers, keyName(sig.Name, sig.Hash))
		}
	}
	if len(s.Signers) == 0 {
		return s, ErrUnsigned
	}
	return s, nil
}

func keyName(name string, hash uint32) string { return fmt.Sprintf("%s+%08x", name, hash) }
