package reconcile

import (
	"cmp"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"time"

	"keel/pricing"
)

// Cause is a reason for a difference.
type Cause string

// The causes. A Difference's amounts sum to stated − recorded.
const (
	UnmeteredCalls    Cause = "unmetered_calls"     // the provider served calls that passed without being read
	MissingInKeel     Cause = "missing_in_keel"     // the provider served what is not recorded at all: traffic beside Envoy, or lost
	MissingAtProvider Cause = "missing_at_provider" // recorded, and not on the statement
	Estimated         Cause = "estimated"           // recorded by an estimate: a stream that was cut, a bound, a hold
	PriceDifference   Cause = "price_difference"    // the same quantities at another rate
	Unpriced          Cause = "unpriced"            // recorded as a hold, because a rate was missing
	UnknownModel      Cause = "unknown_model"       // the price book does not know the model
	TimeZone          Cause = "time_zone"           // the statement's days begin elsewhere
	Rounding          Cause = "rounding"            // decimals that the statement does not show
	Unexplained       Cause = "unexplained"
)

// Difference is a part of a cell's variance.
type Difference struct {
	Cause Cause           `json:"cause"`
	USD   pricing.NanoUSD `json:"usd"`
	Note  string          `json:"note,omitempty"`
}

// Cell is what is compared: a day, model, account and meter, "" where the statement does not tell them apart.
type Cell struct {
	Day              string           `json:"day"`
	Model            string           `json:"model"`
	Account          string           `json:"account,omitempty"`
	Meter            string           `json:"meter,omitempty"`
	Recorded         pricing.NanoUSD  `json:"recorded_usd"`
	Stated           *pricing.NanoUSD `json:"stated_usd"` // nil where the statement has no costs
	Variance         pricing.NanoUSD  `json:"variance_usd"`
	RecordedQuantity int64            `json:"recorded_quantity"`
	StatedQuantity   *int64           `json:"stated_quantity"`
	Causes           []Difference     `json:"causes"`

	estimated pricing.NanoUSD // of Recorded
	calls     int64
	unpriced  int64
	inKeel    bool
	stated    bool
	cost      *big.Rat // nano-dollars
	quantity  *big.Rat
	lines     int64
	places    int
}

// Report is a whole comparison.
type Report struct {
	Provider string           `json:"provider"`
	Org      string           `json:"org"`
	Timezone string           `json:"timezone"`
	Since    string           `json:"since"` // days, both included
	Until    string           `json:"until"`
	Zone     string           `json:"days_agree_in,omitempty"` // another zone in which the days agree
	Recorded pricing.NanoUSD  `json:"recorded_usd"`
	Stated   *pricing.NanoUSD `json:"stated_usd"`
	Variance pricing.NanoUSD  `json:"variance_usd"`
	Causes   []Difference     `json:"causes"` // of all cells
	Cells    []Cell           `json:"cells"`
	LeftOut  []string         `json:"left_out,omitempty"`
}

// Knows says whether the price book has a price for a model.
type Knows func(model string) bool

// key is what model names have in common: "us.anthropic.claude-sonnet-4-5-20250929-v1:0" and "Claude Sonnet 4.5".
func key(model string) string {
	m := strings.ToLower(model)
	if i := strings.LastIndexByte(m, '/'); i >= 0 {
		m = m[i+1:]
	}
	for _, prefix := range []string{"us.", "eu.", "apac.", "global.", "anthropic.", "amazon.", "meta.", "mistral.", "cohere.", "ai21.", "deepseek.", "openai."} {
		m = strings.TrimPrefix(m, prefix)
	}
	m = modelVersion.ReplaceAllString(m, "")
	m = modelDate.ReplaceAllString(m, "")
	m = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, m)
	return claudeOrder.ReplaceAllString(m, "claude$2$1") // AWS has both "Claude4.6Opus" and "Claude Opus 4.6"
}

var claudeOrder = regexp.MustCompile(`^claude([0-9]+)(opus|sonnet|haiku)$`)

var (
	modelVersion = regexp.MustCompile(`(-v[0-9]+)?(:[0-9a-z]+)?$|-latest$`)
	modelDate    = regexp.MustCompile(`[-@ ](20[0-9]{6}|20[0-9]{2}-[0-9]{2}-[0-9]{2})$`)
)

// coarser is how a meter is named where the statement does not tell it apart from another.
var coarser = map[string]string{
	"reasoning": "output", "output_image": "output", "output_video": "output", "output_audio": "output",
	"input_image": "input", "input_video": "input", "input_audio": "input", "cached_input_image": "cached_input", "cached_input_audio": "cached_input",
	"cache_write_1h": "cache_write_5m", "cache_write_5m": "input", "cached_input": "input",
}

type cellKey struct{ day, model, account, meter string }

type comparison struct {
	s         *Statement
	scope     Scope
	has       has
	zone      *time.Location
	meters    map[string]bool // that the statement has
	modelless map[string]bool // meters for which it names no model
	meterless map[string]bool // models for which it names no meter
	names     map[string]string
	cells     map[cellKey]*Cell
	unmetered map[string]int64            // calls that passed unread, by day
	estimated map[cellKey]pricing.NanoUSD // recorded by estimates, whatever the meter
}

// Days is the range of a statement's days, the second excluded.
func (s *Statement) Days() (since, until time.Time) {
	for i := range s.Lines {
		at := s.Lines[i].At.In(s.Zone)
		day := time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, s.Zone)
		if since.IsZero() || day.Before(since) {
			since = day
		}
		if next := day.AddDate(0, 0, 1); next.After(until) {
			until = next
		}
	}
	return since, until
}

// Compare explains how a statement differs from what is recorded.
func Compare(s *Statement, recorded []Recorded, scope Scope, knows Knows) *Report {
	c := newComparison(s, scope, s.Zone)
	c.state()
	c.record(recorded)
	r := &Report{Provider: s.Provider, Org: scope.Org, Timezone: s.Zone.String(), LeftOut: s.LeftOut,
		Since: scope.Since.In(s.Zone).Format(time.DateOnly), Until: scope.Until.Add(-time.Second).In(s.Zone).Format(time.DateOnly)}
	shifted := c.shifted(recorded)
	if shifted != nil {
		r.Zone = shifted.zone.String()
	}
	sums := make(map[Cause]pricing.NanoUSD)
	keys := make([]cellKey, 0, len(c.cells))
	for k := range c.cells {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b cellKey) int {
		return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.model, b.model), cmp.Compare(a.account, b.account), cmp.Compare(a.meter, b.meter))
	})
	var total pricing.NanoUSD
	for _, k := range keys {
		cell := c.cells[k]
		if name := c.names[k.model]; name != "" {
			cell.Model = name
		}
		var shift *pricing.NanoUSD
		if shifted != nil {
			var there pricing.NanoUSD
			if other := shifted.cells[k]; other != nil {
				there = other.Recorded
			}
			by := there - cell.Recorded
			shift = &by
		}
		c.explain(k, cell, shift, knows)
		r.Recorded += cell.Recorded
		if cell.Stated != nil {
			total += *cell.Stated
		}
		r.Variance += cell.Variance
		for _, d := range cell.Causes {
			sums[d.Cause] += d.USD
		}
		r.Cells = append(r.Cells, *cell)
	}
	if c.has.cost {
		r.Stated = &total
	}
	for _, cause := range []Cause{UnmeteredCalls, MissingInKeel, MissingAtProvider, Estimated, PriceDifference, Unpriced, UnknownModel, TimeZone, Rounding, Unexplained} {
		if n, there := sums[cause]; there {
			r.Causes = append(r.Causes, Difference{Cause: cause, USD: n})
		}
	}
	return r
}

func newComparison(s *Statement, scope Scope, zone *time.Location) *comparison {
	c := &comparison{s: s, scope: scope, has: s.has(), zone: zone, meters: make(map[string]bool), modelless: make(map[string]bool), meterless: make(map[string]bool),
		names: make(map[string]string), cells: make(map[cellKey]*Cell), unmetered: make(map[string]int64), estimated: make(map[cellKey]pricing.NanoUSD)}
	if scope.Label == "" {
		c.has.account = false
	}
	named, metered := make(map[string]bool), make(map[string]bool)
	for i := range s.Lines {
		l := &s.Lines[i]
		metered[key(l.Model)] = metered[key(l.Model)] || l.Meter != ""
		if l.Meter != "" {
			c.meters[l.Meter] = true
			named[l.Meter] = named[l.Meter] || l.Model != ""
		}
	}
	for model, told := range metered {
		c.meterless[model] = model != "" && !told
	}
	for m := range c.meters {
		c.modelless[m] = c.has.model && !named[m]
	}
	return c
}

func (c *comparison) cell(k cellKey) *Cell {
	cell := c.cells[k]
	if cell == nil {
		cell = &Cell{Day: k.day, Model: k.model, Account: k.account, Meter: k.meter}
		c.cells[k] = cell
	}
	return cell
}

// state files the statement.
func (c *comparison) state() {
	for i := range c.s.Lines {
		l := &c.s.Lines[i]
		k := cellKey{day: l.At.In(c.s.Zone).Format(time.DateOnly), model: key(l.Model), meter: l.Meter}
		if c.has.account {
			k.account = l.Account
		}
		if c.names[k.model] == "" {
			c.names[k.model] = l.Model
		}
		cell := c.cell(k)
		cell.stated = true
		cell.lines++
		cell.places = max(cell.places, l.Places)
		if l.Cost != nil {
			if cell.cost == nil {
				cell.cost = new(big.Rat)
			}
			cell.cost.Add(cell.cost, new(big.Rat).Mul(l.Cost, nanoPerUSD))
		}
		if l.Quantity != nil {
			if cell.quantity == nil {
				cell.quantity = new(big.Rat)
			}
			cell.quantity.Add(cell.quantity, l.Quantity)
		}
	}
}

var nanoPerUSD = big.NewRat(1_000_000_000, 1)

// record files the records where the statement would have them.
func (c *comparison) record(recorded []Recorded) {
	first, last := c.scope.Since.In(c.s.Zone).Format(time.DateOnly), c.scope.Until.Add(-time.Second).In(c.s.Zone).Format(time.DateOnly)
	for i := range recorded {
		x := &recorded[i]
		k := cellKey{day: x.At.In(c.zone).Format(time.DateOnly)}
		if k.day < first || k.day > last {
			continue
		}
		c.unmetered[k.day] += x.Unmetered
		if x.Nano == 0 && x.Quantity == 0 && x.Calls == 0 {
			continue
		}
		if c.has.meter && !c.meterless[key(x.Model)] {
			k.meter = c.meter(x.Meter)
		}
		if c.has.model && !c.modelless[k.meter] {
			k.model = key(x.Model)
			if x.Model != "" {
				c.names[k.model] = x.Model
			}
		}
		if c.has.account {
			k.account = x.Account
		}
		if k.meter == "unmetered" && x.Nano == 0 {
			continue // a call whose lines say all
		}
		cell := c.cell(k)
		cell.inKeel = true
		cell.Recorded += pricing.NanoUSD(x.Nano)
		cell.RecordedQuantity += x.Quantity
		cell.calls += max(x.Calls, 1)
		cell.unpriced += x.Unpriced
		if x.Estimated {
			c.estimated[cellKey{k.day, k.model, k.account, ""}] += pricing.NanoUSD(x.Nano)
			cell.estimated += pricing.NanoUSD(x.Nano)
		}
	}
}

// meter is the one of the statement's under which it has what Keel calls m.
func (c *comparison) meter(m string) string {
	for name := m; name != ""; name = coarser[name] {
		if c.meters[name] {
			return name
		}
	}
	return m
}

// shifted is the comparison in another zone, where the days agree and here they do not.
func (c *comparison) shifted(recorded []Recorded) *comparison {
	if !c.has.cost {
		return nil
	}
	here := c.distance()
	if here.Sign() == 0 {
		return nil
	}
	limit := new(big.Rat).Mul(here, big.NewRat(1, 10))
	for _, name := range []string{"UTC", "America/Los_Angeles", "America/New_York", "Europe/London", "Europe/Berlin", "Asia/Tokyo", "Asia/Kolkata", "Australia/Sydney"} {
		zone, err := time.LoadLocation(name)
		if err != nil || name == c.zone.String() {
			continue
		}
		other := newComparison(c.s, c.scope, zone)
		other.state()
		other.record(recorded)
		if other.distance().Cmp(limit) <= 0 {
			return other
		}
	}
	return nil
}

// distance is how far all cells are off.
func (c *comparison) distance() *big.Rat {
	sum := new(big.Rat)
	for _, cell := range c.cells {
		off := new(big.Rat).SetInt64(int64(cell.Recorded))
		if cell.cost != nil {
			off.Sub(off, cell.cost)
		}
		sum.Add(sum, off.Abs(off))
	}
	return sum
}
