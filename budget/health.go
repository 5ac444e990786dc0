package budget

import (
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
	slow   map[slowName]slowBy // those that were found slow, until they are found well
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
	At              time.Time // of what follows, which decays from then on
	Good, Bad       float64   // attempts, each worth less the older it is
	Paces           Paces     // of good ones
}

// NewHealth returns the health of targets of which nothing is known: all are well.
func NewHealth() *Health {
	return &Health{own: make(map[targetName]TargetHealth), others: make(map[targetName]TargetHealth), slow: make(map[slowName]slowBy)}
}

// at returns h as it is worth at a later time.
func (h TargetHealth) at(now time.Time) TargetHealth {
	if age := now.Sub(h.At); age > 0 && !h.nothing() {
		share := worth(age, healthHalfLife)
		h.Good, h.Bad, h.At = h.Good*share, h.Bad*share, now
		h.Paces.decay(age)
	}
	return h
}

func (h *TargetHealth) nothing() bool {
	return h.Good+h.Bad == 0 && h.Paces == Paces{}
}

func worth(age, halfLife time.Duration) float64 {
	return math.Exp2(-float64(age) / float64(halfLife))
}

func (h TargetHealth) plus(o TargetHealth, now time.Time) TargetHealth {
	if h = h.at(now); o.nothing() { // nobody else saw it, which is usual
		return h
	}
	o = o.at(now)
	h.Good, h.Bad, h.At = h.Good+o.Good, h.Bad+o.Bad, now
	h.Paces.add(&o.Paces)
	return h
}

// Saw notes how an attempt went. Of one that went well took is the time to its first byte, 0
// where nobody knows it.
func (h *Health) Saw(provider, model string, well, streamed bool, took time.Duration, now time.Time) {
	name := targetName{provider, model}
	h.mu.Lock()
	defer h.mu.Unlock()
	is := h.own[name].at(now)
	is.Provider, is.Model, is.At = provider, model, now
	if well {
		is.Good++
	} else {
		is.Bad++
	}
	if well && took > 0 {
		usual := is.Paces.Usual
		others := h.others[name].at(now)
		usual[kindOfAnswer(streamed)].add(others.Paces.Usual[kindOfAnswer(streamed)])
		is.Paces.saw(kindOfAnswer(streamed), took, usual)
	}
	h.own[name] = is
}

// SawAttempts notes how the attempts of a call went. An
// error that the client made (400 to 499, without 408 and 429) says nothing against a
// target, and an attempt that was lost does: nobody knows better.
func (h *Health) SawAttempts(attempts []Attempt, streamed bool, now time.Time) {
	for _, a := range attempts {
		if a.Ended == AttemptRefused {
			continue
		}
		var took time.Duration
		if a.Ended == AttemptAnswered && a.Status < 400 { // an error is quick
			took = a.FirstByte
		}
		h.Saw(a.Provider, a.Model, a.Ended != AttemptLost && !serverFault(a.Status), streamed, took, now)
	}
}

func serverFault(status int) bool { return status >= 500 || status == 408 || status == 429 }

// A condition is how a target is, to be chosen where another is well.
type condition struct {
	sick bool   // it fails too often
	slow bool   // it takes far longer than is usual, for itself or for its peers
	saw  string // the numbers, where it is either
}

// conditions appends those of a route's targets, in their order.
func (h *Health) conditions(found []condition, route *Route, now time.Time) []condition {
	if h == nil {
		return append(found, make([]condition, len(route.Targets))...)
	}
	var scratch [8]TargetHealth
	var room [8]slowBy
	all, was := scratch[:0], room[:0]
	h.mu.RLock()
	for i := range route.Targets {
		name := targetName{route.Targets[i].Provider, route.Targets[i].Model}
		is := h.own[name].at(now)
		if others := h.others[name]; !others.nothing() {
			is = is.plus(others, now)
		}
		all, was = append(all, is), append(was, 0)
		if len(h.slow) > 0 {
			was[i] = h.slow[slowName{route.Org, route.Name, name}]
		}
	}
	h.mu.RUnlock()
	for i := range all {
		if is := &all[i]; was[i] == 0 && is.Bad < sickFailures && is.Paces.quick() {
			found = append(found, condition{})
			continue
		}
		by, saw := slowness(all, i, was[i])
		if by != was[i] {
			h.note(slowName{route.Org, route.Name, targetName{route.Targets[i].Provider, route.Targets[i].Model}}, by)
		}
		c := condition{slow: by != 0, saw: saw}
		if is := &all[i]; is.Bad >= sickFailures && is.Bad >= is.Good {
			c.sick, c.saw = true, failures(is)
		}
		found = append(found, c)
	}
	return found
}

func (h *Health) note(name slowName, by slowBy) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if by != 0 {
		h.slow[name] = by
	} else {
		delete(h.slow, name)
	}
}

// Own returns what this replica saw, by target, and drops what is forgotten.
func (h *Health) Own(now time.Time) []TargetHealth {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, t := range h.own {
		if t = t.at(now); t.Good+t.Bad < forgotten && t.Paces.forgotten() {
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
