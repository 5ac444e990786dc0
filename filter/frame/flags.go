package frame

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"

	accesslogdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Flags are the response flags that are set, each a bit by the number of its field in Envoy's API.
type Flags uint64

// Flags that mean something beside their names.
const (
	NoHealthyUpstream               Flags = 1 << 2
	UpstreamConnectionFailure       Flags = 1 << 6
	UpstreamOverflow                Flags = 1 << 8
	DownstreamConnectionTermination Flags = 1 << 15
)

// flagName is a flag by the name of its field.
type flagName struct {
	name   string
	number protowire.Number
	wire   protowire.Type
}

// flagNames are all, in the order of their names; flagByNumber is the same by number.
var flagNames, flagByNumber = func() (names []flagName, byNumber [64]flagName) {
	fields := (*accesslogdatav3.ResponseFlags)(nil).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		n := flagName{string(f.Name()), f.Number(), protowire.BytesType}
		if f.Kind() == protoreflect.BoolKind {
			n.wire = protowire.VarintType
		}
		names = append(names, n)
		byNumber[n.number] = n
	}
	slices.SortFunc(names, func(a, b flagName) int { return cmp.Compare(a.name, b.name) })
	return names, byNumber
}()

// Has reports whether one of some flags is set.
func (f Flags) Has(any Flags) bool { return f&any != 0 }

// String has the names of the flags, as Envoy's API has them, with commas between.
func (f Flags) String() string {
	if bits.OnesCount64(uint64(f)) == 1 {
		return flagByNumber[bits.TrailingZeros64(uint64(f))].name
	}
	var set []string
	for i := range flagNames {
		if f.Has(1 << flagNames[i].number) {
			set = append(set, flagNames[i].name)
		}
	}
	return strings.Join(set, ",")
}

// read reads a ResponseFlags over what is there. Why a call is not authorized, which is a message, is not looked at.
func (f *Flags) read(c cursor) bool {
	for !c.done() {
		number, _, bits, kind, ok := c.field()
		if !ok {
			return false
		}
		if int(number) >= len(flagByNumber) || flagByNumber[number].name == "" || flagByNumber[number].wire != kind {
			continue
		}
		if kind == protowire.VarintType && bits == 0 {
			*f &^= 1 << number
		} else {
			*f |= 1 << number
		}
	}
	return true
}
