package budget

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"keel/pricing"
)

// A Config is a whole configuration, ready to decide by. It is immutable and
// safe for concurrent use.
type Config struct {
	// Version names everything that decisions depend on: all documents with
	// their versions, and the price book.
	Version string

	book *pricing.Book
	orgs map[string]*organisation
	good map[documentKey]document // what it was made from
}

// organisation is the configuration of one org.
type organisation struct {
	name     string
	exchange *pricing.Book   // with the org's exchange rates
	book     *pricing.Book   // with its own prices, too
	prices   map[*Price]bool // that are in book; nil before the first
	budgets  []*activeBudget
	index    budgetIndex
	policies []*activePolicy // by name
	when     policyIndex
	asked    map[string]*activeBudget // by name, those that conditions read; nil for none
	routes   []*activeRoute           // by name
	subjects []SubjectRule            // by name
	settings Settings
}

func newOrganisation(name string, book *pricing.Book) *organisation {
	o := &organisation{name: name, exchange: book, book: book, settings: Settings{Meta: Meta{Org: name, Name: "default"}}}
	o.settings.setDefaults()
	return o
}

type activeBudget struct {
	*Budget
	selector []labelGlob
	window   Window
	ofLimit  string
	ceiling  pricing.NanoUSD      // limit × lowest deny tier, whatever the mode
	current  atomic.Pointer[span] // the window of the last call: calls come in order of time, mostly
}

type span struct{ start, end time.Time }

type activeRoute struct {
	*Route
	models     []glob
	qualities  []int64
	abilities  []pricing.Abilities // what is known of the targets, beside what they say that they lack
	minQuality int64
}

// Compile makes a Config of documents over a price book; the prices of each
// org go before the book's. The error joins one for every document that can't
// be used, naming it; then there is no Config.
func Compile(docs Documents, book *pricing.Book) (*Config, error) {
	c, err := CompileKeeping(docs, book, nil)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// CompileKeeping is Compile for changes to a running configuration. A document that
// can't be used is replaced by the version of it that previous was made from,
// if there is one, and left out otherwise. The Config is never nil; the error
// joins one for every document that could not be used as it is now.
func CompileKeeping(docs Documents, book *pricing.Book, previous *Config) (*Config, error) {
	c := &compilation{
		Config:   &Config{book: book, orgs: make(map[string]*organisation), good: make(map[documentKey]document)},
		previous: previous,
		seen:     make(map[documentKey]bool),
		all:      sorted(withDefaults(docs).all()),
	}
	// Exchange rates come before the prices that need them, routes before the policies that name them.
	slices.SortStableFunc(c.all, func(a, b document) int { return rank(a) - rank(b) })
	for _, doc := range c.all {
		key := keyOf(doc)
		if c.seen[key] {
			c.errs = append(c.errs, fmt.Errorf("%s: it is there twice", key))
			continue
		}
		c.seen[key] = true
		err := c.use(doc)
		if err == nil {
			continue
		}
		c.errs = append(c.errs, fmt.Errorf("%s: %w", key, err))
		if previous != nil {
			if was, ok := previous.good[key]; ok {
				if err := c.use(was); err != nil {
					c.errs = append(c.errs, fmt.Errorf("%s: its last good version can't be kept: %w", key, err))
				}
			}
		}
	}
	for _, org := range c.orgs {
		org.index = indexBudgets(org.budgets)
	}
	c.Version = c.digest()
	return c.Config, errors.Join(c.errs...)
}

func rank(doc document) int {
	if doc.kind() == KindPolicy {
		return 1
	}
	return 0
}

type compilation struct {
	*Config
	previous *Config
	all      []document // in the order in which they are used
	seen     map[documentKey]bool
	errs     []error
}

func (c *compilation) org(name string) *organisation {
	org, ok := c.orgs[name]
	if !ok {
		org = newOrganisation(name, c.book)
		c.orgs[name] = org
	}
	return org
}

// use makes a document part of the configuration, or says why not.
func (c *compilation) use(doc document) error {
	if err := doc.check().err(); err != nil {
		return err
	}
	org := c.org(doc.metadata().Org)
	err := c.plainValues(doc)
	if err != nil {
		return err
	}
	switch doc := doc.(type) {
	case *Budget:
		err = org.addBudget(doc)
	case *Route:
		err = org.addRoute(doc)
	case *Policy:
		err = org.addPolicy(doc)
	case *ExchangeRate:
		err = c.addExchangeRate(org, doc)
	case *Price:
		err = c.addPrice(org, doc)
	case *SubjectRule:
		err = org.addSubject(doc)
	case *Settings:
		if c.settled(org.name) {
			return fmt.Errorf("the org has settings already (%s); there is one document of them for an org", org.settings.Name)
		}
		org.settings = *doc
	}
	if err == nil {
		c.good[keyOf(doc)] = doc
	}
	return err
}

func (c *compilation) settled(org string) bool {
	for key := range c.good {
		if key.kind == KindSettings && key.org == org {
			return true
		}
	}
	return false
}

func (o *organisation) addBudget(b *Budget) error {
	active := &activeBudget{Budget: b, ofLimit: ofLimit(b.Limit)}
	var err error
	if active.window, err = ParseWindow(b.Window, b.Timezone); err != nil {
		return err
	}
	if active.selector, err = parseSelector(b.Selector); err != nil {
		return err
	}
	deny := 100
	for _, tier := range b.Tiers { // ascending
		if tier.Do == EffectDeny {
			deny = tier.AtPercent
			break
		}
	}
	active.ceiling = share(b.Limit, deny)
	o.budgets = append(o.budgets, active)
	return nil
}

// share is percent of amount, rounded down; the largest amount where that does not fit.
func share(amount pricing.NanoUSD, percent int) pricing.NanoUSD {
	s, err := amount.Percent(percent)
	if err != nil {
		return math.MaxInt64
	}
	return s
}

func (o *organisation) addRoute(r *Route) error {
	active := &activeRoute{Route: r}
	for _, model := range r.Models {
		g, err := parseGlob(model)
		if err != nil {
			return err
		}
		active.models = append(active.models, g)
	}
	for _, target := range r.Targets {
		q, err := parseQuality(target.Quality)
		if err != nil {
			return err
		}
		active.qualities = append(active.qualities, q)
		active.abilities = append(active.abilities, ableOf(o.book.Abilities(target.Provider, target.Model), target.Lacks))
	}
	var err error
	active.minQuality, err = parseQuality(r.MinQuality)
	o.routes = append(o.routes, active)
	return err
}

// ableOf adds what a target lacks by the word of the operator to what is known.
func ableOf(known pricing.Abilities, lacks []Lack) pricing.Abilities {
	known.NoTools = known.NoTools || slices.Contains(lacks, LackTools)
	known.NoImages = known.NoImages || slices.Contains(lacks, LackImages)
	known.NoSchema = known.NoSchema || slices.Contains(lacks, LackSchema)
	return known
}

func (o *organisation) budget(name string) *activeBudget {
	for _, b := range o.budgets {
		if b.Name == name {
			return b
		}
	}
	return nil
}

func (o *organisation) route(name string) *activeRoute {
	for _, r := range o.routes {
		if r.Name == name {
			return r
		}
	}
	return nil
}

func (c *compilation) digest() string {
	h := sha256.New()
	fmt.Fprintln(h, c.book.Version(), pricing.AbilitiesVersion())
	all := make([]document, 0, len(c.good))
	added := make(map[documentKey]bool, len(c.good))
	for _, doc := range c.all { // nearly in order, which is sorted fast
		key := keyOf(doc)
		if good, ok := c.good[key]; ok && !added[key] {
			added[key] = true
			all = append(all, good)
		}
	}
	for _, doc := range sorted(all) {
		text, err := json.Marshal(written(doc))
		if err != nil { // strings, numbers and booleans always encode
			text = []byte(err.Error())
		}
		fmt.Fprintf(h, "%s %d %s\n", doc.metadata().Org, doc.metadata().Version, text)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// org returns the configuration of an org; of one that has no documents, an empty one.
func (c *Config) org(name string) *organisation {
	name = cmp.Or(name, DefaultOrg)
	if org, ok := c.orgs[name]; ok {
		return org
	}
	return newOrganisation(name, c.book)
}

// Settings returns the settings of an org. Where it has no document of them
// they are the defaults, with version 0.
func (c *Config) Settings(org string) Settings { return c.org(org).settings }

// Subjects returns where an org's labels come from, by name of the document.
// Where several give one label, the first that has a value counts. The slice is
// shared: it must not be changed.
func (c *Config) Subjects(org string) []SubjectRule { return c.org(org).subjects }
