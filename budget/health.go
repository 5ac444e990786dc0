package budget

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
)

// Health is how targets did lately, as this replica saw them and as others said. It
// forgets: what happened is worth half after healthHalfLife. No money depends on it, so
// it counts in floats. It is safe for concurrent use.
type Health struct {
	mu     sync.RWMutex
	own    map[targetName]TargetHealth
	others map[targetName]TargetHealth
}

const (
	healthHalfLife = 20 * time.Second
	// A target is sick when so many of its recent attempts failed, and at least half of all. Three
	// failures in a row make it sick for 12 s, ten for 46 s; then it is tried again.
	sickFailures = 2
	// forgotten is what is too little to be worth a row.
	forgotten = 0.01
)

type targetName struct{ provider, model string }

// TargetHealth is what one replica, or all others together, saw of a target.
type TargetHealth struct {
	Provider, Model string
	At              time.Time     // of the counts, which decay from then on
	Good, Bad       float64       // attempts, each worth less the older it is
	Latency         time.Duration // mean time to the response headers of good ones; 0 if none
}

// NewHealth returns the health of targets of which nothing is known: all are well.
func NewHealth() *Health {
	return &Health{own: make(map[targetName]TargetHealth), others: make(map[targetName]TargetHealth)}
}

// at returns h as it is worth at a later time.
func (h TargetHealth) at(now time.Time) TargetHealth {
	if age := now.Sub(h.At); age > 0 && h.Good+h.Bad > 0 {
		share := math.Exp2(-float64(age) / float64(healthHalfLife))
		h.Good, h.Bad, h.At = h.Good*share, h.Bad*share, now
	}
	return h
}

func (h TargetHealth) plus(o TargetHealth, now time.Time) TargetHealth {
	if o.Good == 0 && o.Bad == 0 { // nobody else saw it, which is usual
		return h.at(now)
	}
	h, o = h.at(now), o.at(now)
	if all := h.Good + o.Good; all > 0 {
		h.Latency = time.Duration((float64(h.Latency)*h.Good + float64(o.Latency)*o.Good) / all)
	}
	h.Good, h.Bad, h.At = h.Good+o.Good, h.Bad+o.Bad, now
	return h
}

// Saw notes how an attempt went. latency is the time to the response headers.
func (h *Health) Saw(provider, model string, well bool, latency time.Duration, now time.Time) {
	name := targetName{provider, model}
	one := TargetHealth{Provider: provider, Model: model, At: now, Bad: 1}
	if well {
		one.Good, one.Bad, one.Latency = 1, 0, latency
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.own[name]
	was.Provider, was.Model = provider, model
	h.own[name] = was.plus(one, now)
}

// SawAttempts notes how the attempts of a call went, of which the last one took latency. An
// error that the client made (400 to 499, without 408 and 429) says nothing against a
// target, and an attempt that was lost does: nobody knows better.
func (h *Health) SawAttempts(attempts []Attempt, latency time.Duration, now time.Time) {
	for _, a := range attempts {
		if a.Ended != AttemptRefused {
			h.Saw(a.Provider, a.Model, a.Ended != AttemptLost && !serverFault(a.Status), latency, now)
		}
	}
}

func serverFault(status int) bool { return status >= 500 || status == 408 || status == 429 }

// Sick says whether a target fails too often to be chosen where another is well, and what
// was seen of it.
func (h *Health) Sick(provider, model string, now time.Time) (saw string, sick bool) {
	if h == nil {
		return "", false
	}
	name := targetName{provider, model}
	h.mu.RLock()
	all := h.own[name].plus(h.others[name], now)
	h.mu.RUnlock()
	if all.Bad < sickFailures || all.Bad < all.Good {
		return "", false
	}
	return fmt.Sprintf("%.0f of %.0f recent attempts failed", math.Ceil(all.Bad), math.Ceil(all.Bad)+math.Ceil(all.Good)), true
}

// Own returns what this replica saw, by target, and drops what is forgotten.
func (h *Health) Own(now time.Time) []TargetHealth {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, t := range h.own {
		if t = t.at(now); t.Good+t.Bad < forgotten {
			delete(h.own, name)
		}
	}
	return slices.SortedFunc(maps.Values(h.own), func(a, b TargetHealth) int {
		return strings.Compare(a.Provider+"/"+a.Model, b.Provider+"/"+b.Model)
	})
}

// Heard replaces what other replicas saw. A target may be there several times.
func (h *Health) Heard(others []TargetHealth, now time.Time) {
	all := make(map[targetName]TargetHealth, len(others))
	for _, t := range others {
		name := targetName{t.Provider, t.Model}
		all[name] = all[name].plus(t, now)
	}
	h.mu.Lock()
	h.others = all
	h.mu.Unlock()
}
