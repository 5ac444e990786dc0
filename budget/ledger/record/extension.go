package record

// minMore is the fewest bytes that an element of More takes; a test has it.
const minMore = minAccount + 2

// AppendExtension appends the encoding of x to b.
func AppendExtension(b []byte, x *Extension) []byte {
	b = append(b, plain)
	b = appendID(b, x.ID)
	b = appendText(b, x.Org)
	b = appendTime(b, x.At)
	b = appendBool(b, x.Debt)
	b = appendCount(b, len(x.More))
	for i := range x.More {
		m := &x.More[i]
		b = appendAccount(b, &m.Account)
		b = appendInt(b, int64(m.Amount))
		b = appendBool(b, m.Leased)
	}
	return b
}

// DecodeExtension reads what AppendExtension wrote. More without elements is nil,
// and times are UTC.
func DecodeExtension(b []byte) (*Extension, error) {
	return new(Decoder).Extension(b)
}
