package filter

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/filter/frame"
	"keel/filter/wire/apis"
)

// correction is the end of a call by the attempts that its metadata tells of, for a call whose end no filter may have
// seen: the client left before a response, or the processor was gone. It is nil where the log
// does not tell of all of them, or what one may have cost: then the envelope stays charged.
func (s *Server) correction(id uuid.UUID, org string, fields frame.Fields, line *frame.Line) *budget.Closeout {
	if string(line.Details) == viaUpstream {
		return nil
	}
	var carried carriedCall
	if carried.read(fields.Text(metadataCall)) != nil {
		return nil
	}
	codec, ok := apis.Match(carried.Asked, carried.Method, carried.Path)
	rows, err := attemptsIn(fields)
	if !ok || err != nil {
		return nil
	}
	config, d := s.config.Load(), carried.decision(id, org, codec.API())
	count := int(line.Attempts)
	if count == 0 && (len(rows) > 0 || line.Upstream) { // an Envoy that does not count
		return nil
	}
	rows = withUnseen(config, d, rows, count, line.Start)
	for i := range rows {
		a := &rows[i]
		if a.Ended == budget.AttemptAnswered { // its answer was on its way: that is no attempt of unknown end
			a.Cost, a.Basis = a.Bound, budget.BasisFull
		}
		if a.Ended != budget.AttemptRefused && !config.Priced(d, a) {
			return nil
		}
	}
	c := &budget.Closeout{
		ID: id, Org: d.Org, At: time.Now(), Outcome: budget.Aborted, HTTPStatus: int(line.Status), Attempts: len(rows),
		Awaited: len(rows) > 0, // a filter that saw more may still come
		Detail:  "ended before a response; charged by the attempts that the access log tells of (" + detailsOf(line) + ")",
	}
	d.Free(c)
	d.AddAttempts(c, config, rows, 0, false)
	if !c.CostKnown {
		return nil
	}
	return c
}

// passedOn is the end of a call that Envoy let pass when the stream to the processor failed: what the filter saw is not all of
// it, so it costs the most that it can have cost. A decision that never came to Envoy costs what it held.
func passedOn(id uuid.UUID, org string, fields frame.Fields, line *frame.Line) *budget.Closeout {
	c := &budget.Closeout{
		ID: id, Org: org, At: time.Now(), Outcome: budget.Unmetered, Metered: budget.ByEstimate,
		HTTPStatus: int(line.Status), Attempts: int(line.Attempts),
		Detail: "the stream to the processor failed, and Envoy let the call pass (failure_mode_allow): charged at the most that it can have cost",
	}
	var carried carriedCall
	if carried.read(fields.Text(metadataCall)) != nil {
		return c
	}
	d := carried.decision(id, c.Org, "")
	if c.Attempts > 1 {
		d.ChargeEnvelope(c)
	} else {
		d.ChargeHeld(c)
	}
	return c
}

// neverLetOut is the end of a call whose decision never came to Envoy, if it came to one, and that failed closed.
func neverLetOut(id uuid.UUID, org string, line *frame.Line) *budget.Closeout {
	c := &budget.Closeout{
		ID: id, Org: org, At: time.Now(), Outcome: budget.Aborted, HTTPStatus: int(line.Status),
		Detail: "ended before the call was let out (" + detailsOf(line) + ")",
	}
	new(budget.Decision).Free(c)
	return c
}

// maxUnseen bounds what a log can make of a call.
const maxUnseen = 1000

// withUnseen adds the attempts that Envoy counted and that have no row: there is no filter in the cluster, or it
// was not asked yet. They may have been done.
func withUnseen(config *budget.Config, d *budget.Decision, rows []budget.Attempt, count int, at time.Time) []budget.Attempt {
	for n := 1; n <= min(count, maxUnseen); n++ {
		i := slices.IndexFunc(rows, func(a budget.Attempt) bool { return a.Number >= n })
		if i >= 0 && rows[i].Number == n {
			continue
		}
		if i < 0 {
			i = len(rows)
		}
		unseen := config.Start(d, rows[:i], budget.Attempt{Number: n, At: at, Provider: d.RoutedProvider, Model: d.RoutedModel})
		unseen.Detail = join(unseen.Detail, "counted by Envoy, and not seen by the filter in the cluster")
		rows = slices.Insert(rows, i, unseen)
	}
	return rows
}
