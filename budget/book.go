package budget

import "keel/pricing"

// addExchangeRate makes the book over which the org's prices go. They come later.
func (c *compilation) addExchangeRate(org *organisation, x *ExchangeRate) error {
	rows := []pricing.Exchange{x.Exchange}
	for key, doc := range c.good {
		if key.kind == KindExchangeRate && key.org == org.name {
			rows = append(rows, doc.(*ExchangeRate).Exchange)
		}
	}
	book, err := c.book.WithExchange(rows)
	if err == nil {
		org.exchange, org.book = book, book
	}
	return err
}

// addPrice rebuilds the org's book, so that the error falls to the price that
// does not go together with those before it.
func (c *compilation) addPrice(org *organisation, p *Price) error {
	if org.prices == nil {
		org.prices = make(map[*Price]bool)
		c.addTogether(org)
	}
	if org.prices[p] {
		return nil
	}
	rows := []pricing.Price{p.Price}
	for other := range org.prices {
		rows = append(rows, other.Price)
	}
	book, err := org.exchange.With(rows)
	if err == nil {
		org.book, org.prices[p] = book, true
	}
	return err
}

// addTogether adds all prices of an org in one book, if they go together: thousands
// of an imported list would take seconds one by one.
func (c *compilation) addTogether(org *organisation) {
	var rows []pricing.Price
	together, seen := make(map[*Price]bool), make(map[documentKey]bool)
	for _, doc := range c.all {
		p, ok := doc.(*Price)
		if !ok || p.Org != org.name || seen[keyOf(p)] {
			continue
		}
		seen[keyOf(p)] = true
		if p.check() == nil {
			rows, together[p] = append(rows, p.Price), true
		}
	}
	if book, err := org.exchange.With(rows); err == nil {
		org.book, org.prices = book, together
	}
}

// Book returns the price book of an org: its own prices over the catalogue.
func (c *Config) Book(org string) *pricing.Book { return c.org(org).book }
