package budget

import (
	"cmp"
	"time"

	"keel/pricing"
	"keel/pricing/meter"
)

// Bill is a part of the cost of a call that its usage tells, with all that it was priced by: the same price book makes
// the same cost of it again, whenever that is. Strings are "" where nobody said anything.
type Bill struct {
	Provider      string          `json:"provider"`
	Model         string          `json:"model,omitempty"` // as the provider reported it
	Sent          string          `json:"sent,omitempty"`  // that the call was sent to, which counts where the reported one has no price
	At            time.Time       `json:"at"`              // whose rates apply
	ServiceTier   string          `json:"service_tier,omitempty"`
	Speed         string          `json:"speed,omitempty"`
	Region        string          `json:"region,omitempty"`
	SearchContext string          `json:"search_context,omitempty"`
	Usage         meter.Usage     `json:"usage"`
	Parts         []meter.Part    `json:"parts,omitempty"` // what is billed, by model, where that is not Usage at Model
	Cost          pricing.NanoUSD `json:"cost_usd"`        // what the call was charged for it
}

// bill is what r comes to for a decision's call, on the terms that the provider reported, else those that were asked for.
// It is nil where no usage was reported.
func (d *Decision) bill(r *Reported) *Bill {
	usage := r.Metered()
	if usage == nil {
		return nil
	}
	return &Bill{
		Provider: d.RoutedProvider, Model: r.Model, Sent: d.RoutedModel, At: d.At, ServiceTier: cmp.Or(r.ServiceTier, d.ServiceTier), Speed: cmp.Or(r.Speed, d.Speed),
		Region: cmp.Or(r.Region, d.Region), SearchContext: cmp.Or(r.SearchContext, d.SearchContext), Usage: *usage, Parts: r.Parts,
	}
}

// Charge is what b costs by a book. Errors are those of Book.Charge.
func (b *Bill) Charge(book *pricing.Book) (pricing.Cost, error) {
	return book.Charge(b.Provider, pricing.Metered{Usage: b.Usage, Parts: b.Parts, Models: []string{b.Model, b.Sent}},
		pricing.Terms{At: b.At, ServiceTier: b.ServiceTier, Speed: b.Speed, Region: b.Region, SearchContext: b.SearchContext})
}

// charge prices b by the book of an org, as far as it has rates. ok is false where a metered quantity has none.
func (c *Config) charge(org string, b *Bill) (cost pricing.Cost, ok bool) {
	cost, err := b.Charge(c.Book(org))
	b.Cost = cost.Total
	return cost, err == nil && cost.Priced()
}
