package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// measured is all that was measured in a cell: variant → its figures, a round each.
type measured struct {
	cell
	order  []string
	rounds map[string][]figures
}

// results are the cells in the order they were measured.
type results []*measured

// of gives the rounds of a variant in the cell of that name; nil where it was not measured.
func (r results) of(cell, variant string) []figures {
	for _, m := range r {
		if m.String() == cell && m.rounds[variant] != nil {
			return m.rounds[variant]
		}
	}
	return nil
}

// runner measures groups of variants.
type runner struct {
	*stage
	prose  prose
	window time.Duration // of one measurement
	limit  time.Duration // for all groups together; 0 is none
}

// run measures a group round by round, in each round every variant, in an order
// that is rotated, so that none has always the same neighbour.
// When its share of the time is over it begins no second round.
func (r *runner) run(ctx context.Context, g group, share time.Duration) (*measured, error) {
	m := &measured{cell: g.cell, order: inOrder(g.all()), rounds: map[string][]figures{}}
	for _, name := range g.all() {
		t, err := r.start(ctx, name)
		if err != nil {
			return nil, err
		}
		// The first calls open connections, lease slices and fill memories.
		if _, err := r.load(t, g.cell).run(ctx, warmUp); err != nil {
			return nil, fmt.Errorf("%s, %s, warming up: %w", g.cell, name, err)
		}
	}
	began := time.Now()
	for round := range g.rounds {
		if round > 0 && r.limit > 0 && time.Since(began) > share {
			fmt.Fprintf(r.progress, "bench: %s: its share of the time is over after %d of %d rounds\n", g.cell, round, g.rounds)
			break
		}
		names := g.of(round)
		for i := range names {
			name := names[(i+round)%len(names)]
			f, err := r.measure(ctx, r.targets[name], g.cell)
			if err != nil {
				return nil, fmt.Errorf("%s, %s, round %d: %w", g.cell, name, round+1, err)
			}
			m.rounds[name] = append(m.rounds[name], f)
			r.tell(round, g, name, f)
		}
	}
	return m, nil
}

// warmUp comes before the first round of a cell; lead, unmeasured, before each measurement.
const (
	warmUp = 500 * time.Millisecond
	lead   = 200 * time.Millisecond

	sseAnswers  = 6 // that a client gets in a window, which is that much longer
	slowWindows = 4 // that a slow gateway has at once
)

func (r *runner) load(t *target, c cell) load {
	return load{address: t.address, head: t.head, bodies: newBodies(r.prose, c), clients: c.Clients, sse: c.SSE}
}

// counters are what is read before and after a measurement.
type counters struct {
	gateway, processor, database stat
	messages, waited             int64
}

func (t *target) read(ctx context.Context) (c counters, err error) {
	for _, p := range []struct {
		from func() (stat, error)
		to   *stat
	}{{t.gateway, &c.gateway}, {t.processor, &c.processor}, {t.database, &c.database}} {
		if p.from == nil {
			continue
		}
		s, e := p.from()
		*p.to, err = s, errors.Join(err, e)
	}
	if t.messages != nil {
		n, e := t.messages(ctx)
		c.messages, err = n, errors.Join(err, e)
	}
	if t.waited != nil {
		n, e := t.waited(ctx)
		c.waited, err = n, errors.Join(err, e)
	}
	return c, err
}

// measure lets one variant have the machine for a window. What it leaves to be
// settled afterwards is its own: the clock of the CPU stops when that is done.
func (r *runner) measure(ctx context.Context, t *target, c cell) (figures, error) {
	l := r.load(t, c)
	if !c.SSE { // whose calls last longer than that
		if _, err := l.run(ctx, lead); err != nil {
			return figures{}, err
		}
	}
	settle := func() error {
		if t.settled == nil {
			return nil
		}
		return t.settled(ctx)
	}
	if err := settle(); err != nil {
		return figures{}, err
	}
	before, err := t.read(ctx)
	if err != nil {
		return figures{}, err
	}
	window := r.window
	if c.SSE {
		window = max(window, sseAnswers*sseChunks*sseGap)
	}
	if t.slow {
		window *= slowWindows
	}
	tally, err := l.run(ctx, window)
	if err != nil {
		return figures{}, err
	}
	if err := settle(); err != nil {
		return figures{}, err
	}
	after, err := t.read(ctx)
	if err != nil {
		return figures{}, err
	}
	return figures{
		Requests: len(tally.times), Took: tally.took,
		P50: percentile(tally.times, 50), P90: percentile(tally.times, 90), P99: percentile(tally.times, 99),
		Gateway: after.gateway.own - before.gateway.own, Processor: after.processor.own - before.processor.own, Postgres: after.database.own - before.database.own,
		Messages:   after.messages - before.messages,
		Waited:     after.waited - before.waited,
		GatewayRSS: after.gateway.resident, ProcessorRSS: after.processor.resident,
	}, nil
}

func (r *runner) tell(round int, g group, name string, f figures) {
	fmt.Fprintf(r.progress, "bench: %-22s round %d/%d %-20s p50 %8s ms  p99 %8s ms  %7.0f/s  CPU %7s + %7s µs, Postgres %7s µs  %5.1f messages, %d waited\n",
		g.cell, round+1, g.rounds, name, milliseconds(f.P50), milliseconds(f.P99), f.perSecond(),
		microseconds(f.each(f.Gateway)), microseconds(f.each(f.Processor)), microseconds(f.each(f.Postgres)), float64(f.Messages)/float64(max(1, f.Requests)), f.Waited)
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()*1e3) }
func microseconds(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()*1e6) }

// runAll measures the groups, each in its share of what is left of the time, and
// ends a variant after the last group that needs it.
func (r *runner) runAll(ctx context.Context, groups []group, done func(*measured)) error {
	end := time.Now().Add(r.limit)
	for i, g := range groups {
		share := time.Duration(float64(time.Until(end)) * g.weight() / weight(groups[i:]))
		m, err := r.run(ctx, g, share)
		if err != nil {
			return err
		}
		done(m)
		for _, name := range g.all() {
			if !needed(groups[i+1:], name) {
				if err := r.end(name); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// weight is how much of the time a group needs, relative to others.
func (g group) weight() float64 {
	const starting = 1 // rounds
	weight := float64(len(g.variants)*(g.rounds+starting) + len(g.shown)*(min(g.rounds, shownRounds)+starting))
	if g.SSE {
		weight *= 3 // a window of such answers is not shorter than they are
	}
	return weight
}

func weight(groups []group) (sum float64) {
	for _, g := range groups {
		sum += g.weight()
	}
	return sum
}

func needed(groups []group, name string) bool {
	for _, g := range groups {
		if slices.Contains(g.all(), name) {
			return true
		}
	}
	return false
}
