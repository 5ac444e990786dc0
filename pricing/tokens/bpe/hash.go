package bpe

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"math/rand/v2"
)

// hasher has the random keys of one vocabulary's tables.
type hasher struct {
	short uint64       // of pieces up to 7 bytes
	seed  maphash.Seed // of pieces up to 128 bytes
	long  fingerprinter
}

func newHasher() hasher {
	return hasher{short: rand.Uint64(), seed: maphash.MakeSeed(), long: newFingerprinter()}
}

// piece hashes t[i:end]. No two pieces of up to 7 bytes have the same hash. The hash
// of others is as good as random to whoever doesn't know the keys: that is
// not so of maphash beyond 128 bytes, where processors with AES mix
// block after block with a single round.
func (h *hasher) piece(t []byte, i, end int) uint64 {
	n := end - i
	switch {
	case n > 128:
		f := h.long.of(t[i:end])
		return f.lo
	case n > 7:
		return maphash.Bytes(h.seed, t[i:end])
	}
	var key uint64
	if i+8 <= len(t) {
		key = binary.LittleEndian.Uint64(t[i:]) & (1<<(8*n) - 1)
	} else {
		for k := end - 1; k >= i; k-- {
			key = key<<8 | uint64(t[k])
		}
	}
	return h.few(key, n)
}

// few hashes up to 7 bytes, n in number.
func (h *hasher) few(key uint64, n int) uint64 {
	key = (key | uint64(n)<<56) ^ h.short
	// Each step can be undone, so that different keys stay different.
	key *= 0xbf58476d1ce4e5b9
	key ^= key >> 32
	key *= 0x94d049bb133111eb
	return key ^ key>>29
}

// fingerprint tells texts apart.
type fingerprint struct{ hi, lo uint64 }

// fingerprinter makes fingerprints by the universal hash of VMAC (Krovetz and Dai,
// 2007): blocks go through NH, whose 128-bit results are the coefficients of a polynomial
// modulo 2^127 - 1, and so does the length. Two different texts, however chosen, have the same
// fingerprint with a probability of about 2^-60 over the random keys, and it costs a
// multiplication for 16 bytes.
type fingerprinter struct {
	nh           [128]uint64
	poly, length fingerprint
}

func newFingerprinter() fingerprinter {
	var f fingerprinter
	for i := range f.nh {
		f.nh[i] = rand.Uint64()
	}
	f.poly = fingerprint{rand.Uint64() >> 1, rand.Uint64()}
	f.length = fingerprint{rand.Uint64() >> 1, rand.Uint64()}
	return f
}

func (f *fingerprinter) of(text []byte) fingerprint {
	length := f.length.times(fingerprint{0, uint64(len(text))})
	n := min(len(text), 8*len(f.nh))
	sum := f.block(text[:n])
	for text = text[n:]; len(text) > 0; text = text[n:] {
		n = min(len(text), 8*len(f.nh))
		sum = sum.times(f.poly).plus(f.block(text[:n]))
	}
	return sum.times(f.poly).plus(length)
}

// block is NH of up to 1 KB: the sum of products of pairs of words, a key added to each.
func (f *fingerprinter) block(b []byte) fingerprint {
	var hi, lo, carry uint64
	i := 0
	for ; len(b) >= 64 && i+8 <= len(f.nh); b, i = b[64:], i+8 {
		w, k := (*[64]byte)(b), (*[8]uint64)(f.nh[i:])
		h, l := bits.Mul64(binary.LittleEndian.Uint64(w[:])+k[0], binary.LittleEndian.Uint64(w[8:])+k[1])
		lo, carry = bits.Add64(lo, l, 0)
		hi, _ = bits.Add64(hi, h, carry)
		h, l = bits.Mul64(binary.LittleEndian.Uint64(w[16:])+k[2], binary.LittleEndian.Uint64(w[24:])+k[3])
		lo, carry = bits.Add64(lo, l, 0)
		hi, _ = bits.Add64(hi, h, carry)
		h, l = bits.Mul64(binary.LittleEndian.Uint64(w[32:])+k[4], binary.LittleEndian.Uint64(w[40:])+k[5])
		lo, carry = bits.Add64(lo, l, 0)
		hi, _ = bits.Add64(hi, h, carry)
		h, l = bits.Mul64(binary.LittleEndian.Uint64(w[48:])+k[6], binary.LittleEndian.Uint64(w[56:])+k[7])
		lo, carry = bits.Add64(lo, l, 0)
		hi, _ = bits.Add64(hi, h, carry)
	}
	if len(b) > 0 {
		var last [64]byte
		n := copy(last[:], b)
		for w := last[:(n+15)&^15]; len(w) >= 16; w, i = w[16:], i+2 {
			h, l := bits.Mul64(binary.LittleEndian.Uint64(w)+f.nh[i], binary.LittleEndian.Uint64(w[8:])+f.nh[i+1])
			lo, carry = bits.Add64(lo, l, 0)
			hi, _ = bits.Add64(hi, h, carry)
		}
	}
	return fingerprint{hi & (1<<62 - 1), lo}
}

// plus and times are modulo 2^127 - 1.
func (a fingerprint) plus(b fingerprint) fingerprint {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	hi, _ := bits.Add64(a.hi, b.hi, carry)
	return fingerprint{hi, lo}.fold()
}

func (a fingerprint) times(b fingerprint) fingerprint {
	p1, p0 := bits.Mul64(a.lo, b.lo)
	p3, p2 := bits.Mul64(a.hi, b.hi)
	for _, cross := range [2][2]uint64{{a.hi, b.lo}, {a.lo, b.hi}} {
		hi, lo := bits.Mul64(cross[0], cross[1])
		var carry uint64
		p1, carry = bits.Add64(p1, lo, 0)
		p2, carry = bits.Add64(p2, hi, carry)
		p3 += carry
	}
	low := fingerprint{p1 & (1<<63 - 1), p0}
	return low.plus(fingerprint{p3<<1 | p2>>63, p2<<1 | p1>>63})
}

func (a fingerprint) fold() fingerprint {
	lo, carry := bits.Add64(a.lo, a.hi>>63, 0)
	return fingerprint{a.hi&(1<<63-1) + carry, lo}
}
