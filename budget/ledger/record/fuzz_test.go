package record

import (
	"bytes"
	"testing"
)

// Whatever the bytes: no panic, no more memory than they justify, and what is
// read is written as the same bytes again, since a value has one encoding.

func FuzzDecodeDecision(f *testing.F) { fuzz(f, AppendDecision, DecodeDecision) }
func FuzzDecodeCloseout(f *testing.F) { fuzz(f, AppendCloseout, DecodeCloseout) }
func FuzzDecodeReturn(f *testing.F)   { fuzz(f, AppendReturn, DecodeReturn) }
func FuzzDecodeResponse(f *testing.F) { fuzz(f, AppendResponse, DecodeResponse) }

func FuzzDecodeExtension(f *testing.F) { fuzz(f, AppendExtension, DecodeExtension) }

func fuzz[T any](f *testing.F, encode func([]byte, *T) []byte, decode func([]byte) (*T, error)) {
	f.Add(encode(nil, filled[T](f)))
	f.Add(encode(nil, new(T)))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decode(b)
		if err != nil {
			if v != nil {
				t.Fatal("a value beside an error")
			}
			return
		}
		if again := encode(nil, v); !bytes.Equal(again, b) {
			t.Fatalf("%x\nis written as\n%x", b, again)
		}
	})
}
