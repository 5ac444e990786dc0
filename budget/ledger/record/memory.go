package record

import (
	"hash/maphash"
	"strings"
	"unsafe"

	"keel/budget"
	"keel/pricing"
	"keel/pricing/meter"
)

// memory is what decoded records lie in. The lists of which most records have some are cut from slabs; others are made one by one.
type memory struct {
	decisions slab[budget.Decision]
	closeouts slab[Closeout]
	holds     slab[budget.Hold]
	rules     slab[budget.Rule]
	charges   slab[Charge]
	usages    slab[meter.Usage]
	lines     slab[pricing.Line]
	bills     slab[budget.Bill]
	raw       slab[byte]
	labels    maps[string]
	sizes     maps[int64]
	texts     strings.Builder

	// What was read since the last reset and is likely to come again. There is none before the first reset: one record has little twice.
	words    []string      // texts, each in the place of its hash
	accounts []seenAccount // by their place in a list
}

// seenAccount is an account with its encoding.
type seenAccount struct {
	encoded []byte
	account budget.Account
}

const (
	seenAccounts = 16  // places that have one
	keptEncoded  = 512 // bytes of an encoding of which the memory is used again
)

func (s *seenAccount) forget() {
	if s.account = (budget.Account{}); cap(s.encoded) > keptEncoded {
		s.encoded = nil
	}
	s.encoded = s.encoded[:0]
}

// seen is the account that was read last in a place of a list; nil where none is remembered.
func (m *memory) seen(place int) *seenAccount {
	if uint(place) < uint(len(m.accounts)) {
		return &m.accounts[place]
	}
	return nil
}

func (m *memory) reset() {
	m.decisions.reset()
	m.closeouts.reset()
	m.holds.reset()
	m.rules.reset()
	m.charges.reset()
	m.usages.reset()
	m.lines.reset()
	m.bills.reset()
	m.raw.reset()
	m.labels.reset()
	m.sizes.reset()
	if m.texts.Cap() > keptText {
		m.texts.Reset()
	}
	if m.accounts == nil {
		m.words, m.accounts = make([]string, wordPlaces), make([]seenAccount, seenAccounts)
	}
	clear(m.words)
	for i := range m.accounts {
		m.accounts[i].forget()
	}
}

const (
	wordPlaces  = 512
	longestWord = 64       // of a text that is remembered, in bytes
	keptText    = 64 << 10 // what is made for texts at once, and kept for more of them
)

var wordSeed = maphash.MakeSeed()

// text is b as a string: mostly one that is there, because names of models, rules and prices are in every record.
func (m *memory) text(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if len(b) > longestWord || m.words == nil {
		return m.newText(b)
	}
	word := &m.words[maphash.Bytes(wordSeed, b)%wordPlaces]
	if *word != string(b) {
		*word = m.newText(b)
	}
	return *word
}

// roomFor makes room for so many bytes of text. What was written is left to those who have it.
func (m *memory) roomFor(n int) {
	if m.texts.Cap()-m.texts.Len() < n {
		room := min(2*m.texts.Cap(), keptText)
		m.texts.Reset()
		m.texts.Grow(max(room, n))
	}
}

// newText is b as a part of a string that is longer. What is behind it is written once.
func (m *memory) newText(b []byte) string {
	m.roomFor(len(b))
	from := m.texts.Len()
	m.texts.Write(b)
	return m.texts.String()[from:]
}

// slab is memory for many elements, from which lists of them are cut. It grows with what it is asked for.
type slab[T any] struct {
	all  []T
	used int
}

// keptBytes bounds what a slab makes for more than one list, and keeps when it is reset.
const keptBytes = 1 << 20

// most is how many elements that are.
func (s *slab[T]) most() int {
	var element T
	return keptBytes / int(unsafe.Sizeof(element))
}

// list is n elements that are zero.
func (s *slab[T]) list(n int) []T {
	if n > len(s.all)-s.used {
		// What was cut from the slab so far stays what it is: it is only not used again.
		s.all, s.used = make([]T, max(n, min(2*len(s.all), s.most()))), 0
	}
	s.used += n
	return s.all[s.used-n : s.used : s.used]
}

func (s *slab[T]) one() *T { return &s.list(1)[0] }

// reset takes back everything that was cut.
func (s *slab[T]) reset() {
	if clear(s.all[:s.used]); len(s.all) > s.most() {
		s.all = nil
	}
	s.used = 0
}

// maps are maps that are used again.
type maps[V any] struct {
	all  []map[string]V
	used int
}

// keptMaps is how many are kept, and keptKeys how many keys such a map may have: it never gets smaller.
const keptMaps, keptKeys = 1024, 16

// of is an empty map with room for n keys.
func (m *maps[V]) of(n int) map[string]V {
	if n > keptKeys || m.used == keptMaps {
		return make(map[string]V, n)
	}
	if m.used == len(m.all) {
		m.all = append(m.all, make(map[string]V, n))
	}
	m.used++
	return m.all[m.used-1]
}

// reset takes back every map.
func (m *maps[V]) reset() {
	for _, v := range m.all[:m.used] {
		clear(v)
	}
	m.used = 0
}
