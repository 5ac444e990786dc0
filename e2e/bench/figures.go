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

// ratio divides two variants round by round and takes the median: what else the
// machine did in a round, it did to both. NaN without a round of both.
func ratio(above, below []figures, of func(figures) float64) float64 {
	var ratios []float64
	for i := range min(len(above), len(below)) {
		if d := of(below[i]); d > 0 {
			ratios = append(ratios, of(above[i])/d)
		}
	}
	return median(ratios)
}

// addedRatio is what above adds to the base, divided by what below adds, round by
// round. A round in which below seems to add nothing says nothing, and where half
// of them are so, the cell was too noisy: NaN.
func addedRatio(above, below, base []figures, of func(figures) float64) float64 {
	rounds := min(len(above), len(below), len(base))
	var ratios []float64
	for i := range rounds {
		floor := of(base[i])
		if added := of(below[i]) - floor; added > 0 {
			ratios = append(ratios, (of(above[i])-floor)/added)
		}
	}
	if 2*len(ratios) <= rounds {
		return math.NaN()
	}
	return median(ratios)
}
