package pricing

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"keel/pricing/meter"
)

//go:embed catalog/catalog.json
var vendored []byte

// Catalog returns the vendored list prices, parsed at the first call. Their
// origin, licence and how they are made: catalog/generate.py.
func Catalog() *Book { return vendoredBook() }

var vendoredBook = sync.OnceValue(func() *Book {
	c, err := parseCatalogue(vendored, overlaid)
	if err != nil {
		panic("the price catalogue in this binary is broken: " + err.Error()) // a test reads it at every build
	}
	return &Book{catalogue: c, version: c.version, plans: newMemo()}
})

// catalogue is list prices by provider, as upstream keeps them: the first model
// of a provider whose rule matches a name is the one, and of its rows the last
// one in force.
type catalogue struct {
	version    string
	providers  map[string]*listing
	amendments []amendment
}

type listing struct {
	fallback []string // providers whose models this one also sells at their price
	models   []listed
}

type listed struct {
	match   clause
	context int64                // the most input tokens that it takes, 0 where the list does not say
	rows    map[string][]planned // by service tier, in the order of preference
}

// plan returns the rows for a model: of its provider, else of those whose models
// the provider sells, with what the overlay says of them.
func (c *catalogue) plan(provider, name, tier string, on conditions) []planned {
	var rows []planned
	if !resells(provider) {
		rows = c.listed(provider, name, tier)
	}
	if rows == nil {
		rows = c.resold(provider, name, tier, on)
	}
	return c.amend(rows, provider, name, tier, on)
}

// listed returns the rows of a provider's own list.
func (c *catalogue) listed(provider, name, tier string) []planned {
	l := c.providers[provider]
	if l == nil {
		return nil
	}
	for _, candidate := range spellings(provider, name) {
		if m := l.find(candidate); m != nil {
			return m.plan(tier)
		}
	}
	return nil
}

func (l *listing) find(name string) *listed {
	for i := range l.models {
		if l.models[i].match.matches(name) {
			return &l.models[i]
		}
	}
	return nil
}

func (m *listed) plan(tier string) []planned {
	if rows := m.rows[tier]; rows != nil || !discounted[tier] {
		return rows
	}
	return m.rows[""]
}

// The file, one model a line.
type catalogueFile struct {
	Source struct {
		Package string `json:"package"`
		Version string `json:"version"`
	} `json:"source"`
	SHA256    string         `json:"sha256"` // of the bytes of providers
	Providers []providerFile `json:"providers"`
}

// content returns the bytes of providers, the last member of the file.
func content(text []byte) []byte {
	_, after, _ := bytes.Cut(text, []byte(`"providers":`))
	return bytes.TrimSuffix(after, []byte("}\n"))
}

type providerFile struct {
	ID       string      `json:"id"`
	Fallback []string    `json:"fallback"`
	Models   []modelFile `json:"models"`
}

type modelFile struct {
	ID      string    `json:"id"`
	Match   clause    `json:"match"`
	Context int64     `json:"context"`
	Rows    []rowFile `json:"rows"`
}

type rowFile struct {
	Tier  string     `json:"tier"`
	From  string     `json:"from"`  // date, UTC
	Daily string     `json:"daily"` // from and to, UTC
	Steps []stepFile `json:"steps"`
}

type stepFile struct {
	Above int64              `json:"above"`
	Rates map[string]PicoUSD `json:"rates"`
}

func parseCatalogue(text, overlay []byte) (*catalogue, error) {
	var file catalogueFile
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(content(text)); hex.EncodeToString(sum[:]) != file.SHA256 {
		return nil, fmt.Errorf("content has SHA-256 %x, the file says %s: it was edited by hand or damaged, run generate.py", sum, file.SHA256)
	}
	amendments, err := parseOverlay(overlay)
	if err != nil {
		return nil, err
	}
	c := &catalogue{
		version:    fmt.Sprintf("%s-%s-%.12s-%.6x", file.Source.Package, file.Source.Version, file.SHA256, sha256.Sum256(overlay)),
		providers:  make(map[string]*listing, len(file.Providers)),
		amendments: amendments,
	}
	for _, p := range file.Providers {
		l := &listing{fallback: p.Fallback, models: make([]listed, len(p.Models))}
		for i, m := range p.Models {
			rows, err := m.plan(p.ID)
			if err != nil {
				return nil, fmt.Errorf("%s/%s: %w", p.ID, m.ID, err)
			}
			l.models[i] = listed{match: m.Match, context: m.Context, rows: rows}
		}
		c.providers[p.ID] = l
	}
	for id, l := range c.providers {
		for _, other := range l.fallback {
			if c.providers[other] == nil {
				return nil, fmt.Errorf("provider %s falls back to %s, which is not there", id, other)
			}
		}
	}
	return c, nil
}

func (m *modelFile) plan(provider string) (map[string][]planned, error) {
	rows := make(map[string][]planned, 1)
	// Upstream: the last row in force wins.
	for i := len(m.Rows) - 1; i >= 0; i-- {
		row := &m.Rows[i]
		var (
			p   = planned{}
			err error
		)
		if row.From != "" {
			if p.from, err = time.Parse(time.DateOnly, row.From); err != nil {
				return nil, err
			}
		}
		if p.daily, err = ParseHours(row.Daily); err != nil {
			return nil, err
		}
		price := Price{Provider: provider, Model: m.ID, EffectiveFrom: p.from, ServiceTier: row.Tier, Daily: p.daily, Tiers: make([]Step, len(row.Steps))}
		for j, s := range row.Steps {
			price.Tiers[j] = Step{Above: s.Above, Rates: make(map[meter.Kind]PicoUSD, len(s.Rates))}
			for name, rate := range s.Rates {
				kind, err := meter.ParseKind(name)
				if err != nil {
					return nil, err
				}
				price.Tiers[j].Rates[kind] = rate
			}
		}
		if err := price.Check(); err != nil {
			return nil, err
		}
		id := "list:" + provider + "/" + m.ID + idTerms(row.Tier, p.from, p.daily)
		p.rates = newRates(id, &price)
		rows[row.Tier] = append(rows[row.Tier], p)
	}
	return rows, nil
}
