package audit

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// PrivateKey signs checkpoints. It is a file, and never in the database.
type PrivateKey struct {
	note.Signer
	Public string // "name+hash+base64", for those who verify
	text   string
}

// Origin is the name of the log, which is that of its key.
func (k *PrivateKey) Origin() string { return k.Name() }

// NewPrivateKey makes one for a log of a name, such as "keel.example.com/audit": no spaces, no plus sign.
func NewPrivateKey(origin string) (*PrivateKey, error) {
	if origin == "" || strings.ContainsAny(origin, "+ \t\n") {
		return nil, fmt.Errorf("the name of a log has no spaces and no \"+\": %q", origin)
	}
	text, _, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return parsePrivateKey(text)
}

func parsePrivateKey(text string) (*PrivateKey, error) {
	text = strings.TrimSpace(text)
	signer, err := note.NewSigner(text)
	if err != nil {
		return nil, errors.New("not a private key of \"keel audit keys new\"")
	}
	// PRIVATE+KEY+name+hash+base64 of an algorithm's number and the seed, as NewSigner has checked.
	raw, err := base64.StdEncoding.DecodeString(strings.SplitN(text, "+", 5)[4]) // which may have a plus sign itself
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return nil, errors.New("not an Ed25519 key")
	}
	public, err := note.NewEd25519VerifierKey(signer.Name(), ed25519.NewKeyFromSeed(raw[1:]).Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	return &PrivateKey{signer, public, text}, nil
}

// ReadPrivateKey reads a key from its file.
func ReadPrivateKey(file string) (*PrivateKey, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("audit key: %w", err)
	}
	key, err := parsePrivateKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("audit key %s: %w", file, err)
	}
	return key, nil
}

// Write makes the file of the key, for its owner alone, and beside it one of the public key, with ".pub". It
// replaces neither.
func (k *PrivateKey) Write(file string) error {
	for _, f := range []struct {
		name, text string
		mode       fs.FileMode
	}{{file, k.text, 0o600}, {file + ".pub", k.Public, 0o644}} {
		out, err := os.OpenFile(f.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode)
		if err != nil {
			return fmt.Errorf("audit key: %w", err)
		}
		_, err = out.WriteString(f.text + "\n")
		if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
			return fmt.Errorf("audit key: %w", err)
		}
	}
	return nil
}

// KeyFrom reads the key of a file, or makes it where there is none.
func KeyFrom(file, origin string) (*PrivateKey, error) {
	key, err := ReadPrivateKey(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if key, err = NewPrivateKey(origin); err != nil {
		return nil, err
	}
	return key, key.Write(file)
}
