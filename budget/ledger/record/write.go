package record

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/google/uuid"
)

// version is that of the format. A change of the format raises it, and this
// program must then still read the version before: a journal outlives an upgrade.
// A kind of record keeps the version in which it was last changed.
const (
	plain    = 1 // before envelopes and attempts; returns and extensions are still of it
	version  = 2 // before attempts told what they took; decisions are still of it
	detailed = 3 // before closeouts told what they were priced by
	billed   = 4
)

// fewKeys is how many keys of a map are sorted without an allocation.
const fewKeys = 16

// Every value has one encoding: the decoders refuse another one for it, so that
// equal records are equal bytes.

func appendInt[T ~int | ~int64](b []byte, n T) []byte { return binary.AppendVarint(b, int64(n)) }

func appendCount(b []byte, n int) []byte { return binary.AppendUvarint(b, uint64(n)) }

func appendText[T ~string | ~[]byte](b []byte, s T) []byte {
	return append(appendCount(b, len(s)), s...)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendID(b []byte, id uuid.UUID) []byte { return append(b, id[:]...) }

// appendTime writes 0 for the zero time, else the nanoseconds within the second,
// plus one, and the Unix seconds. One Unix time in nanoseconds would take three bytes
// more for windows, which begin at whole seconds, and wrap around in 2262.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(t.Nanosecond())+1)
	return binary.AppendVarint(b, t.Unix())
}

func appendTexts[M ~map[string]string](b []byte, m M) []byte {
	var scratch [fewKeys]string
	b = appendCount(b, len(m))
	for _, k := range sortedKeys(scratch[:0], m) {
		b = appendText(appendText(b, k), m[k])
	}
	return b
}

func appendInts(b []byte, m map[string]int64) []byte {
	var scratch [fewKeys]string
	b = appendCount(b, len(m))
	for _, k := range sortedKeys(scratch[:0], m) {
		b = appendInt(appendText(b, k), m[k])
	}
	return b
}

func sortedKeys[M ~map[string]V, V any](keys []string, m M) []string {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
