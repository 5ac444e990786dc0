package record

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// coder goes over the fields of a value in one order, to write them or to read
// them, so that what is written is what is read. Numbers are varints, strings are
// counted, times are Unix nanoseconds.
type coder struct {
	b       []byte
	at      int // of what is read next
	reading bool
	err     error
	keys    []string // of the map that is being written
}

// fail notes the first thing that is wrong.
func (c *coder) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("byte %d: %s", c.at, fmt.Sprintf(format, args...))
	}
	c.at = len(c.b)
}

func unsigned[T ~uint8 | ~uint32 | ~uint64](c *coder, v *T) {
	if !c.reading {
		c.b = binary.AppendUvarint(c.b, uint64(*v))
		return
	}
	n, size := binary.Uvarint(c.b[c.at:])
	if size <= 0 || uint64(T(n)) != n {
		c.fail("a number is cut or too large")
		return
	}
	c.at += size
	*v = T(n)
}

func signed[T ~int | ~int64](c *coder, v *T) {
	if !c.reading {
		c.b = binary.AppendVarint(c.b, int64(*v))
		return
	}
	n, size := binary.Varint(c.b[c.at:])
	if size <= 0 || int64(T(n)) != n {
		c.fail("a number is cut or too large")
		return
	}
	c.at += size
	*v = T(n)
}

func str[T ~string](c *coder, s *T) {
	if !c.reading {
		c.b = binary.AppendUvarint(c.b, uint64(len(*s)))
		c.b = append(c.b, *s...)
		return
	}
	*s = T(c.take())
}

// take reads a counted string, which aliases what is read from.
func (c *coder) take() []byte {
	var n uint64
	if unsigned(c, &n); n > uint64(len(c.b)-c.at) {
		c.fail("a text of %d bytes is cut", n)
		return nil
	}
	c.at += int(n)
	return c.b[c.at-int(n) : c.at]
}

func (c *coder) bytes(p *[]byte) {
	if !c.reading {
		c.b = binary.AppendUvarint(c.b, uint64(len(*p)))
		c.b = append(c.b, *p...)
		return
	}
	*p = nil
	if b := c.take(); len(b) > 0 {
		*p = slices.Clone(b)
	}
}

func (c *coder) bool(v *bool) {
	var n uint8
	if *v {
		n = 1
	}
	if unsigned(c, &n); n > 1 {
		c.fail("a truth value is %d", n)
	}
	*v = n == 1
}

// fixed is 16 bytes of an id.
func (c *coder) fixed(id *[16]byte) {
	if !c.reading {
		c.b = append(c.b, id[:]...)
		return
	}
	if len(c.b)-c.at < len(id) {
		c.fail("an id is cut")
		return
	}
	c.at += copy(id[:], c.b[c.at:])
}

// time keeps the instant, in UTC, and the zero time. It must lie within the range of
// Unix nanoseconds, from 1678 to 2262.
func (c *coder) time(t *time.Time) {
	var n int64
	isSet := !t.IsZero()
	if c.bool(&isSet); !isSet {
		*t = zeroTime(*t, c.reading)
		return
	}
	if !c.reading {
		n = t.UnixNano()
	}
	if signed(c, &n); c.reading {
		*t = time.Unix(0, n).UTC()
	}
}

func zeroTime(t time.Time, reading bool) time.Time {
	if reading {
		return time.Time{}
	}
	return t
}

// some says whether a pointer is set, and sets it where it is read.
func some[T any](c *coder, p **T, each func(*coder, *T)) {
	isSet := *p != nil
	c.bool(&isSet)
	if c.reading {
		*p = nil
		if isSet {
			*p = new(T)
		}
	}
	if isSet {
		each(c, *p)
	}
}

// list goes over a slice; nil and empty are the same. An element takes a byte at least.
func list[T any](c *coder, s *[]T, each func(*coder, *T)) {
	n := uint64(len(*s))
	unsigned(c, &n)
	if c.reading {
		*s = nil
		if n > uint64(len(c.b)-c.at) {
			c.fail("a list of %d is cut", n)
			return
		}
		for i := uint64(0); i < n && c.err == nil; i++ { // grows with what is really there
			var element T
			each(c, &element)
			*s = append(*s, element)
		}
		return
	}
	for i := range *s {
		each(c, &(*s)[i])
	}
}

// texts goes over a map of strings in the order of its keys; nil and empty are the same.
func (c *coder) texts(m *map[string]string) {
	if c.reading {
		readMap(c, m, str)
		return
	}
	n := uint64(len(*m))
	unsigned(c, &n)
	for _, key := range sortedKeys(&c.keys, *m) {
		value := (*m)[key]
		str(c, &key)
		str(c, &value)
	}
}

// counts goes over a map of numbers in the order of its keys; nil and empty are the same.
func (c *coder) counts(m *map[string]int64) {
	if c.reading {
		readMap(c, m, signed)
		return
	}
	n := uint64(len(*m))
	unsigned(c, &n)
	for _, key := range sortedKeys(&c.keys, *m) {
		value := (*m)[key]
		str(c, &key)
		signed(c, &value)
	}
}

// sortedKeys reuses what it is given for them.
func sortedKeys[V any](keys *[]string, m map[string]V) []string {
	*keys = (*keys)[:0]
	for key := range m {
		*keys = append(*keys, key)
	}
	slices.Sort(*keys)
	return *keys
}

func readMap[V any](c *coder, m *map[string]V, each func(*coder, *V)) {
	var n uint64
	*m = nil
	if unsigned(c, &n); n > uint64(len(c.b)-c.at) {
		c.fail("a map of %d is cut", n)
		return
	}
	for ; n > 0 && c.err == nil; n-- {
		var key string
		var value V
		str(c, &key)
		each(c, &value)
		if *m == nil {
			*m = make(map[string]V)
		}
		(*m)[key] = value
	}
}
