package budget

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// PseudonymKeys make pseudonyms of the values of labels whose Subject says "pseudonym: true". They are a file on the
// processors, and never in the database: a line for each key in base64, the last of which is in use. The others
// are there to look somebody up in records of before. It is safe for concurrent use.
type PseudonymKeys struct {
	keys []pseudonymKey // oldest first; at least one
}

type pseudonymKey struct {
	id     string
	secret []byte
}

// A Pseudonym is one, with the key that it was made with.
type Pseudonym struct {
	KeyID string
	Text  string // "p-", the key's id, and 128 bits in hex
}

const pseudonymKeyBytes = 32

var pseudonymPattern = regexp.MustCompile(`^p-([0-9a-f]{8})-[0-9a-f]{32}$`)

// PseudonymKeyOf returns the id of the key that a pseudonym was made with; ok is false for a text that is none.
func PseudonymKeyOf(text string) (id string, ok bool) {
	if m := pseudonymPattern.FindStringSubmatch(text); m != nil {
		return m[1], true
	}
	return "", false
}

// ReadPseudonymKeys reads the file. Empty lines and those that begin with # are left out.
func ReadPseudonymKeys(file string) (*PseudonymKeys, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("pseudonym key: %w", err)
	}
	k := &PseudonymKeys{}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		secret, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(secret) != pseudonymKeyBytes {
			return nil, fmt.Errorf("pseudonym key: %s:%d: a line is %d random bytes in base64; \"keel audit keys pseudonym\" makes one", file, i+1, pseudonymKeyBytes)
		}
		id := sha256.Sum256(append([]byte("keel pseudonym key\n"), secret...))
		k.keys = append(k.keys, pseudonymKey{hex.EncodeToString(id[:4]), secret})
	}
	if len(k.keys) == 0 {
		return nil, fmt.Errorf("pseudonym key: %s has no key; \"keel audit keys pseudonym\" makes one", file)
	}
	return k, nil
}

// AddPseudonymKey makes a key that is in use from then on, in a file for its owner alone, whose other keys stay. The
// file is whole or as it was before.
func AddPseudonymKey(file string) (id string, err error) {
	was, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("pseudonym key: %w", err)
	}
	if err == nil {
		if _, err := ReadPseudonymKeys(file); err != nil {
			return "", err
		}
		was = append(bytes.TrimRight(was, "\n"), '\n')
	}
	secret := make([]byte, pseudonymKeyBytes)
	rand.Read(secret)
	out, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*") // mode 0600
	if err != nil {
		return "", fmt.Errorf("pseudonym key: %w", err)
	}
	defer os.Remove(out.Name()) // fails after the rename
	_, err = out.Write(append(was, base64.StdEncoding.EncodeToString(secret)+"\n"...))
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		return "", fmt.Errorf("pseudonym key: %w", err)
	}
	if err := os.Rename(out.Name(), file); err != nil {
		return "", fmt.Errorf("pseudonym key: %w", err)
	}
	k, err := ReadPseudonymKeys(file)
	if err != nil {
		return "", err
	}
	return k.InUse(), nil
}

// InUse is the id of the key that pseudonyms are made with.
func (k *PseudonymKeys) InUse() string { return k.keys[len(k.keys)-1].id }

// Of is the pseudonym of a label's value: the same for the same value of the same org and label, and nothing
// that could be told from it without the key.
func (k *PseudonymKeys) Of(org, label, value string) string {
	return k.keys[len(k.keys)-1].of(org, label, value)
}

// All are the pseudonyms of a value under every key, that in use first.
func (k *PseudonymKeys) All(org, label, value string) []Pseudonym {
	all := make([]Pseudonym, 0, len(k.keys))
	for i := len(k.keys) - 1; i >= 0; i-- {
		all = append(all, Pseudonym{k.keys[i].id, k.keys[i].of(org, label, value)})
	}
	return all
}

// of is HMAC-SHA256 over the three, each with its length before it, cut to 128 bits.
func (k *pseudonymKey) of(org, label, value string) string {
	mac := hmac.New(sha256.New, k.secret)
	var length [4]byte
	for _, s := range [...]string{org, label, value} {
		binary.BigEndian.PutUint32(length[:], uint32(len(s)))
		mac.Write(length[:])
		mac.Write([]byte(s))
	}
	return "p-" + k.id + "-" + hex.EncodeToString(mac.Sum(nil)[:16])
}
