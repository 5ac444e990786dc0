package pricing

import (
	"strings"
	"sync"
)

const (
	memoSize    = 4096 // keys; clients choose model names, so there must be an end
	memoNameLen = 256  // longer names are looked up each time
)

type planKey struct{ provider, model, tier, speed, region, search, contract string }

// memo keeps the plans of a book. It can be emptied at any time: everything in
// it can be worked out again.
type memo struct {
	mu    sync.RWMutex
	plans map[planKey][]planned
}

func newMemo() *memo { return &memo{plans: map[planKey][]planned{}} }

func (m *memo) get(key planKey) ([]planned, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	plan, ok := m.plans[key]
	return plan, ok
}

func (m *memo) put(key planKey, plan []planned) {
	// The strings are often slices of a request body, which must not live on.
	for _, s := range []*string{&key.provider, &key.model, &key.tier, &key.speed, &key.region, &key.search, &key.contract} {
		if len(*s) > memoNameLen {
			return
		}
		*s = strings.Clone(*s)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.plans) >= memoSize {
		clear(m.plans)
	}
	m.plans[key] = plan
}
