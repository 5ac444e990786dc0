package ledger

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"keel/budget"
	"keel/budget/ledger/escrow"
	"keel/budget/ledger/record"
	"keel/pricing"
)

// ideal is what the bank promises, in the fewest words: accounts by budget, slices by budget and epoch.
type ideal struct {
	ceiling  map[string]pricing.NanoUSD
	accounts map[string]*sums
	high     map[string]pricing.NanoUSD
	slices   map[idealSlice]*slice
	calls    []*idealCall
	gone     map[uuid.UUID]bool // finished epochs
}

type idealSlice struct {
	budget string
	epoch  uuid.UUID
}

type idealCall struct {
	d        *budget.Decision
	j        *testJournal
	state    string // "", open, presumed, closed
	stored   bool   // the decision is
	inDoubt  bool   // the closeout was stored without anybody knowing what was held
	reported idealEnd
	end      idealEnd          // of state closed
	more     []pricing.NanoUSD // extensions that are settled, by hold
	charged  []pricing.NanoUSD // by hold; nil before it was closed
	unsent   []pricing.NanoUSD // and one that only its journal has, nil for none
	ended    bool              // its journal has a closeout: there are no extensions any more
}

// idealEnd is what a closeout says of the cost.
type idealEnd struct {
	cost  pricing.NanoUSD
	known bool
}

func (e idealEnd) charge(held pricing.NanoUSD) pricing.NanoUSD {
	if e.known {
		return e.cost
	}
	return max(held, e.cost)
}

func (c *idealCall) held(i int) pricing.NanoUSD { return c.d.Holds[i].Amount + at(c.more, i) }

// remembered is what the process that permitted it knows that it was extended by.
func (c *idealCall) remembered() (more []pricing.NanoUSD) {
	for i := range c.d.Holds {
		more = append(more, at(c.more, i)+at(c.unsent, i))
	}
	return more
}

func (m *ideal) slice(name string, epoch uuid.UUID) *slice {
	k := idealSlice{name, epoch}
	if m.slices[k] == nil {
		m.slices[k] = &slice{}
	}
	return m.slices[k]
}

// move charges and returns of a slice; more than it has is forced.
func (m *ideal) move(name string, epoch uuid.UUID, charged, returned pricing.NanoUSD) {
	s, a := m.slice(name, epoch), m.accounts[name]
	over := max(0, charged+returned-s.outstanding())
	s.granted, s.consumed, s.returned = s.granted+over, s.consumed+charged, s.returned+returned
	a.settled, a.leased, a.forced = a.settled+int64(charged), a.leased-int64(charged+returned-over), a.forced+int64(over)
}

// charge brings what a call's holds are charged to its end: the difference is booked.
func (m *ideal) charge(c *idealCall, end idealEnd, through bool) {
	for i := range c.d.Holds {
		m.chargeHold(c, i, end, through)
	}
	c.end = end
}

func (m *ideal) chargeHold(c *idealCall, i int, end idealEnd, through bool) {
	if c.charged == nil {
		c.charged = make([]pricing.NanoUSD, len(c.d.Holds))
	}
	h := &c.d.Holds[i]
	n := end.charge(c.held(i)) - c.charged[i]
	c.charged[i] += n
	if record.Leased(c.d, h) && through && !m.gone[c.j.epoch] {
		m.move(h.Budget, c.j.epoch, n, 0)
		return
	}
	a := m.accounts[h.Budget]
	a.settled, a.forced = a.settled+int64(n), a.forced+max(0, int64(n))
}

func (m *ideal) hold(c *idealCall, sign int64) {
	for i, h := range c.d.Holds {
		m.accounts[h.Budget].held += sign * int64(c.held(i))
	}
}

func (m *ideal) close(c *idealCall, end idealEnd, counted bool) {
	switch c.state {
	case "", "open":
		if c.state == "open" {
			m.hold(c, -1)
		}
		m.charge(c, end, true)
	case "presumed":
		m.charge(c, end, counted)
	default:
		return
	}
	c.state = "closed"
}

func (m *ideal) presume(c *idealCall) {
	m.hold(c, -1)
	m.charge(c, idealEnd{}, true)
	c.state = "presumed"
}

// extend settles the extension that a journal has.
func (m *ideal) extend(c *idealCall) {
	if c.more == nil {
		c.more = make([]pricing.NanoUSD, len(c.d.Holds))
	}
	for i := range c.more {
		if c.more[i] += c.unsent[i]; c.state == "open" {
			m.accounts[c.d.Holds[i].Budget].held += int64(c.unsent[i])
		}
	}
	c.unsent = nil
}

// recharge is for a closed call that was extended: it may cost more. Where another closeout follows in the
// same transaction, what goes through a slice is booked with that in one sum.
func (m *ideal) recharge(c *idealCall, andClosed bool) {
	for i := range c.d.Holds {
		if c.state == "closed" || c.state == "presumed" && !(andClosed && record.Leased(c.d, &c.d.Holds[i])) {
			m.chargeHold(c, i, c.end, true)
		}
	}
}

// TestBankFollowsItsModel runs random histories against Postgres and the model, and compares every answer and every account.
func TestBankFollowsItsModel(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		m := &ideal{ceiling: map[string]pricing.NanoUSD{}, accounts: map[string]*sums{}, high: map[string]pricing.NanoUSD{}, slices: map[idealSlice]*slice{}, gone: map[uuid.UUID]bool{}}
		for i := range 2 {
			name := fmt.Sprintf("x%d-%d", run, i)
			m.ceiling[name], m.accounts[name] = pricing.NanoUSD(rapid.IntRange(0, 60).Draw(rt, "limit")), &sums{}
			l.budget(name, m.ceiling[name], "month")
		}
		names := slices.Sorted(maps.Keys(m.ceiling))
		journals := []*testJournal{l.journal(), l.journal()}
		settle := func(j *testJournal, records ...escrow.Record) {
			if m.gone[j.epoch] {
				rt.Skip()
			}
			batch := j.batch(records...)
			for range rapid.IntRange(1, 2).Draw(rt, "times") {
				if settled, err := l.Settle(t.Context(), batch); err != nil || settled.Applied != j.seq {
					rt.Fatalf("%+v, %v", settled, err)
				}
			}
		}
		pick := func(rt *rapid.T, is func(*idealCall) bool) *idealCall {
			var some []*idealCall
			for _, c := range m.calls {
				if is(c) {
					some = append(some, c)
				}
			}
			if len(some) == 0 {
				rt.Skip()
			}
			return rapid.SampledFrom(some).Draw(rt, "call")
		}
		of := func(rt *rapid.T) *testJournal { return rapid.SampledFrom(journals).Draw(rt, "journal") }
		amount := func(rt *rapid.T, most int) pricing.NanoUSD {
			return pricing.NanoUSD(rapid.IntRange(1, most).Draw(rt, "amount"))
		}
		rt.Repeat(map[string]func(*rapid.T){
			"lease": func(rt *rapid.T) {
				j, name := of(rt), rapid.SampledFrom(names).Draw(rt, "budget")
				r := j.request(thisMonth(name), amount(rt, 20))
				r.Min, r.Share, r.Owed = pricing.NanoUSD(rapid.Int64Range(1, int64(r.Want)).Draw(rt, "min")), rapid.Int64Range(1, 4).Draw(rt, "share"), pricing.NanoUSD(rapid.IntRange(0, 5).Draw(rt, "owed"))
				got, err := l.Lease(t.Context(), r)
				if err != nil {
					rt.Fatal(err)
				}
				a := m.accounts[name]
				var want escrow.Lease
				switch room := m.ceiling[name] - pricing.NanoUSD(a.settled+a.leased) - r.Owed; {
				case m.gone[j.epoch]:
					want.Refused = escrow.IsFinished
				case room < r.Min:
					want.Refused = escrow.NoRoom
				default:
					want.Given = min(r.Want, max(r.Min, room/pricing.NanoUSD(r.Share)))
					m.slice(name, j.epoch).granted += want.Given
					a.leased += int64(want.Given)
					m.high[name] = max(m.high[name], m.ceiling[name])
				}
				want.Granted, want.Settled, want.Leased, want.Ceiling = m.slice(name, j.epoch).granted, pricing.NanoUSD(a.settled), pricing.NanoUSD(a.leased), m.ceiling[name]
				if got.Idle, got.Limit, got.Version = 0, 0, 0; got != want {
					rt.Fatalf("lease %+v: %+v, want %+v", r, got, want)
				}
			},
			"decide": func(rt *rapid.T) {
				j := of(rt)
				var holds []budget.Hold
				for _, n := range names[:rapid.IntRange(1, 2).Draw(rt, "budgets")] {
					if h := enforced(thisMonth(n), amount(rt, 9)); rapid.Bool().Draw(rt, "enforced") {
						holds = append(holds, h)
					} else {
						holds = append(holds, observed(thisMonth(n), h.Amount))
					}
				}
				c := &idealCall{d: admitted(holds...), j: j}
				c.d.Debt = rapid.IntRange(0, 5).Draw(rt, "debt") == 0
				if rapid.IntRange(0, 3).Draw(rt, "late") > 0 { // else the closeout may come first
					settle(j, decided(c.d))
					c.state, c.stored = "open", true
					m.hold(c, 1)
				}
				m.calls = append(m.calls, c)
			},
			"decide late": func(rt *rapid.T) {
				for _, c := range m.calls {
					if c.stored || m.gone[c.j.epoch] {
						continue
					}
					settle(c.j, decided(c.d))
					switch c.stored = true; {
					case c.inDoubt:
						m.close(c, c.reported, true)
					case c.state == "":
						c.state = "open"
						m.hold(c, 1)
					}
					return
				}
				rt.Skip()
			},
			"close": func(rt *rapid.T) {
				if len(m.calls) == 0 {
					rt.Skip()
				}
				c, j := rapid.SampledFrom(m.calls).Draw(rt, "call"), of(rt)
				if !c.stored && (j == c.j || m.gone[c.j.epoch]) {
					rt.Skip() // a journal has its intent before its closeout, and a finished one will never bring it
				}
				said := idealEnd{pricing.NanoUSD(rapid.IntRange(0, 12).Draw(rt, "cost")), rapid.IntRange(0, 2).Draw(rt, "cost is known") > 0}
				end := ended(c.d, said.cost)
				end.CostKnown = said.known
				if rapid.IntRange(0, 3).Draw(rt, "unknown") == 0 {
					if j == c.j && c.unsent != nil {
						rt.Skip() // an extension is in its journal before every closeout
					}
					settle(j, unknown(end))
					c.ended = c.ended || j == c.j
					switch {
					case c.stored:
						m.close(c, said, false)
					case c.state == "" && !c.inDoubt:
						c.inDoubt, c.reported = true, said
					}
					return
				}
				closing := c.j.closed(c.d, end, c.remembered()...)
				switch {
				case j == c.j && c.unsent != nil: // together
					settle(j, extended(c.d, c.unsent...), closing)
					m.extend(c)
					m.recharge(c, true)
				default:
					settle(j, closing)
				}
				c.ended = c.ended || j == c.j
				if !c.inDoubt || c.stored {
					m.close(c, said, j == c.j)
				}
			},
			"extend": func(rt *rapid.T) {
				c := pick(rt, func(c *idealCall) bool { return c.stored && !c.ended && c.unsent == nil && !m.gone[c.j.epoch] })
				for range c.d.Holds {
					c.unsent = append(c.unsent, pricing.NanoUSD(rapid.IntRange(0, 6).Draw(rt, "more")))
				}
				if rapid.Bool().Draw(rt, "settled at once") {
					settle(c.j, extended(c.d, c.unsent...))
					m.extend(c)
					m.recharge(c, false)
				}
			},
			"extend late": func(rt *rapid.T) {
				c := pick(rt, func(c *idealCall) bool { return c.unsent != nil && !m.gone[c.j.epoch] })
				settle(c.j, extended(c.d, c.unsent...))
				m.extend(c)
				m.recharge(c, false)
			},
			"return": func(rt *rapid.T) {
				j, name := of(rt), rapid.SampledFrom(names).Draw(rt, "budget")
				n := amount(rt, 10)
				settle(j, back(thisMonth(name), n))
				m.move(name, j.epoch, 0, n)
			},
			"gap": func(rt *rapid.T) {
				j := of(rt)
				_, err := l.Settle(t.Context(), escrow.Batch{Epoch: j.epoch, Org: "acme", Records: []escrow.Record{{Seq: j.seq + 2}}})
				var gap *escrow.GapError
				if !errors.As(err, &gap) || gap.Applied != j.seq {
					rt.Fatalf("gap behind %d: %v", j.seq, err)
				}
			},
			"edit": func(rt *rapid.T) {
				name := rapid.SampledFrom(names).Draw(rt, "budget")
				m.ceiling[name] = amount(rt, 60)
				l.limit(name, m.ceiling[name])
			},
			"reassert": func(rt *rapid.T) {
				j, name := of(rt), rapid.SampledFrom(names).Draw(rt, "budget")
				claim := amount(rt, 80)
				a := thisMonth(name)
				if err := l.Reassert(t.Context(), j.epoch, []escrow.Grant{{Key: escrow.KeyOf(&a), Granted: claim}}); err != nil {
					rt.Fatal(err)
				}
				if s, sums := m.slice(name, j.epoch), m.accounts[name]; !m.gone[j.epoch] && claim > s.granted {
					sums.leased += int64(claim - s.granted)
					sums.forced += max(0, sums.settled+sums.leased-int64(m.high[name])-sums.forced)
					s.granted = claim
				}
			},
			"sweep": func(rt *rapid.T) {
				l.exec("update keel.open_decisions set opened_at = opened_at - interval '2 days'")
				if _, err := l.Sweep(t.Context()); err != nil {
					rt.Fatal(err)
				}
				for _, c := range m.calls {
					if c.state == "open" {
						m.presume(c)
					}
				}
			},
			"finish": func(rt *rapid.T) {
				if rapid.IntRange(0, 3).Draw(rt, "really") > 0 {
					rt.Skip()
				}
				i := rapid.IntRange(0, 1).Draw(rt, "which")
				j := journals[i]
				if err := l.Finish(t.Context(), j.epoch, nil); err != nil {
					rt.Fatal(err)
				}
				for _, c := range m.calls {
					if c.j == j && c.state == "open" {
						m.presume(c)
					}
				}
				for _, name := range names {
					if s := m.slice(name, j.epoch); !m.gone[j.epoch] {
						m.move(name, j.epoch, 0, s.outstanding())
					}
				}
				m.gone[j.epoch] = true
				if rapid.Bool().Draw(rt, "another") {
					journals[i] = l.journal()
				}
			},
			"": func(rt *rapid.T) {
				for _, name := range names {
					if got := l.account(name); got != *m.accounts[name] {
						rt.Fatalf("account %s: %+v, want %+v", name, got, *m.accounts[name])
					}
				}
			},
		})
		if report, err := Check(t.Context(), l.dsn, nil); err != nil || len(report.Violations) > 0 {
			rt.Fatalf("%v, %v", report.Violations, err)
		}
	})
}
