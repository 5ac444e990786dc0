package tokens

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
)

// families remembers the families of model names.
var families namedFamilies

// namedFamilies is a table of fixed size, as clients choose the names: a newer entry takes the place of an older one.
type namedFamilies [512]atomic.Pointer[named]

type named struct {
	provider, model string
	family          *family
}

// maxNamed is the longest name that is remembered.
const maxNamed = 128

func (t *namedFamilies) of(provider, model string) *family {
	slot := &t[(maphash.String(seed, model)^maphash.String(seed, provider)>>1)%uint64(len(t))]
	if n := slot.Load(); n != nil && n.model == model && n.provider == provider {
		return n.family
	}
	f := findFamily(provider, model)
	if len(provider)+len(model) <= maxNamed {
		slot.Store(&named{strings.Clone(provider), strings.Clone(model), f})
	}
	return f
}
