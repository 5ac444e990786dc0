package record

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Whatever the bytes: no panic, no more memory than they justify, and what is
// read is written as the same bytes again, since a value has one encoding.

func FuzzDecodeDecision(f *testing.F) { fuzz(f, AppendDecision, DecodeDecision, (*Decoder).Decision) }
func FuzzDecodeCloseout(f *testing.F) { fuzz(f, AppendCloseout, DecodeCloseout, (*Decoder).Closeout) }
func FuzzDecodeReturn(f *testing.F)   { fuzz(f, AppendReturn, DecodeReturn, (*Decoder).Return) }
func FuzzDecodeResponse(f *testing.F) { fuzz(f, AppendResponse, DecodeResponse, (*Decoder).Response) }

func FuzzDecodeExtension(f *testing.F) {
	fuzz(f, AppendExtension, DecodeExtension, (*Decoder).Extension)
}

// again is the decoder of one kind in memory that was used before: it says the same, of errors as well.
func fuzz[T any](f *testing.F, encode func([]byte, *T) []byte, decode func([]byte) (*T, error), again func(*Decoder, []byte) (*T, error)) {
	used := encode(nil, filled[T](f))
	f.Add(encode(nil, filled[T](f)))
	f.Add(encode(nil, new(T)))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decode(b)
		var d Decoder
		for range 2 {
			if _, err := again(&d, used); err != nil {
				t.Fatal(err)
			}
			d.Reset()
			_, _ = again(&d, b)
			if other, wrong := again(&d, b); fmt.Sprint(wrong) != fmt.Sprint(err) || !cmp.Equal(v, other) {
				t.Fatalf("in memory that was used before: %+v, %v, and else %+v, %v", other, wrong, v, err)
			}
		}
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
