package main

import (
	"math"
	"slices"
	"time"
)

// figures are what one variant did in one round of a cell.
type figures struct {
	Requests int
	Took     time.Duration // from the first request to the end of the last answer
	P50      time.Duration
	P90      time.Duration
	P99      time.Duration

	// CPU time from before the first request until nothing is left to settle, of all requests.
	Gateway, Processor, Postgres time.Duration

	// Messages is how many the gateway sent to its external processors; -1 where it is not known.
	Messages int64

	// Waited is how many calls had to wait until Postgres leased a slice of a budget.
	Waited int64

	GatewayRSS, ProcessorRSS int64 // bytes at the end
}

// perSecond is the rate of requests.
func (f figures) perSecond() float64 { return float64(f.Requests) / f.Took.Seconds() }

// cpu is of gateway and processor, a request. Postgres is not in it.
func (f figures) cpu() time.Duration { return f.each(f.Gateway + f.Processor) }

// each divides what all requests took.
func (f figures) each(d time.Duration) time.Duration {
	if f.Requests == 0 {
		return 0
	}
	return d / time.Duration(f.Requests)
}

// percentile is exact, by nearest rank: the smallest value that at least p of
// 100 of all values do not exceed. The values are in order; without one it is 0.
func percentile(ordered []time.Duration, p float64) time.Duration {
	if len(ordered) == 0 {
		return 0
	}
	rank := int(math.Ceil(p / 100 * float64(len(ordered))))
	return ordered[min(max(rank, 1), len(ordered))-1]
}

// median of any order; of an even number of values the mean of the two in the
// middle. Without a value it is NaN.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	ordered := slices.Sorted(slices.Values(values))
	half := len(ordered) / 2
	if len(ordered)%2 == 1 {
		return ordered[half]
	}
	return (ordered[half-1] + ordered[half]) / 2
}

// middle is the median of one figure over the rounds.
func middle[T ~int64 | ~float64](rounds []figures, of func(figures) T) T {
	values := make([]float64, len(rounds))
	for i, f := range rounds {
		values[i] = float64(of(f))
	}
	if len(values) == 0 {
		return 0
	}
	return T(median(values))
}

// An estimate is a figure, and between what the true one lies in nine of ten runs, as far as the rounds of this one can tell. low and high are NaN
// where there are too few rounds.
type estimate struct{ figure, low, high float64 }

// estimated is the median of what rounds say. What it lies between are two of them, whose ranks follow from the binomial distribution: each round
// is as likely above the true median as below it, whatever the noise is like.
func estimated(values []float64) estimate {
	e := estimate{median(values), math.NaN(), math.NaN()}
	const outside = 0.05 // on either side
	n := len(values)
	rank, below := 0, 0.0 // below: that fewer than so many of n rounds are on one side
	for chance := math.Pow(0.5, float64(n)); below+chance <= outside; rank++ {
		below += chance
		chance *= float64(n-rank) / float64(rank+1)
	}
	if rank > 0 {
		ordered := slices.Sorted(slices.Values(values))
		e.low, e.high = ordered[rank-1], ordered[n-rank]
	}
	return e
}

// ratios divides two variants round by round: what else the machine did in a round, it did to both.
func ratios(above, below []figures, of func(figures) float64) (all []float64) {
	for i := range min(len(above), len(below)) {
		if d := of(below[i]); d > 0 {
			all = append(all, of(above[i])/d)
		}
	}
	return all
}

// addedRatios is what above adds to the base, divided by what below adds, round by
// round. A round in which below seems to add nothing says nothing, and where half
// of them are so, the cell was too noisy: there are none.
func addedRatios(above, below, base []figures, of func(figures) float64) (all []float64) {
	rounds := min(len(above), len(below), len(base))
	for i := range rounds {
		floor := of(base[i])
		if added := of(below[i]) - floor; added > 0 {
			all = append(all, (of(above[i])-floor)/added)
		}
	}
	if 2*len(all) <= rounds {
		return nil
	}
	return all
}
