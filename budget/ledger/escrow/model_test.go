package escrow

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"keel/budget"
	"keel/budget/ledger/record"
	"keel/pricing"
)

// model is a Bank in memory: what Bank promises, in the fewest words. It can
// be away, lose answers, and forget its newest transactions as an asynchronous standby does.
type model struct {
	mu sync.Mutex
	modelState
	listeners map[chan Key]bool
	timeline  int
	learnTill time.Time

	behind    time.Duration // its clock, of ours
	away      func() bool   // asked before and after every operation: lost before it was done, or only the answer
	noDedupe  bool          // mutants
	noOrphans bool
}

type modelState struct {
	ceilings map[string]pricing.NanoUSD // by budget
	accounts map[Key]*modelAccount
	leases   map[leaseKey]*modelLease
	epochs   map[uuid.UUID]*modelEpoch
	calls    map[uuid.UUID]*modelCall
}

type modelAccount struct{ settled, held, leased, forced, high pricing.NanoUSD }

type leaseKey struct {
	Key
	epoch uuid.UUID
}

type modelLease struct{ granted, consumed, returned, held pricing.NanoUSD }

type modelEpoch struct {
	applied  map[string]uint64
	seen     time.Time
	finished bool
}

type modelCall struct {
	decision *budget.Decision
	epoch    uuid.UUID
	more     []pricing.NanoUSD // its extensions, by hold; nil for none
	charges  []record.Charge   // of its closeout
	end      *budget.Closeout  // nil where it was presumed
	closed   bool
	presumed bool
}

// held is what the bank knows that a call holds.
func (c *modelCall) held(hold int) pricing.NanoUSD {
	if c.more == nil {
		return c.decision.Holds[hold].Amount
	}
	return c.decision.Holds[hold].Amount + c.more[hold]
}

// charge is what it costs where it held so much.
func (c *modelCall) charge(held pricing.NanoUSD) pricing.NanoUSD {
	if c.end == nil {
		return held
	}
	return Charge(c.end, held)
}

func newModel() *model {
	return &model{listeners: map[chan Key]bool{}, timeline: 1, modelState: modelState{
		ceilings: map[string]pricing.NanoUSD{}, accounts: map[Key]*modelAccount{}, leases: map[leaseKey]*modelLease{},
		epochs: map[uuid.UUID]*modelEpoch{}, calls: map[uuid.UUID]*modelCall{}}}
}

// copy is what a standby has.
func (s *modelState) copy() modelState {
	c := modelState{ceilings: maps.Clone(s.ceilings), accounts: map[Key]*modelAccount{}, leases: map[leaseKey]*modelLease{},
		epochs: map[uuid.UUID]*modelEpoch{}, calls: map[uuid.UUID]*modelCall{}}
	for k, v := range s.accounts {
		c.accounts[k] = new(*v)
	}
	for k, v := range s.leases {
		c.leases[k] = new(*v)
	}
	for k, v := range s.epochs {
		c.epochs[k] = &modelEpoch{maps.Clone(v.applied), v.seen, v.finished}
	}
	for k, v := range s.calls {
		call := new(*v)
		call.more, call.charges = slices.Clone(v.more), slices.Clone(v.charges)
		c.calls[k] = call
	}
	return c
}

// failover puts a standby in its place, which then learns for a while.
func (m *model) failover(standby modelState, learn time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.modelState = standby
	m.timeline++
	m.learnTill = time.Now().Add(learn)
}

// do runs one transaction, or loses it, or its answer.
func (m *model) do(op func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away != nil && m.away() {
		return unavailable("lost on the way")
	}
	err := op()
	if m.away != nil && m.away() {
		return unavailable("the answer was lost")
	}
	return err
}

func (m *model) epoch(id uuid.UUID) *modelEpoch {
	e := m.epochs[id]
	if e == nil {
		e = &modelEpoch{applied: map[string]uint64{}, seen: time.Now()}
		m.epochs[id] = e
	}
	return e
}

func (m *model) account(k Key) *modelAccount {
	a := m.accounts[k]
	if a == nil {
		a = &modelAccount{}
		m.accounts[k] = a
	}
	return a
}

// of is an account as it stands.
func (m *model) of(name *budget.Account) modelAccount {
	m.mu.Lock()
	defer m.mu.Unlock()
	return *m.account(KeyOf(name))
}

func (m *model) leaseOf(k Key, epoch uuid.UUID) *modelLease {
	l := m.leases[leaseKey{k, epoch}]
	if l == nil {
		l = &modelLease{}
		m.leases[leaseKey{k, epoch}] = l
	}
	return l
}

func (l *modelLease) outstanding() pricing.NanoUSD { return l.granted - l.consumed - l.returned }

func (m *model) Beat(_ context.Context, who Member) (fleet Fleet, err error) {
	return fleet, m.do(func() error {
		m.epoch(who.Epoch).seen = time.Now()
		for _, e := range m.epochs {
			if !e.finished && time.Since(e.seen) < 10*time.Second {
				fleet.Live++
			}
		}
		fleet.Now, fleet.Timeline, fleet.Learning = time.Now().Add(-m.behind), fmt.Sprint(m.timeline), time.Now().Before(m.learnTill)
		return nil
	})
}

// counting are the accounts whose spending counts against the same limit now.
func (m *model) counting(k Key) (keys []Key) {
	if k.Rolling == 0 {
		return []Key{k}
	}
	horizon := time.Now().Add(-k.Rolling - 2*time.Second).UnixMicro()
	for other := range m.accounts {
		if other.Org == k.Org && other.Budget == k.Budget && other.Account == k.Account && other.End > horizon {
			keys = append(keys, other)
		}
	}
	return keys
}

func (m *model) Lease(_ context.Context, r LeaseRequest) (answer Lease, err error) {
	return answer, m.do(func() error {
		a, l := m.account(r.Key), m.leaseOf(r.Key, r.Epoch)
		ceiling, exists := m.ceilings[r.Key.Budget]
		var settled, leased pricing.NanoUSD
		for _, k := range m.counting(r.Key) {
			settled, leased = settled+m.accounts[k].settled, leased+m.accounts[k].leased
		}
		switch room := ceiling - settled - leased - r.Owed; {
		case m.epoch(r.Epoch).finished:
			answer.Refused = IsFinished
		case time.Now().Before(m.learnTill) || r.Timeline != "" && r.Timeline != fmt.Sprint(m.timeline):
			answer.Refused = IsLearning
		case !exists:
			answer.Refused = NoBudget
		case room < r.Min:
			answer.Refused = NoRoom
			for _, k := range m.counting(r.Key) {
				for lk, other := range m.leases {
					if lk.Key == k && lk.epoch != r.Epoch && !m.epoch(lk.epoch).finished && time.Since(m.epoch(lk.epoch).seen) < 10*time.Second {
						answer.Idle += max(0, other.outstanding()-other.held)
					}
				}
			}
		default:
			answer.Given = min(r.Want, max(r.Min, room/pricing.NanoUSD(r.Share)))
			a.leased, l.granted, leased = a.leased+answer.Given, l.granted+answer.Given, leased+answer.Given
			a.high = max(a.high, ceiling)
		}
		answer.Granted, answer.Settled, answer.Leased, answer.Ceiling = l.granted, settled, leased, ceiling
		return nil
	})
}

func (m *model) Recall(_ context.Context, keys []Key) error {
	return m.do(func() error {
		for listener := range m.listeners {
			for _, k := range keys {
				select {
				case listener <- k:
				default: // notifications may be lost
				}
			}
		}
		return nil
	})
}

func (m *model) Recalls(ctx context.Context, recalled func(Key)) error {
	listener := make(chan Key, 16)
	m.mu.Lock()
	m.listeners[listener] = true
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.listeners, listener)
		m.mu.Unlock()
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case k := <-listener:
			recalled(k)
		}
	}
}

func (m *model) Settle(_ context.Context, b Batch) (answer Settled, err error) {
	return answer, m.do(func() error {
		e := m.epoch(b.Epoch)
		answer.Applied = e.applied[b.Org]
		records := b.Records
		if !m.noDedupe {
			records = slices.Clone(records)
			records = slices.DeleteFunc(records, func(r Record) bool { return r.Seq <= answer.Applied })
		}
		if len(records) == 0 {
			return nil
		}
		if first := records[0].Seq; first > answer.Applied+1 {
			return &GapError{b.Epoch, b.Org, answer.Applied, first}
		}
		if e.finished {
			return ErrFinished
		}
		touched := map[Key]bool{}
		for _, r := range records {
			switch {
			case r.Decision != nil:
				m.decide(b.Epoch, kept(record.DecodeDecision(record.AppendDecision(nil, r.Decision))), touched)
			case r.Extension != nil:
				m.extend(b.Epoch, r.Extension, touched)
			case r.Closeout != nil:
				m.close(b.Epoch, kept(record.DecodeCloseout(record.AppendCloseout(nil, r.Closeout))), touched)
			case r.Return != nil:
				k := KeyOf(&r.Return.Account)
				m.move(k, b.Epoch, 0, r.Return.Amount)
				touched[k] = true
			}
			e.applied[b.Org] = r.Seq
		}
		answer.Applied = e.applied[b.Org]
		for k := range touched {
			a := m.accounts[k]
			answer.Standings = append(answer.Standings, Standing{k, a.settled, a.held, a.leased})
		}
		return nil
	})
}

// kept is what was decoded into memory of its own.
func kept[T any](v *T, err error) *T {
	if err != nil {
		panic(err)
	}
	return v
}

func (m *model) decide(epoch uuid.UUID, d *budget.Decision, touched map[Key]bool) {
	call := m.calls[d.ID]
	if call == nil {
		call = &modelCall{}
		m.calls[d.ID] = call
	}
	call.decision, call.epoch = d, epoch
	if d.Action == budget.Deny {
		call.closed = true
		return
	}
	if call.closed { // its closeout is in a later journal, which was settled first
		m.rehold(call, touched)
		return
	}
	for i := range d.Holds {
		h := &d.Holds[i]
		k := KeyOf(&h.Account)
		m.account(k).held += h.Amount
		if record.Leased(d, h) {
			m.leaseOf(k, epoch).held += h.Amount
		}
		touched[k] = true
	}
}

func (m *model) extend(epoch uuid.UUID, x *record.Extension, touched map[Key]bool) {
	call := m.calls[x.ID]
	if call.more == nil {
		call.more = make([]pricing.NanoUSD, len(x.More))
	}
	for i, more := range x.More {
		if call.more[i] += more.Amount; !call.closed {
			k := KeyOf(&more.Account)
			m.account(k).held += more.Amount
			if more.Leased {
				m.leaseOf(k, epoch).held += more.Amount
			}
			touched[k] = true
		}
	}
	if call.closed {
		m.rehold(call, touched)
	}
}

// rehold makes the charges of a closed call what they are with what is known of its holds now.
func (m *model) rehold(call *modelCall, touched map[Key]bool) {
	for i := range call.charges {
		charge := &call.charges[i]
		k := KeyOf(&charge.Account)
		touched[k] = true
		charge.Held = call.held(i)
		difference := call.charge(charge.Held) - charge.Amount
		charge.Amount += difference
		m.book(k, call.epoch, charge.Leased, difference)
	}
}

// book settles a difference, through the slice where there is one.
func (m *model) book(k Key, epoch uuid.UUID, leased bool, difference pricing.NanoUSD) {
	if leased && !m.epoch(epoch).finished {
		m.move(k, epoch, difference, 0)
		return
	}
	a := m.account(k)
	a.settled, a.forced = a.settled+difference, a.forced+max(0, difference)
}

// move books charges of, and returns to, a lease. More than it has left is forced.
func (m *model) move(k Key, epoch uuid.UUID, charged, returned pricing.NanoUSD) {
	a, l := m.account(k), m.leaseOf(k, epoch)
	over := max(0, charged+returned-l.outstanding())
	l.granted, l.consumed, l.returned = l.granted+over, l.consumed+charged, l.returned+returned
	a.settled, a.leased, a.forced = a.settled+charged, a.leased-(charged+returned-over), a.forced+over
}

func (m *model) close(epoch uuid.UUID, c *record.Closeout, touched map[Key]bool) {
	call := m.calls[c.ID]
	if call == nil {
		call = &modelCall{}
		m.calls[c.ID] = call
	}
	if call.closed && (!call.presumed || c.Outcome == budget.Orphaned) {
		return
	}
	before := call.charges
	wasClosed := call.closed
	call.closed, call.presumed, call.charges, call.end = true, false, c.Charges, &c.Closeout
	if call.decision != nil && call.epoch != epoch { // what was held may not all have come
		call.charges = slices.Clone(c.Charges)
		for i := range call.charges {
			call.charges[i].Held = call.held(i)
			call.charges[i].Amount = call.charge(call.held(i))
		}
	}
	for i := range call.charges {
		charge := &call.charges[i]
		k := KeyOf(&charge.Account)
		touched[k] = true
		a := m.account(k)
		switch {
		case !wasClosed:
			if call.decision != nil {
				a.held -= charge.Held
				if charge.Leased {
					m.leaseOf(k, c.Lease).held -= charge.Held
				}
			}
			m.book(k, c.Lease, charge.Leased, charge.Amount)
		default:
			m.book(k, epoch, charge.Leased && c.Lease == epoch, charge.Amount-before[i].Amount)
		}
	}
}

func (m *model) Finish(_ context.Context, epoch uuid.UUID, applied map[string]uint64) error {
	return m.do(func() error {
		e := m.epoch(epoch)
		for org, seq := range applied {
			if e.applied[org] < seq {
				return &GapError{epoch, org, e.applied[org], seq + 1}
			}
		}
		if e.finished {
			return nil
		}
		for _, c := range m.calls {
			if c.closed || c.epoch != epoch || m.noOrphans {
				continue
			}
			c.closed, c.presumed = true, true
			for i := range c.decision.Holds {
				h := &c.decision.Holds[i]
				leased := record.Leased(c.decision, h)
				held := c.held(i)
				c.charges = append(c.charges, record.Charge{Account: h.Account, Held: held, Amount: held, Leased: leased})
				k := KeyOf(&h.Account)
				a := m.account(k)
				a.held -= held
				if leased {
					m.leaseOf(k, epoch).held -= held
				}
				m.book(k, epoch, leased, held)
			}
		}
		for lk, l := range m.leases {
			if lk.epoch == epoch {
				m.move(lk.Key, epoch, 0, l.outstanding())
			}
		}
		e.finished = true
		return nil
	})
}

func (m *model) Applied(_ context.Context, epoch uuid.UUID) (applied map[string]uint64, err error) {
	return applied, m.do(func() error {
		applied = maps.Clone(m.epoch(epoch).applied)
		return nil
	})
}

func (m *model) Reassert(_ context.Context, epoch uuid.UUID, granted []Grant) error {
	return m.do(func() error {
		for _, g := range granted {
			l := m.leaseOf(g.Key, epoch)
			if more := g.Granted - l.granted; more > 0 {
				l.granted += more
				a := m.account(g.Key)
				a.leased, a.forced = a.leased+more, a.forced+max(0, a.settled+a.leased+more-a.high-a.forced)
			}
		}
		return nil
	})
}

func (m *model) Standings(_ context.Context, keys []Key) (all []Standing, err error) {
	return all, m.do(func() error {
		for _, k := range keys {
			var s Standing
			s.Key = k
			for _, counted := range m.counting(k) {
				if a := m.accounts[counted]; a != nil {
					s.Settled, s.Held, s.Leased = s.Settled+a.settled, s.Held+a.held, s.Leased+a.leased
				}
			}
			all = append(all, s)
		}
		return nil
	})
}

// check returns the first invariant of the bank's own that is broken.
func (m *model) check() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	leased := map[Key]pricing.NanoUSD{}
	for k, l := range m.leases {
		if l.outstanding() < 0 || l.granted < 0 || l.returned < 0 {
			return fmt.Errorf("I3: lease %v is %+v", k, *l)
		}
		leased[k.Key] += l.outstanding()
	}
	settled, held := map[Key]pricing.NanoUSD{}, map[Key]pricing.NanoUSD{}
	for _, c := range m.calls {
		for i, charge := range c.charges {
			if c.decision != nil && (charge.Held != c.held(i) || charge.Amount != c.charge(charge.Held)) {
				return fmt.Errorf("I5: call %s holds %d and is charged %+v", c.decision.ID, c.held(i), charge)
			}
			settled[KeyOf(&charge.Account)] += charge.Amount
		}
		if c.decision != nil && !c.closed {
			for i := range c.decision.Holds {
				held[KeyOf(&c.decision.Holds[i].Account)] += c.held(i)
			}
			if m.epoch(c.epoch).finished {
				return fmt.Errorf("I6: call %s is open in a finished epoch", c.decision.ID)
			}
		}
	}
	for k, a := range m.accounts {
		if k.Rolling == 0 && a.settled+a.leased > a.high+a.forced {
			return fmt.Errorf("I1: account %v: settled %d + leased %d > %d + forced %d", k, a.settled, a.leased, a.high, a.forced)
		}
		if a.settled != settled[k] {
			return fmt.Errorf("I2: account %v: settled %d, closeouts %d", k, a.settled, settled[k])
		}
		if a.leased != leased[k] {
			return fmt.Errorf("I3: account %v: leased %d, leases %d", k, a.leased, leased[k])
		}
		if a.held != held[k] {
			return fmt.Errorf("account %v: held %d, open decisions %d", k, a.held, held[k])
		}
	}
	return nil
}

// leaseReport says who holds what.
func (m *model) leaseReport() (report string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, l := range m.leases {
		if l.outstanding() > 0 {
			e := m.epoch(k.epoch)
			report += fmt.Sprintf("%s of epoch %s: %d outstanding, %d held, finished %v, seen %s ago; ", k.Budget, k.epoch, l.outstanding(), l.held, e.finished, time.Since(e.seen))
		}
	}
	return report
}
