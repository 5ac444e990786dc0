package log

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Keys are the public keys that somebody trusts: those of the log and of witnesses. It is a note.Verifiers.
type Keys struct {
	verifiers map[string]note.Verifier // by keyName
	witnesses map[string]bool
}

// ParseKeys reads public keys: "name+hash+base64", of Ed25519 (a log's) and of cosignatures (a witness').
func ParseKeys(texts ...string) (k Keys, err error) {
	for _, text := range texts {
		if err := k.Add(text); err != nil {
			return k, err
		}
	}
	return k, nil
}

// Add trusts one more.
func (k *Keys) Add(text string) error {
	text = strings.TrimSpace(text)
	v, err := note.NewVerifier(text)
	witness := false
	if err != nil {
		if v, witness = newWitness(text); !witness {
			return fmt.Errorf("public key %q: it must be like name+hash+base64, of Ed25519 or of a witness' cosignature", text)
		}
	}
	if k.verifiers == nil {
		k.verifiers, k.witnesses = make(map[string]note.Verifier), make(map[string]bool)
	}
	name := keyName(v.Name(), v.KeyHash())
	k.verifiers[name] = v
	k.witnesses[name] = witness
	return nil
}

// Len is how many there are.
func (k Keys) Len() int { return len(k.verifiers) }

// Has reports whether a public key is one of them.
func (k Keys) Has(text string) bool {
	v, err := note.NewVerifier(strings.TrimSpace(text))
	return err == nil && k.verifiers[keyName(v.Name(), v.KeyHash())] != nil
}

// Verifier implements note.Verifiers.
func (k Keys) Verifier(name string, hash uint32) (note.Verifier, error) {
	if v := k.verifiers[keyName(name, hash)]; v != nil {
		return v, nil
	}
	return nil, &note.UnknownVerifierError{Name: name, KeyHash: hash}
}

func (k Keys) isWitness(name string, hash uint32) bool { return k.witnesses[keyName(name, hash)] }

// Cosigner is a witness who saw a checkpoint.
type Cosigner struct {
	Name string
	At   time.Time
}

// algCosignature is the type of a witness' key: c2sp.org/tlog-cosignature.
const algCosignature = 4

// witness verifies cosignature/v1: an Ed25519 signature over the note's text and the time.
type witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func newWitness(text string) (*witness, bool) {
	name, rest, _ := strings.Cut(text, "+")
	hash, key, _ := strings.Cut(rest, "+")
	n, err := strconv.ParseUint(hash, 16, 32)
	raw, err2 := base64.StdEncoding.DecodeString(key)
	if err != nil || err2 != nil || name == "" || len(hash) != 8 || len(raw) != 1+ed25519.PublicKeySize || raw[0] != algCosignature {
		return nil, false
	}
	sum := sha256.Sum256(append([]byte(name+"\n"), raw...))
	if binary.BigEndian.Uint32(sum[:]) != uint32(n) {
		return nil, false
	}
	return &witness{name, uint32(n), raw[1:]}, true
}

// Name, KeyHash and Verify implement note.Verifier.
func (w *witness) Name() string    { return w.name }
func (w *witness) KeyHash() uint32 { return w.hash }

func (w *witness) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	signed := append(fmt.Appendf(nil, "cosignature/v1\ntime %d\n", binary.BigEndian.Uint64(sig)), msg...)
	return ed25519.Verify(w.key, signed, sig[8:])
}

// cosignedAt reads the time of a signature that has one.
func cosignedAt(sig note.Signature) (time.Time, bool) {
	raw, err := base64.StdEncoding.DecodeString(sig.Base64)
	if err != nil || len(raw) != 4+8+ed25519.SignatureSize {
		return time.Time{}, false
	}
	return time.Unix(int64(binary.BigEndian.Uint64(raw[4:])), 0).UTC(), true
}

// KeyName is how Signed.Signers names a public key: "name+hash".
func KeyName(public string) string {
	v, err := note.NewVerifier(strings.TrimSpace(public))
	if err != nil {
		return public
	}
	return keyName(v.Name(), v.KeyHash())
}

// Clone returns keys that can be added to without changing these.
func (k Keys) Clone() Keys { return Keys{maps.Clone(k.verifiers), maps.Clone(k.witnesses)} }
