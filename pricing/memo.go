package pricing

import (
	"strings"
	"sync"
)

const (
	memoSize    = 4096 // keys; clients choose model names, so there must be an end
	memoNameLen = 256  // longer names are looked up each time
)

type planKey struct{ provider, model, tier, contract string }

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
	if len(key.model) > memoNameLen || len(key.tier) > memoNameLen {
		return
	}
	// The strings are often slices of a request body, which must not live on.
	key = planKey{strings.Clone(key.provider), strings.Clone(key.model), strings.Clone(key.tier), strings.Clone(key.contract)}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.plans) >= memoSize {
		clear(m.plans)
	}
	m.plans[key] = plan
}
