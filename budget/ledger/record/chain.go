package record

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/google/uuid"
)

// Digest is what the ledger keeps of a journal's record besides what it says:
// SHA-256 over its kind and its payload.
type Digest = [sha256.Size]byte

// DigestOf is the digest of a record.
func DigestOf(kind Kind, payload []byte) (d Digest) {
	h := sha256.New()
	h.Write([]byte{byte(kind)})
	h.Write(payload)
	h.Sum(d[:0])
	return d
}

// ChainStart is the head of the chain of a journal's records of one org, before the first one.
func ChainStart(epoch uuid.UUID, org string) Digest {
	b := append([]byte("keel journal chain\n"), epoch[:]...)
	return sha256.Sum256(append(b, org...))
}

// ChainNext is the head after one more record: SHA-256 over the head before, the number and the digest.
func ChainNext(head Digest, seq uint64, digest Digest) Digest {
	var b [2*sha256.Size + 8]byte
	copy(b[:], head[:])
	binary.BigEndian.PutUint64(b[sha256.Size:], seq)
	copy(b[sha256.Size+8:], digest[:])
	return sha256.Sum256(b[:])
}
