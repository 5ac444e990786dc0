package walk

import (
	"bytes"
	"hash/maphash"
)

// names are those of the objects that are open, to find one that comes twice.
type names struct {
	list [][]byte
	// many has the names of objects with more than few.
	many   map[place]struct{}
	opened int
}

// few is how many names are compared one by one.
const few = 16

// place is a name in an object. That two names of one object have the same hash and one is taken
// for the other's duplicate has a chance of 2^-64 for each pair, and nobody can choose such
// names: the seed is of the process.
type place struct {
	object int
	hash   uint64
}

var seed = maphash.MakeSeed()

// scope is one of the objects that are open.
type scope struct {
	first  int // its first name in list
	number int // of all objects of the body
}

func (n *names) open() scope {
	n.opened++
	return scope{first: len(n.list), number: n.opened}
}

func (n *names) close(s scope) { n.list = n.list[:s.first] }

// add reports whether name is new in s, which must be the one that was opened last.
func (n *names) add(s scope, name []byte) bool {
	known := n.list[s.first:]
	if len(known) < few {
		for _, k := range known {
			if bytes.Equal(k, name) {
				return false
			}
		}
		n.list = append(n.list, name)
		return true
	}
	if n.many == nil {
		n.many = make(map[place]struct{})
	}
	if len(known) == few {
		for _, k := range known {
			n.many[place{s.number, maphash.Bytes(seed, k)}] = struct{}{}
		}
	}
	p := place{s.number, maphash.Bytes(seed, name)}
	if _, ok := n.many[p]; ok {
		return false
	}
	n.many[p] = struct{}{}
	n.list = append(n.list, name)
	return true
}

// maxKept is for how many names room is kept.
const maxKept = 256

// reset forgets all names, which are parts of a body.
func (n *names) reset() {
	clear(n.list[:cap(n.list)])
	n.list, n.opened = n.list[:0], 0
	if len(n.many) > maxKept {
		n.many = nil
	}
	clear(n.many)
	if cap(n.list) > maxKept {
		n.list = nil
	}
}
