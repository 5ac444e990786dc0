package record

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"keel/budget"
	"keel/pricing/meter"
)

// TestDamaged: bytes that no Append wrote are refused, with the field and the place.
func TestDamaged(t *testing.T) {
	t.Parallel()
	decision := AppendDecision(nil, &budget.Decision{Call: budget.Call{Org: "acme", Subject: budget.Subject{"app": "ide", "bus": "42"}}, Holds: make([]budget.Hold, 2)})
	response := AppendResponse(nil, &budget.Closeout{Usage: &meter.Usage{meter.Input: 5, meter.Pages: 7}})
	back := AppendReturn(nil, &Return{Account: budget.Account{Org: "o", Budget: "b", Key: "k"}})
	huge := binary.AppendUvarint(nil, 1<<62)
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"empty", second(DecodeReturn(nil)), "return record: version at byte 0 of 0: needs 1 bytes, and 0 are left"},
		{"newer", second(DecodeReturn([]byte{9})), "return record: format version 9, and this program reads version 1"},
		{"cut in an id", second(DecodeDecision(decision[:10])), "decision record: decision id at byte 1 of 10: needs 16 bytes, and 9 are left"},
		{"cut in a text", second(DecodeDecision(decision[:20])), "decision record: org at byte 18 of 20: needs 4 bytes, and 2 are left"},
		{"cut in an account", second(DecodeReturn(back[:6])), "return record: account key at byte 6 of 6: needs 1 bytes, and 0 are left"},
		{"left over", second(DecodeReturn(append(bytes.Clone(back), 0))), "return record: end at byte 11 of 12: 1 more bytes"},
		{"keys in disorder", second(DecodeDecision(replaced(decision, "\x03bus", "\x03abc"))), `subject[1].key at byte`},
		{"a key twice", second(DecodeDecision(replaced(decision, "\x03bus", "\x03app"))), `subject[1].key at byte 32 of`},
		{"a meter twice", second(DecodeResponse(replaced(response, "\x05pages", "\x05input"))), "response record: usage[1].meter at byte"},
		{"an unknown meter", second(DecodeResponse(replaced(response, "\x05pages", "\x05sages"))), `unknown meter "sages": read it with the version`},
		{"a meter of 0", second(DecodeResponse(replaced(response, "\x05pages\x0e", "\x05pages\x00"))), "usage[1].quantity at byte"},
		{"a long number", second(DecodeReturn(append(bytes.Clone(back[:len(back)-1]), 0x80, 0))), "amount at byte 10 of 12: the number is written longer than it is"},
		{"a number beyond 64 bits", second(DecodeReturn(append(bytes.Clone(back[:len(back)-1]), bytes.Repeat([]byte{0xff}, 11)...))), "does not fit in 64 bits"},
		{"a cut number", second(DecodeReturn(append(bytes.Clone(back[:len(back)-1]), 0x80))), "the record ends within a number"},
		{"no truth value", second(DecodeDecision(append(bytes.Clone(decision[:len(decision)-6]), 2, 0, 0, 0, 0, 0))), "debt at byte"},
		{"many labels", second(DecodeDecision(append(bytes.Clone(decision[:1+16+5+1]), huge...))), "decision record: subject at byte 23 of 32: 4611686018427387904 of at least 2 bytes each can't be in the 0 bytes"},
		{"a label more than can be", second(DecodeDecision(append(bytes.Clone(decision[:1+16+5+1]), 2, 0, 0, 0))), "2 of at least 2 bytes each can't be in the 3 bytes"},
		{"a hold more than can be", holdsOf(2, 2*minHold-1), "holds at byte 1 of 25: 2 of at least 12 bytes each can't be in the 23 bytes"},
		{"a long text", second(DecodeReturn(append([]byte{plain}, huge...))), "org at byte 10 of 10: needs 4611686018427387904 bytes, and 0 are left"},
		{"too many nanoseconds", second(DecodeReturn(append([]byte{plain, 0, 0, 0}, binary.AppendUvarint(nil, 1e9+1)...))), "window start at byte 4 of 9: 1000000000 nanoseconds are more than a second"},
		{"an addition more than can be", second(DecodeExtension(append([]byte{plain}, append(make([]byte, 16+1+1), 0, 2, 0)...))), "extension record: more at byte 20 of 22: 2 of at least 8 bytes each can't be in the 1 bytes"},
		{"an extension of a newer version", second(DecodeExtension([]byte{version})), "format version 2, and this program reads version 1"},
		{"the zero time in full", second(DecodeReturn(binary.AppendVarint([]byte{plain, 0, 0, 0, 1}, -62135596800))), "the zero time is written out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
				t.Errorf("error: %v\nwant:  … %s …", c.err, c.want)
			}
		})
	}
}

// holdsOf reads n holds from so many bytes.
func holdsOf(n byte, size int) error {
	r := &reader{kind: "decision", b: append([]byte{0, n}, make([]byte, size)...), at: 1, index: -1, memory: new(memory)}
	list(r, &r.memory.holds, "holds", minHold, readHold)
	return r.err
}

func second[T any](_ T, err error) error { return err }

func replaced(b []byte, old, by string) []byte {
	return bytes.Replace(b, []byte(old), []byte(by), 1)
}

// TestCut: no beginning of a record is a record, and no record takes more.
func TestCut(t *testing.T) {
	t.Parallel()
	cut(t, AppendDecision, DecodeDecision)
	cut(t, AppendCloseout, DecodeCloseout)
	cut(t, AppendReturn, DecodeReturn)
	cut(t, AppendResponse, DecodeResponse)
	cut(t, AppendExtension, DecodeExtension)
}

func cut[T any](t *testing.T, encode func([]byte, *T) []byte, decode func([]byte) (*T, error)) {
	b := encode(nil, filled[T](t))
	for end := range b {
		if v, err := decode(b[:end:end]); err == nil || v != nil {
			t.Errorf("%T: %d of %d bytes are read as %v, %v", v, end, len(b), v, err)
		}
	}
	if v, err := decode(append(b, 0)); err == nil {
		t.Errorf("%T: a byte more is no error", v)
	}
}
