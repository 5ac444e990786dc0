package walk

// MaxCount is more than any call can use of anything; what claims more is not a
// count. Below it, sums of counts cannot overflow.
const MaxCount = 1 << 50

// Count is Int for a quantity that a provider reports: ok is false where it is
// absent, negative or more than MaxCount, too.
func (c *Cursor) Count() (n int64, ok bool, err error) {
	n, ok, err = c.Int()
	if !ok || n < 0 || n > MaxCount {
		return 0, false, err
	}
	return n, true, err
}
