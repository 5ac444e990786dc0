package record

import "keel/pricing"

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
	r := open("extension", plain, b)
	x := new(Extension)
	x.ID = r.id("decision id")
	x.Org = r.text("org")
	x.At = r.time("time")
	x.Debt = r.bool("debt")
	x.More = list(r, "more", minMore, func(r *reader, m *More) {
		readAccount(r, &m.Account)
		m.Amount = pricing.NanoUSD(r.int64("amount"))
		m.Leased = r.bool("leased")
	})
	if err := r.end(); err != nil {
		return nil, err
	}
	return x, nil
}
