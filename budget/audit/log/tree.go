package log

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// TileHeight is that of c2sp.org/tlog-tiles: a tile has up to 256 hashes of one level.
const TileHeight = 8

// TileWidth is how many hashes a full tile has.
const TileWidth = 1 << TileHeight

// TileID names a tile: its level (0 is that of the entries) and its place in it.
type TileID struct {
	Level int
	N     int64
}

// Tiles are where a tree's hashes are kept. The data of a tile is up to 256 hashes in order; of a
// tile that is not full, those that are there.
type Tiles interface {
	Tile(id TileID) ([]byte, error)
}

// Tree is a log's tree, which grows. It reads tiles that it needs and has not, and keeps those at its edge. It is not
// safe for concurrent use.
type Tree struct {
	tiles Tiles
	size  int64
	edge  map[TileID][]byte // every tile that was read or written since the last Grown
}

// NewTree returns the tree of a size that tiles hold.
func NewTree(tiles Tiles, size int64) *Tree {
	return &Tree{tiles: tiles, size: size, edge: make(map[TileID][]byte)}
}

// Size is how many entries there are.
func (t *Tree) Size() int64 { return t.size }

// Append adds entries.
func (t *Tree) Append(entries ...[]byte) error {
	for _, e := range entries {
		if err := t.add(0, t.size, tlog.RecordHash(e)); err != nil {
			return err
		}
		t.size++
	}
	return nil
}

// add puts a hash into its tile, and what a full tile comes to into the level above.
func (t *Tree) add(level int, n int64, h Hash) error {
	id := TileID{level, n / TileWidth}
	data, ok := t.edge[id]
	if !ok && n%TileWidth > 0 {
		var err error
		if data, err = t.read(id, int(n%TileWidth)); err != nil {
			return err
		}
	}
	if want := int(n % TileWidth * tlog.HashSize); len(data) < want {
		return fmt.Errorf("tile %d of level %d has %d hashes, and should have %d", id.N, level, len(data)/tlog.HashSize, want/tlog.HashSize)
	} else if !ok {
		data = append(make([]byte, 0, TileWidth*tlog.HashSize), data[:want]...) // what is kept elsewhere is not written to
	}
	data = append(data, h[:]...)
	t.edge[id] = data
	if len(data) < TileWidth*tlog.HashSize {
		return nil
	}
	return t.add(level+1, id.N, TileHash(data))
}

func (t *Tree) read(id TileID, width int) ([]byte, error) {
	data, err := t.tiles.Tile(id)
	if err != nil {
		return nil, err
	}
	if len(data) < width*tlog.HashSize {
		return nil, fmt.Errorf("tile %d of level %d has %d hashes, and should have %d", id.N, id.Level, len(data)/tlog.HashSize, width)
	}
	return data, nil
}

// Grown returns the tiles that changed since it was called last, and forgets those that are full.
func (t *Tree) Grown() map[TileID][]byte {
	grown := t.edge
	t.edge = make(map[TileID][]byte)
	for id, data := range grown {
		if len(data) < TileWidth*tlog.HashSize {
			t.edge[id] = append(make([]byte, 0, TileWidth*tlog.HashSize), data...)
		}
	}
	return grown
}

// TileHash is what a full tile comes to in the level above it, or any row of hashes as a complete subtree:
// their number must be a power of two.
func TileHash(data []byte) Hash {
	var hashes [TileWidth]Hash
	n := len(data) / tlog.HashSize
	for i := range n {
		copy(hashes[i][:], data[i*tlog.HashSize:])
	}
	for ; n > 1; n /= 2 {
		for i := range n / 2 {
			hashes[i] = tlog.NodeHash(hashes[2*i], hashes[2*i+1])
		}
	}
	return hashes[0]
}

// ReadHashes implements tlog.HashReader.
func (t *Tree) ReadHashes(indexes []int64) ([]Hash, error) {
	hashes := make([]Hash, len(indexes))
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		// The hash is in a tile, or follows from a part of one.
		id := TileID{level / TileHeight, n << (level % TileHeight) / TileWidth}
		first, count := n<<(level%TileHeight)%TileWidth, int64(1)<<(level%TileHeight)
		data, ok := t.edge[id]
		if !ok {
			var err error
			if data, err = t.read(id, int(first+count)); err != nil {
				return nil, err
			}
		}
		if len(data) < int(first+count)*tlog.HashSize {
			return nil, fmt.Errorf("tile %d of level %d has %d hashes, and should have %d", id.N, id.Level, len(data)/tlog.HashSize, first+count)
		}
		hashes[i] = TileHash(data[first*tlog.HashSize : (first+count)*tlog.HashSize])
	}
	return hashes, nil
}

// Root is the hash of the tree when it had size entries.
func (t *Tree) Root(size int64) (Hash, error) { return tlog.TreeHash(size, t) }

// Inclusion proves that an entry is in the tree of a size.
func (t *Tree) Inclusion(size, index int64) ([]Hash, error) { return tlog.ProveRecord(size, index, t) }

// Consistency proves that the tree of a size began as one of another, smaller one.
func (t *Tree) Consistency(size, before int64) ([]Hash, error) {
	return tlog.ProveTree(size, before, t)
}

// CheckInclusion reports whether a proof shows that an entry is in the tree of a checkpoint.
func CheckInclusion(proof []Hash, c Checkpoint, index int64, entry []byte) error {
	if index < 0 || index >= c.Size {
		return fmt.Errorf("entry %d is beyond a tree of %d", index, c.Size)
	}
	return tlog.CheckRecord(proof, c.Size, c.Root, index, tlog.RecordHash(entry))
}
