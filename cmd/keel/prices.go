package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"keel/budget"
	"keel/pricing"
	"keel/pricing/source"
)

type pricesCmd struct {
	Import pricesImportCmd `cmd:"" help:"Turn a public price list into Price documents, on standard output."`
	Diff   pricesDiffCmd   `cmd:"" help:"Show where a price list says otherwise than the prices that Keel has."`
}

// listFlags choose what of a list is of interest.
type listFlags struct {
	Format    string   `help:"genai-prices or litellm; told from the content, unless given." enum:",genai-prices,litellm" default:""`
	Providers []string `name:"provider" help:"Only prices of this provider. May be given more than once." sep:"none" placeholder:"NAME"`
	Model     string   `help:"Only models whose name contains this." placeholder:"TEXT"`
}

type pricesImportCmd struct {
	File     string    `arg:"" help:"The list: data.json of genai-prices, or model_prices_and_context_window.json of LiteLLM; \"-\" reads standard input." placeholder:"FILE"`
	Contract string    `help:"Make them prices of this contract, which override all others." placeholder:"NAME"`
	Changed  bool      `help:"Only prices that Keel does not have already, or has otherwise."`
	At       time.Time `help:"The time that --changed compares at: RFC 3339. Now, unless given." placeholder:"TIME"`
	Strict   bool      `help:"Fail where something in the list can't be taken over, instead of leaving it out."`
	listFlags
}

func (c *pricesImportCmd) Help() string {
	return `Nothing is stored: read what it prints, then apply it. What of the list can't be
taken over is named on standard error, model by model.

Examples:
  keel prices import model_prices_and_context_window.json --provider bedrock --changed > bedrock.yaml
  keel apply -f bedrock.yaml --dry-run`
}

func (c *pricesImportCmd) Run(m *Main) error {
	prices, skipped, err := c.read(c.File, m.Stdin)
	if err != nil {
		return err
	}
	for _, skip := range skipped {
		fmt.Fprintln(m.Stderr, "keel: left out:", skip)
	}
	if c.Strict && len(skipped) > 0 {
		return fmt.Errorf("%s: %d entries can't be taken over in full", c.File, len(skipped))
	}
	if c.Changed {
		prices = changed(prices, orNow(c.At))
	}
	var documents budget.Documents
	names := map[string]int{}
	for _, p := range prices {
		if p.Contract == "" {
			p.Contract = c.Contract
		}
		name := priceName(&p)
		if names[name]++; names[name] > 1 {
			name = fmt.Sprintf("%s-%d", name, names[name])
		}
		documents.Prices = append(documents.Prices, budget.Price{Meta: budget.Meta{Name: name}, Price: p})
	}
	fmt.Fprintf(m.Stderr, "keel: %d prices\n", len(documents.Prices))
	if len(documents.Prices) == 0 {
		return nil
	}
	return budget.WriteYAML(m.Stdout, documents)
}

// changed are the prices that the vendored catalogue answers otherwise.
func changed(prices []pricing.Price, at time.Time) []pricing.Price {
	var some []pricing.Price
	for _, p := range prices {
		if len(source.Against(pricing.Catalog(), []pricing.Price{p}, at)) > 0 {
			some = append(some, p)
		}
	}
	return some
}

// priceName names a document after what it prices.
func priceName(p *pricing.Price) string {
	parts := []string{p.Provider, p.Model}
	for _, part := range []string{p.Contract, p.ServiceTier, p.Region, p.SearchContext} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if !p.EffectiveFrom.IsZero() {
		parts = append(parts, p.EffectiveFrom.UTC().Format(time.DateOnly))
	}
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '.', r == '-', r == '_':
			return r
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, strings.Join(parts, "-"))
}

type pricesDiffCmd struct {
	Files  []string  `arg:"" help:"One list, compared with the prices that Keel has; or two lists, compared with each other. JSON of genai-prices or LiteLLM, or YAML of Price documents." placeholder:"FILE"`
	Config []string  `help:"YAML file with Price documents over the vendored catalogue, when one list is compared. May be given more than once." sep:"none" placeholder:"FILE"`
	At     time.Time `help:"The time whose prices are compared, when one list is: RFC 3339. Now, unless given." placeholder:"TIME"`
	Output string    `short:"o" help:"text or json." enum:"text,json" default:"text"`
	listFlags
}

func (c *pricesDiffCmd) Help() string {
	return `Exit status 1 when they differ, 0 when they do not.

Examples:
  keel prices diff model_prices_and_context_window.json --provider openai
  keel prices diff last-month.json today.json -o json`
}

func (c *pricesDiffCmd) Run(m *Main) error {
	if len(c.Files) > 2 {
		return errors.New("give one list, or two to compare with each other")
	}
	lists := make([][]pricing.Price, 0, 2)
	for _, name := range c.Files {
		prices, skipped, err := c.read(name, m.Stdin)
		if err != nil {
			return err
		}
		if len(skipped) > 0 {
			fmt.Fprintf(m.Stderr, "keel: %s: %d entries were left out; \"keel prices import\" names them\n", name, len(skipped))
		}
		lists = append(lists, prices)
	}
	var changes []source.Change
	if len(lists) == 2 {
		changes = source.Diff(lists[0], lists[1])
	} else {
		book, err := bookWith(c.Config, m.Stdin)
		if err != nil {
			return err
		}
		changes = source.Against(book, lists[0], orNow(c.At))
	}
	write := source.WriteText
	if c.Output == "json" {
		write = source.WriteJSON
	}
	if err := write(m.Stdout, changes); err != nil {
		return err
	}
	if len(changes) > 0 {
		return errReported
	}
	return nil
}

func orNow(at time.Time) time.Time {
	if at.IsZero() {
		return time.Now().UTC()
	}
	return at
}

// read reads a list of any form and keeps what the flags ask for.
func (f *listFlags) read(name string, stdin io.Reader) ([]pricing.Price, []source.Skip, error) {
	all, skipped, err := f.readAll(name, stdin)
	if err != nil {
		return nil, nil, err
	}
	keep := func(provider, model string) bool {
		if len(f.Providers) > 0 {
			found := false
			for _, p := range f.Providers {
				found = found || p == provider
			}
			if !found {
				return false
			}
		}
		return strings.Contains(model, f.Model)
	}
	var prices []pricing.Price
	for _, p := range all {
		if keep(p.Provider, p.Model) {
			prices = append(prices, p)
		}
	}
	var left []source.Skip
	for _, s := range skipped {
		if keep(s.Provider, s.Model) {
			left = append(left, s)
		}
	}
	return prices, left, nil
}

func (f *listFlags) readAll(name string, stdin io.Reader) ([]pricing.Price, []source.Skip, error) {
	switch filepath.Ext(name) {
	case ".yaml", ".yml":
		documents, err := readFile(name, stdin)
		if err != nil {
			return nil, nil, err
		}
		var prices []pricing.Price
		for _, p := range documents.Prices {
			prices = append(prices, p.Price)
		}
		return prices, nil, nil
	}
	in := stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, nil, err
		}
		defer file.Close()
		in = file
	}
	imported, err := source.Import(in, source.Format(f.Format))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	return imported.Prices, imported.Skipped, nil
}
