package budget

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Paces are how long a target takes to begin its answers, streamed ones and others apart: the first
// byte of one that is not streamed comes when all of it is made.
type Paces struct {
	Recent [answerKinds]Pace // worth half after healthHalfLife
	Usual  [answerKinds]Pace // worth half after usualHalfLife
}

// A Pace is a geometric mean, of which one answer that takes a hundred times as long moves little.
type Pace struct {
	Answers float64 // how many it is of, each worth less the older it is
	Log2    float64 // mean of the binary logarithms of seconds
}

const answerKinds = 2

func kindOfAnswer(streamed bool) int {
	if streamed {
		return 1
	}
	return 0
}

const (
	usualHalfLife = time.Hour

	// A target is slow from so many recent answers on that took, on the mean, slowOwn times as long as is
	// usual for it, or slowPeers times as long as is usual for the others of its route.
	// It stays so until its mean is back within wellOwn or wellPeers, or until
	// its recent answers are forgotten: then it is tried again.
	slowAnswers, wellAnswers = 4.0, 1.0
	slowOwn, wellOwn         = 2.0, 1.0 // binary logarithms: 4 and 2 times
	slowPeers, wellPeers     = 3.0, 2.0 // 8 and 4 times

	// What is usual is known from so many answers on.
	usualAnswers = 10.0

	// What one answer says at most, in binary logarithms beside what is usual; what a slow one is worth
	// for what is usual; and what none is quicker than.
	mostRecent, mostUsual = 3.0, 0.5
	slowAnswer            = 0.1
	quickest              = 200 * time.Millisecond
)

// slowName is a target as a route of an org looks at it.
type slowName struct {
	org, route string
	targetName
}

func (p *Paces) decay(age time.Duration) {
	recent, usual := worth(age, healthHalfLife), worth(age, usualHalfLife)
	for kind := range answerKinds {
		p.Recent[kind].Answers *= recent
		p.Usual[kind].Answers *= usual
	}
}

func (p *Paces) add(o *Paces) {
	for kind := range answerKinds {
		p.Recent[kind].add(o.Recent[kind])
		p.Usual[kind].add(o.Usual[kind])
	}
}

func (p *Paces) forgotten() bool {
	return p.Usual[0].Answers < forgotten && p.Usual[1].Answers < forgotten
}

func (p *Pace) add(o Pace) {
	if all := p.Answers + o.Answers; all > 0 {
		p.Log2 = (p.Log2*p.Answers + o.Log2*o.Answers) / all
		p.Answers = all
	}
}

// quick reports that no pace is slow, whatever is usual: there are no recent answers, or they are too near to what counts as the quickest.
func (p *Paces) quick() bool { return p.Recent[0].quick() && p.Recent[1].quick() }

func (p *Pace) quick() bool { return p.Answers < wellAnswers || p.Log2 < quickLog2+wellOwn }

var quickLog2 = math.Log2(quickest.Seconds())

func (p *Pace) seconds() float64 { return math.Exp2(p.Log2) }

// saw adds an answer. usual is what is known of its kind, also from other replicas: what it says is bounded by that.
func (p *Paces) saw(kind int, took time.Duration, usual [answerKinds]Pace) {
	took = max(took, quickest)
	log := math.Log2(took.Seconds())
	recent, lasting := Pace{1, log}, Pace{1, log}
	if is := &usual[kind]; is.Answers >= usualAnswers {
		recent.Log2 = min(max(log, is.Log2-mostRecent), is.Log2+mostRecent)
		lasting.Log2 = min(max(log, is.Log2-mostUsual), is.Log2+mostUsual)
		if log-is.Log2 >= slowOwn { // a burst of slow answers must not become what is usual
			lasting.Answers = slowAnswer
		}
	}
	p.Recent[kind].add(recent)
	p.Usual[kind].add(lasting)
}

// slowBy says in which ways a target is slow: a bit for each.
type slowBy uint8

// A bound is how far above what is usual a pace may be.
type bound struct{ slow, well float64 }

var ownBound, peerBound = bound{slowOwn, wellOwn}, bound{slowPeers, wellPeers}

// slowness says in which ways target i is slow, and the numbers of one; was are those until now.
func slowness(all []TargetHealth, i int, was slowBy) (by slowBy, saw string) {
	for kind := range answerKinds {
		recent, usual := &all[i].Paces.Recent[kind], &all[i].Paces.Usual[kind]
		if recent.quick() {
			continue
		}
		if bit := slowBy(1) << kind; usual.Answers >= usualAnswers && ownBound.broken(recent, usual.Log2, was&bit != 0) {
			by |= bit
			saw = fmt.Sprintf("answers begin after %.2g s, usually after %.2g s", recent.seconds(), usual.seconds())
		}
		peers, known := peersPace(all, i, kind)
		if bit := slowBy(1) << (answerKinds + kind); known && peerBound.broken(recent, peers, was&bit != 0) {
			by |= bit
			saw = fmt.Sprintf("answers begin after %.2g s, those of its peers after %.2g s", recent.seconds(), math.Exp2(peers))
		}
	}
	return by, saw
}

func (b *bound) broken(recent *Pace, usual float64, was bool) bool {
	least, times := slowAnswers, b.slow
	if was {
		least, times = wellAnswers, b.well
	}
	return recent.Answers >= least && recent.Log2-usual >= times
}

// peersPace is the median of what is usual for the others.
func peersPace(all []TargetHealth, i, kind int) (log2 float64, known bool) {
	var scratch [8]float64
	peers := scratch[:0]
	for n := range all {
		if usual := &all[n].Paces.Usual[kind]; n != i && usual.Answers >= usualAnswers {
			peers = append(peers, usual.Log2)
		}
	}
	if len(peers) == 0 {
		return 0, false
	}
	slices.Sort(peers)
	return peers[len(peers)/2], true
}

func failures(is *TargetHealth) string {
	return fmt.Sprintf("%.0f of %.0f recent attempts failed", math.Ceil(is.Bad), math.Ceil(is.Bad)+math.Ceil(is.Good))
}
