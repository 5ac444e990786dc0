package bpe

import (
	"bytes"
	"compress/flate"
	_ "embed"
	"fmt"
	"io"
	"sync"
)

var (
	//go:embed vocabularies/o200k_base.pairs
	o200kPairs []byte
	//go:embed vocabularies/cl100k_base.pairs
	cl100kPairs []byte
	//go:embed vocabularies/gemma3.pairs
	gemma3Pairs []byte
)

// A Vocabulary counts tokens. It is safe for concurrent use.
type Vocabulary struct {
	plain    plain
	next     splitter
	hash     hasher
	memo     memo
	words    words
	pairs    pairs
	bytes    [256]uint32     // ranks of single bytes
	twos     [1 << 16]uint32 // ranks of two bytes, or none
	segments segments
}

var (
	o200k  = sync.OnceValue(func() *Vocabulary { return load("o200k_base", o200kPairs, plainO200k, splitO200k) })
	cl100k = sync.OnceValue(func() *Vocabulary { return load("cl100k_base", cl100kPairs, plainCl100k, splitCl100k) })
)

// O200k is the vocabulary o200k_base: of GPT-4o and what came after it. The first call
// makes it, which takes some tens of milliseconds and 7 MB.
func O200k() *Vocabulary { return o200k() }

// Cl100k is the vocabulary cl100k_base: of GPT-4, GPT-3.5 and the embedding
// models. The first call makes it.
func Cl100k() *Vocabulary { return cl100k() }

// load makes the tables of a vocabulary.
func load(name string, packed []byte, plain plain, next splitter) *Vocabulary {
	return build(embedded(name, packed), plain, next)
}

// embedded panics where the embedded file is damaged, which only a broken build can bring about.
func embedded(name string, packed []byte) *tokenList {
	tokens, err := unpack(packed)
	if err != nil {
		panic(fmt.Sprintf("bpe: embedded vocabulary %s: %v: run go generate", name, err))
	}
	return tokens
}

func build(tokens *tokenList, plain plain, next splitter) *Vocabulary {
	fillWide()
	v := &Vocabulary{
		plain:    plain,
		next:     next,
		hash:     newHasher(),
		memo:     newMemo(),
		words:    newWords(len(tokens.left)),
		pairs:    newPairs(len(tokens.left)),
		segments: newSegments(),
	}
	for i := range v.twos {
		v.twos[i] = none
	}
	for rank, left := range tokens.left {
		begin, end := tokens.ends[rank], tokens.ends[rank+1]
		text := tokens.bytes[begin:end]
		v.words.add(v.hash.piece(tokens.bytes, begin, end))
		switch len(text) {
		case 1:
			v.bytes[text[0]] = uint32(rank)
			continue
		case 2:
			v.twos[int(text[0])<<8|int(text[1])] = uint32(rank)
		}
		v.pairs.add(left, tokens.right[rank], uint32(rank))
	}
	return v
}

// tokenList is a vocabulary in order of rank.
type tokenList struct {
	bytes []byte // of all tokens
	ends  []int  // token i is bytes[ends[i]:ends[i+1]]
	// left and right are the ranks of what is merged last to make a token; 0 for the
	// single bytes.
	left, right []uint32
}

// unpack reads what command pack writes.
func unpack(packed []byte) (*tokenList, error) {
	data, err := io.ReadAll(flate.NewReader(bytes.NewReader(packed)))
	if err != nil {
		return nil, err
	}
	n := (len(data) - 256) / 6
	if n < 0 || 256+6*n != len(data) || 256+n > none {
		return nil, fmt.Errorf("has %d bytes unpacked, not 256 and 6 a pair", len(data))
	}
	planes := data[256:]
	side := func(i, first int) uint32 {
		return uint32(planes[first*n+i]) | uint32(planes[(first+1)*n+i])<<8 | uint32(planes[(first+2)*n+i])<<16
	}
	l := &tokenList{
		bytes: append(make([]byte, 0, 8*n), data[:256]...),
		ends:  make([]int, 1, 257+n),
		left:  make([]uint32, 256+n),
		right: make([]uint32, 256+n),
	}
	for i := range 256 {
		l.ends = append(l.ends, i+1)
	}
	for i := range n {
		rank, left, right := 256+i, side(i, 0), side(i, 3)
		if int(max(left, right)) >= rank {
			return nil, fmt.Errorf("token %d is made of tokens above it", rank)
		}
		l.left[rank], l.right[rank] = left, right
		l.bytes = append(l.bytes, l.bytes[l.ends[left]:l.ends[left+1]]...)
		l.bytes = append(l.bytes, l.bytes[l.ends[right]:l.ends[right+1]]...)
		l.ends = append(l.ends, len(l.bytes))
	}
	return l, nil
}
