package pricing

import (
	"fmt"
	"math/big"
	"strings"
)

// Agreement says how our cost stands to the provider's own.
type Agreement string

// The agreements.
const (
	Equal    Agreement = "equal"    // to the nano-dollar
	Close    Agreement = "close"    // within one percent of the provider's
	Over     Agreement = "over"     // ours is more
	Under    Agreement = "under"    // ours is less
	Unpriced Agreement = "unpriced" // ours is not known
)

// closePPM is how far apart, in millionths of the provider's, costs are that are called close.
const closePPM = 10_000

// Difference is our cost beside the one that the provider reported.
type Difference struct {
	Ours, Reported NanoUSD
	Nano           NanoUSD // Ours − Reported, limited to what fits
	PPM            int64   // the same in millionths of Reported, rounded half-even; limited to ±MaxPPM, which also stands for any difference from a reported zero
	Agreement      Agreement
}

// MaxPPM is the limit of Difference.PPM.
const MaxPPM = 1_000_000_000

// Compare returns how ours stands to what the provider reported: dollars as a
// plain decimal, of which more than nine decimals are rounded half-even. ok is false
// where the provider reported nothing ("") or no amount. A cost that is not priced counts as
// unknown: Ours is then what was priced of it.
func Compare(ours Cost, reported string) (d Difference, ok bool) {
	if reported == "" { // as nearly always: not worth an error
		return Difference{}, false
	}
	amount, err := ParseReported(reported)
	if err != nil {
		return Difference{}, false
	}
	d = Difference{Ours: ours.Total, Reported: amount}
	nano := new(big.Int).Sub(big.NewInt(int64(ours.Total)), big.NewInt(int64(amount)))
	d.Nano = NanoUSD(limited(nano, 1<<63-1))
	switch {
	case nano.Sign() == 0:
		d.Agreement = Equal
	case amount <= 0:
		d.PPM = int64(nano.Sign()) * MaxPPM
	default:
		million := new(big.Int).Mul(nano, big.NewInt(1_000_000))
		d.PPM = limited(divide(million, big.NewInt(int64(amount)), halfEven), MaxPPM)
	}
	switch {
	case !ours.Priced():
		d.Agreement = Unpriced
	case d.Agreement == Equal:
	case -closePPM <= d.PPM && d.PPM <= closePPM:
		d.Agreement = Close
	case nano.Sign() > 0:
		d.Agreement = Over
	default:
		d.Agreement = Under
	}
	return d, true
}

func limited(n *big.Int, limit int64) int64 {
	if n.CmpAbs(big.NewInt(limit)) > 0 {
		return int64(n.Sign()) * limit
	}
	return n.Int64()
}

// ParseReported reads a provider's own cost: a plain decimal of dollars, rounded
// half-even to nano-dollars, because providers print floating-point noise.
func ParseReported(s string) (NanoUSD, error) {
	digits, negative := strings.CutPrefix(s, "-")
	whole, fraction, dotted := strings.Cut(digits, ".")
	if !allDigits(whole) || dotted && !allDigits(fraction) {
		return 0, fmt.Errorf("reported cost %q is not a plain decimal like 0.0125", s)
	}
	if len(whole)+len(fraction) > 400 { // no binary float prints longer
		return 0, fmt.Errorf("reported cost %.20q… is too long", s)
	}
	fraction += strings.Repeat("0", max(0, nanoPlaces-len(fraction)))
	n, _ := new(big.Int).SetString(whole+fraction, 10)
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(len(fraction)-nanoPlaces)), nil)
	n = divide(n, scale, halfEven)
	if negative {
		n.Neg(n)
	}
	if !n.IsInt64() {
		return 0, ErrOverflow
	}
	return NanoUSD(n.Int64()), nil
}
