package tokens

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// What is learned is bounded: so many keys, so many of the latest observations of each.
const (
	maxKeys      = 1024
	keptInputs   = 64
	keptOutputs  = 256
	leastInputs  = 16 // observations before a correction is believed
	leastOutputs = 20 // before the median is; a p90 needs 5 times, a p99 10 times as many
)

const (
	ppm = 1_000_000
	// A correction stays between half and double: what is further off is another kind of
	// request under an old name, and not a matter of calibration.
	leastCorrection, mostCorrection = ppm / 2, 2 * ppm
)

// calibration is what was learned, as estimates use it. It is never changed.
type calibration struct {
	version string // "" when nothing was learned
	keys    map[Key]correction
}

// correction is what observations of one key say. Zeros say nothing.
type correction struct {
	input         int64 // millionths of actual by uncorrected tokens
	excess        int64 // millionths by which a bound is to be raised: above ppm, or 0
	p50, p90, p99 int64 // output tokens of one choice
	mean          int64
}

// correctInput puts what was learned of in.Key into an estimate. A bound is only raised.
func (c *calibration) correctInput(in *Input) {
	k, ok := c.keys[in.Key]
	if !ok || k.input == 0 && k.excess == 0 {
		return
	}
	in.Method = version + "+" + c.version
	if k.excess > 0 && in.Kind == Calibrated {
		in.Bound = max(in.Bound, scale(in.Shipped, k.excess, ppm))
	}
	if k.input > 0 {
		in.Expected = min(scale(in.Uncorrected, k.input, ppm), in.Bound)
	}
}

// correctOutput replaces the quantiles of which enough was learned. They stay in order.
func (c *calibration) correctOutput(out *Output, q *quantiles) {
	k, ok := c.keys[out.Key]
	if !ok || k.p50 == 0 && k.mean == 0 {
		return
	}
	out.Method = version + "+" + c.version
	q.mean, q.p50 = k.mean, k.p50
	if k.p90 > 0 {
		q.p90 = k.p90
	}
	if k.p99 > 0 {
		q.p99 = k.p99
	}
	q.p90 = max(q.p90, q.p50)
	q.p99 = max(q.p99, q.p90)
}

// lessons are the observations since the start, or since what Load brought.
type lessons struct {
	mu   sync.Mutex
	keys map[Key]*lesson
}

// lesson holds the latest observations of one key, the oldest first.
type lesson struct {
	Key
	Ratios  []int64 `json:"ratios,omitempty"`  // actual input by uncorrected, in millionths
	Excess  int64   `json:"excess,omitempty"`  // most that an actual was of its shipped bound, in millionths, where above
	Outputs []int64 `json:"outputs,omitempty"` // tokens a choice
}

// Learn notes what an estimate turned out to be: all input tokens that the provider counted, cached ones
// included. It changes no estimate before the next Snapshot. Hosted and media
// requests teach nothing about a bound, because none was claimed.
func (e *Estimator) Learn(in Input, actual int64) {
	if in.Uncorrected <= 0 || actual <= 0 {
		return
	}
	ratio := share(actual, in.Uncorrected)
	e.lessons.note(in.Key, func(l *lesson) {
		l.Ratios = latest(l.Ratios, ratio, keptInputs)
		if in.Kind != None && actual > in.Shipped {
			l.Excess = max(l.Excess, share(actual, in.Shipped))
		}
	})
}

// LearnOutput notes the output tokens that the provider counted, of all choices,
// reasoning included. A call that was cut teaches nothing: leave it out.
func (e *Estimator) LearnOutput(out Output, actual int64) {
	if actual < 0 || out.Choices <= 0 {
		return
	}
	each := actual / out.Choices
	e.lessons.note(out.Key, func(l *lesson) { l.Outputs = latest(l.Outputs, each, keptOutputs) })
}

func (s *lessons) note(key Key, f func(*lesson)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.keys[key]
	if l == nil {
		if len(s.keys) >= maxKeys {
			return
		}
		if s.keys == nil {
			s.keys = map[Key]*lesson{}
		}
		l = &lesson{Key: key}
		s.keys[key] = l
	}
	f(l)
}

// latest appends v and forgets the oldest beyond kept.
func latest(values []int64, v int64, kept int) []int64 {
	if len(values) >= kept {
		copy(values, values[1:])
		values = values[:kept-1]
	}
	return append(values, v)
}

// share is a by b in millionths, at most a thousandfold; b is above 0.
func share(a, b int64) int64 { return min(scale(a, ppm, b), 1000*ppm) }

const snapshotFormat = 1

type snapshot struct {
	Format  int       `json:"format"`
	Lessons []*lesson `json:"lessons"`
}

// Snapshot puts what was learned since the last one to use and returns it as JSON, with the version
// by which the Method of later estimates names it: the same lessons have the same
// version. It is "" where nothing was learned.
func (e *Estimator) Snapshot() (version string, data []byte) {
	e.lessons.mu.Lock()
	defer e.lessons.mu.Unlock()
	return e.publish()
}

func (e *Estimator) publish() (string, []byte) {
	s := snapshot{Format: snapshotFormat, Lessons: make([]*lesson, 0, len(e.lessons.keys))}
	for _, l := range e.lessons.keys {
		s.Lessons = append(s.Lessons, l)
	}
	slices.SortFunc(s.Lessons, func(a, b *lesson) int {
		return cmp.Or(cmp.Compare(a.Provider, b.Provider), cmp.Compare(a.Family, b.Family), cmp.Compare(a.Class, b.Class))
	})
	data, err := json.Marshal(s)
	if err != nil {
		panic("tokens: " + err.Error()) // strings and integers always marshal
	}
	c := &calibration{keys: make(map[Key]correction, len(s.Lessons))}
	for _, l := range s.Lessons {
		c.keys[l.Key] = l.correction()
	}
	if len(s.Lessons) > 0 {
		sum := sha256.Sum256(data)
		c.version = hex.EncodeToString(sum[:4])
	}
	e.calibration.Store(c)
	return c.version, data
}

// Load replaces what was learned by a Snapshot. An error leaves everything as it was.
func (e *Estimator) Load(data []byte) error {
	var s snapshot
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("reading a calibration: %w; take a snapshot that Keel wrote, or start without one", err)
	}
	if s.Format != snapshotFormat {
		return fmt.Errorf("reading a calibration: format %d is not known, only %d; it was written by another version of Keel", s.Format, snapshotFormat)
	}
	if len(s.Lessons) > maxKeys {
		return fmt.Errorf("reading a calibration: %d keys are more than the %d that a snapshot can have", len(s.Lessons), maxKeys)
	}
	keys := make(map[Key]*lesson, len(s.Lessons))
	for i, l := range s.Lessons {
		if err := l.check(); err != nil {
			return fmt.Errorf("reading a calibration: lesson %d: %w", i, err)
		}
		if keys[l.Key] != nil {
			return fmt.Errorf("reading a calibration: lesson %d: %v is there twice", i, l.Key)
		}
		keys[l.Key] = l
	}
	e.lessons.mu.Lock()
	defer e.lessons.mu.Unlock()
	e.lessons.keys = keys
	e.publish()
	return nil
}

func (l *lesson) check() error {
	switch {
	case l == nil:
		return errors.New("is null")
	case len(l.Ratios) > keptInputs || len(l.Outputs) > keptOutputs:
		return errors.New("has more observations than are kept")
	case l.Excess < 0 || slices.ContainsFunc(l.Ratios, negative) || slices.ContainsFunc(l.Outputs, negative):
		return errors.New("has a negative number")
	}
	return nil
}

func negative(n int64) bool { return n < 0 }

// correction is what the observations amount to.
func (l *lesson) correction() correction {
	var c correction
	if len(l.Ratios) >= leastInputs {
		c.input = min(max(quantile(l.Ratios, 500), leastCorrection), mostCorrection)
	}
	if l.Excess > ppm {
		// A tenth on top: the next may be a little worse than the worst so far.
		c.excess = add(l.Excess, l.Excess/10)
	}
	if n := len(l.Outputs); n >= leastOutputs {
		c.p50 = quantile(l.Outputs, 500)
		var sum int64
		for _, v := range l.Outputs {
			sum = add(sum, v)
		}
		c.mean = sum / int64(n)
		if n >= 5*leastOutputs {
			c.p90 = quantile(l.Outputs, 900)
		}
		if n >= 10*leastOutputs {
			c.p99 = quantile(l.Outputs, 990)
		}
	}
	return c
}

// quantile is the smallest of values that so many thousandths of them do not exceed.
func quantile(values []int64, milli int) int64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min((len(sorted)*milli+999)/1000, len(sorted))-1]
}
