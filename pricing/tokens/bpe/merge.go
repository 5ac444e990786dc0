package bpe

// maxMerged is the longest piece that is merged. Longer ones are no text that
// anybody wrote; they are charged at a token a byte.
const maxMerged = 4096

// groupSize is how many parts share a minimum. Pieces of one group are searched
// through; in longer ones only the groups that a merge touched.
const groupSize = 32

// merger has the parts of a piece while they are merged. Part i begins at byte i
// of the piece; parts that were merged into another leave a gap.
//
// A bid is the rank of the token that a part makes with the one after it, and the part's
// place: the smallest bid is the next merge, the leftmost one of the same rank.
type merger struct {
	token      [maxMerged]uint32
	bid        [maxMerged]uint32
	next, prev [maxMerged]uint16
	lowest     [maxMerged / groupSize]uint32 // the smallest bids of the groups
}

const placeBits = 12 // maxMerged places

// noBid is above every bid: ranks and places of all ones don't occur together.
const noBid = none<<placeBits | (maxMerged - 1)

// count is the number of tokens that a piece of 2 to maxMerged bytes makes.
func (m *merger) count(v *Vocabulary, piece []byte) int {
	n := len(piece)
	if n <= shortPiece {
		return mergeShort(v, piece)
	}
	for i := range n - 1 {
		m.token[i] = v.bytes[piece[i]]
		m.next[i] = uint16(i + 1)
		m.prev[i+1] = uint16(i)
		m.bid[i] = v.twos[int(piece[i])<<8|int(piece[i+1])]<<placeBits | uint32(i)
	}
	m.token[n-1] = v.bytes[piece[n-1]]
	m.next[n-1] = uint16(n)
	m.bid[n-1] = noBid

	groups := (n + groupSize - 1) / groupSize
	for i := n; i < groups*groupSize; i++ {
		m.bid[i] = noBid
	}
	for g := range groups {
		m.settle(g)
	}
	for parts := n; ; parts-- {
		best := uint32(noBid)
		for _, bid := range m.lowest[:groups] {
			best = min(best, bid)
		}
		rank := best >> placeBits
		if rank == none {
			return parts
		}
		left := best & (maxMerged - 1)
		right := uint32(m.next[left])
		after := uint32(m.next[right])
		m.token[left] = rank
		m.next[left] = uint16(after)
		m.bid[right] = noBid
		m.bid[left] = noBid
		if after < uint32(n) {
			m.prev[after] = uint16(left)
			m.bid[left] = v.pairs.rank(rank, m.token[after])<<placeBits | left
		}
		before := left
		if left > 0 {
			before = uint32(m.prev[left])
			m.bid[before] = v.pairs.rank(m.token[before], rank)<<placeBits | before
		}
		// The three are most often in one group.
		first, middle, last := before/groupSize, left/groupSize, right/groupSize
		m.settle(int(first))
		if middle != first {
			m.settle(int(middle))
		}
		if last != middle {
			m.settle(int(last))
		}
	}
}

// settle finds the smallest bid of a group.
func (m *merger) settle(g int) {
	bids := (*[groupSize]uint32)(m.bid[g*groupSize:])
	a, b, c, d := bids[0], bids[1], bids[2], bids[3]
	for i := 4; i < groupSize; i += 4 {
		a, b, c, d = min(a, bids[i]), min(b, bids[i+1]), min(c, bids[i+2]), min(d, bids[i+3])
	}
	m.lowest[g] = min(min(a, b), min(c, d))
}

// shortPiece is up to which length parts are moved together rather than linked.
const shortPiece = 12

// mergeShort is count for 2 to shortPiece bytes.
func mergeShort(v *Vocabulary, piece []byte) int {
	var token, rank [shortPiece]uint32 // rank is of what a part makes with the one after it
	parts := min(len(piece), shortPiece)
	for i := range parts - 1 {
		token[i] = v.bytes[piece[i]]
		rank[i] = v.twos[int(piece[i])<<8|int(piece[i+1])]
	}
	token[parts-1] = v.bytes[piece[parts-1]]
	for {
		best, left := uint32(none), 0
		for i, r := range rank[:parts-1] {
			if r < best {
				best, left = r, i
			}
		}
		if best == none {
			return parts
		}
		parts--
		token[left] = best
		for i := left + 1; i < parts && i+1 < shortPiece; i++ {
			token[i], rank[i] = token[i+1], rank[i+1]
		}
		if left+1 < parts {
			rank[left] = v.pairs.rank(best, token[left+1])
		}
		if left > 0 {
			rank[left-1] = v.pairs.rank(token[left-1], best)
		}
	}
}
