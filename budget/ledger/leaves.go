package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"keel/budget/audit/leaf"
	"keel/budget/ledger/pgcopy"
)

// Settlement makes the leaves of what it writes, out of the very bytes that it writes: else the audit log's sequencer would have to read
// every row again. What Postgres may print otherwise than expected gets no leaf here, and is read; keel audit verify reads all.

// form is how a column is written in a row.
type form int

const (
	asText form = iota
	asInt
	asBool
	asID
	asTime
	asBytes
	asJSON
	asTexts  // an array
	asStored // in no row: the instant of the transaction, by the default of the column
	asFirst  // in no row: version 1, by the default of the column
)

// leafColumn is a column of a leaf.
type leafColumn struct {
	lead   string // of its field: the length of the name, and the name
	labels leaf.Labels
	field  int // of the row
	form   form
}

// leafForm is how a row of an INSERT becomes a leaf.
type leafForm struct {
	begin   string // its first field
	columns []leafColumn
	fields  int // of the row
}

var (
	decisionLeaves = leafFormOf(leaf.Decision, insertDecisions, map[form]string{
		asID: "decision_id epoch", asTime: "decided_at", asStored: "stored_at", asBool: "stream unmetered debt", asBytes: "digest",
		asInt:  `max_output_tokens choices output_cap input_tokens input_tokens_bound output_tokens output_tokens_bound expected_n bound_n held_n seq`,
		asJSON: "subject prompt rules denial estimate holds envelope route_choices"})
	closeoutLeaves = leafFormOf(leaf.Closeout, insertCloseouts, map[form]string{
		asID: "decision_id epoch lease", asTime: "closed_at", asStored: "stored_at", asFirst: "version", asBool: "presumed cost_known", asBytes: "digest", asTexts: "unpriced",
		asInt:  "input_tokens cached_input_tokens cache_write_tokens output_tokens reasoning_tokens cost_n attempts http_status seq",
		asJSON: "usage raw_usage lines charges attempt_rows bills"})
)

func leafFormOf(kind leaf.Kind, insert string, forms map[form]string) *leafForm {
	fields := make(map[string]int)
	columns, _ := projection(insert)
	for i, name := range columns {
		fields[name] = i
	}
	form := make(map[string]form)
	for f, names := range forms {
		for _, name := range strings.Fields(names) {
			form[name] = f
		}
	}
	f := &leafForm{begin: string(leaf.Begin(nil, kind)), fields: len(columns)}
	for _, c := range kind.Columns() {
		if _, written := fields[c.Name]; !written && form[c.Name] != asStored && form[c.Name] != asFirst {
			continue // null
		}
		lead := leaf.AppendField(nil, c.Name, "")
		f.columns = append(f.columns, leafColumn{string(lead[:len(lead)-4]), c.Labels, fields[c.Name], form[c.Name]})
	}
	return f
}

// leafMaker makes the leaves of one transaction.
type leafMaker struct {
	stored []byte // the instant of the transaction, as leaves have it
	known  map[Label]string
	keyed  bool // an account of the row has a key

	commitments leaf.Commitments
	fields      [][]byte
	leaf        []byte
}

var leafMakers = sync.Pool{New: func() any {
	m := &leafMaker{known: make(map[Label]string)}
	m.commitments = func(label, value []byte) (string, bool) {
		c, ok := m.known[Label{string(label), string(value)}]
		return c, ok
	}
	return m
}}

// free ends the use of a maker; nil has none.
func (m *leafMaker) free() {
	if m != nil && cap(m.leaf) <= keptRows && len(m.known) <= keptLabels {
		clear(m.fields)
		leafMakers.Put(m)
	}
}

// keptLabels bounds what a maker keeps between transactions.
const keptLabels = 1000

// hash returns that of the leaf of the last row, unless it is not certain what Postgres will say of it.
func (m *leafMaker) hash(f *leafForm, r *rowBuffer) (h [sha256.Size]byte, ok bool) {
	if m == nil || r.unsure || !m.cut(f, r.Last()) {
		return h, false
	}
	m.keyed = r.keyed
	b := append(m.leaf[:0], f.begin...)
	for i := range f.columns {
		c := &f.columns[i]
		var v []byte
		if c.form != asStored && c.form != asFirst {
			if v = m.fields[c.field]; v == nil {
				continue
			}
		}
		b = append(append(b, c.lead...), 0, 0, 0, 0)
		from := len(b)
		if b, ok = m.append(b, v, c); !ok {
			break
		}
		binary.BigEndian.PutUint32(b[from-4:], uint32(len(b)-from))
	}
	m.leaf = b
	return leaf.Hash(b), ok
}

// cut takes a row apart; fields that are null are nil.
func (m *leafMaker) cut(f *leafForm, row []byte) bool {
	m.fields = m.fields[:0]
	if len(row) < 2 || int(binary.BigEndian.Uint16(row)) != f.fields {
		return false
	}
	for row = row[2:]; len(m.fields) < f.fields; {
		n := int32(binary.BigEndian.Uint32(row))
		if row = row[4:]; n < 0 {
			m.fields = append(m.fields, nil)
			continue
		}
		m.fields, row = append(m.fields, row[:n:n]), row[n:]
	}
	return len(row) == 0
}

// append appends the value of a column as a leaf has it.
func (m *leafMaker) append(b, v []byte, c *leafColumn) (_ []byte, ok bool) {
	switch c.form {
	case asText:
		return append(b, v...), true
	case asInt:
		n := int64(0)
		if len(v) == 4 {
			n = int64(int32(binary.BigEndian.Uint32(v)))
		} else {
			n = int64(binary.BigEndian.Uint64(v))
		}
		return strconv.AppendInt(b, n, 10), true
	case asBool:
		return strconv.AppendBool(b, v[0] == 1), true
	case asID:
		for i, n := range [...]int{0, 4, 6, 8, 10} { // 8-4-4-4-12
			if i > 0 {
				b = append(b, '-')
			}
			b = hex.AppendEncode(b, v[n:[...]int{4, 6, 8, 10, 16}[i]])
		}
		return b, len(v) == 16
	case asTime:
		micros := int64(binary.BigEndian.Uint64(v))
		if micros == math.MaxInt64 || micros == math.MinInt64 {
			return b, false
		}
		return leaf.AppendTime(b, time.UnixMicro(micros+pgcopy.MicrosOfY2K)), true
	case asStored:
		return append(b, m.stored...), true
	case asFirst:
		return append(b, '1'), true
	case asBytes:
		return hex.AppendEncode(b, v), true
	case asTexts:
		return appendTexts(b, v)
	case asJSON:
		v = v[1:] // behind the version of its format
		if c.labels == leaf.InKeys && !m.keyed {
			return append(b, v...), true
		}
		b, err := c.labels.Append(b, v, m.commitments)
		return b, err == nil
	}
	return b, false
}

// appendTexts prints an array of text as Postgres prints it as jsonb. What would need an escape is not certain.
func appendTexts(b, array []byte) (_ []byte, ok bool) {
	b = append(b, '[')
	if binary.BigEndian.Uint32(array) > 0 { // dimensions
		for n, v := binary.BigEndian.Uint32(array[12:]), array[20:]; n > 0; n-- {
			size := binary.BigEndian.Uint32(v)
			for _, c := range v[4 : 4+size] {
				if c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
					return b, false
				}
			}
			b = append(append(append(b, '"'), v[4:4+size]...), '"')
			if v = v[4+size:]; n > 1 {
				b = append(b, ", "...)
			}
		}
	}
	return append(b, ']'), true
}
