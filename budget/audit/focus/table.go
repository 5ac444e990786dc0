package focus

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/big"
	"time"

	"keel/budget"
	"keel/budget/audit/export"
	"keel/budget/audit/spend"
	"keel/pricing"
)

// Options say what records do not.
type Options struct {
	// Book tells list prices where a call was priced by contract; nil where nobody knows.
	Book *pricing.Book
	// BillingAccounts are the ids of the accounts at providers, by provider; without one it is the organisation.
	BillingAccounts map[string]string
	// SubAccount is the label of the subject that names sub accounts, "team" when "".
	SubAccount string
}

type table struct {
	book     *pricing.Book
	accounts map[string]string
	label    string
}

// Table is the table of charges.
func Table(o Options) export.Table {
	t := &table{o.Book, o.BillingAccounts, cmp.Or(o.SubAccount, "team")}
	return export.Table{Name: "focus-1.2", Columns: Columns, Rows: t.rows, Adjustment: t.adjustment}
}

// account is the billing account of what a provider charges, and what kind it is of.
func (t *table) account(provider, org string) (id, kind string) {
	if id = t.accounts[provider]; id != "" {
		return id, "Provider account"
	}
	return org, "Keel organisation"
}

func (t *table) rows(r *spend.Record, emit func([]export.Cell) error) error {
	charges, err := t.charges(r)
	if err != nil || len(charges) == 0 {
		return err
	}
	at := r.DecidedAt
	if at == nil {
		at = r.ClosedAt
	}
	tags := r.Subject
	if tags == nil {
		tags = budget.Subject{}
	}
	labels, err := json.Marshal(tags)
	if err != nil {
		return err
	}
	versions, err := ruleVersions(r)
	if err != nil {
		return err
	}
	for i := range charges {
		if err := emit(t.row(r, &charges[i], *at, string(labels), versions)); err != nil {
			return err
		}
	}
	return nil
}

// ruleVersions are the documents that were active: {"Budget/research-month": 3}.
func ruleVersions(r *spend.Record) (string, error) {
	if len(r.Rules) == 0 {
		return "", nil
	}
	var rules []budget.Rule
	if err := json.Unmarshal(r.Rules, &rules); err != nil {
		return "", fmt.Errorf("call %s: its rules: %w", r.ID, err)
	}
	versions := make(map[string]int64)
	for _, rule := range rules {
		if rule.Kind != budget.KindPrice {
			versions[string(rule.Kind)+"/"+rule.Name] = rule.Version
		}
	}
	text, err := json.Marshal(versions)
	return string(text), err
}

func (t *table) row(r *spend.Record, c *charge, at time.Time, tags, versions string) []export.Cell {
	text, decimal, instant := export.TextCell, export.DecimalCell, func(t time.Time) export.Cell { return export.InstantCell(&t) }
	null := export.Cell{}
	sells := sellerOf(r.Provider)
	model := cmp.Or(r.ModelRouted, r.ModelReported, "unknown")
	sku := cmp.Or(r.Provider, "unknown") + "/" + model
	account, kind := t.account(r.Provider, r.Org)
	periodStart, periodEnd := month(at)
	chargeStart, chargeEnd := hour(at)
	category := "Standard"
	if c.dynamic {
		category = "Dynamic"
	}
	details, _ := json.Marshal(map[string]string{"x_Model": cmp.Or(r.ModelReported, model), "x_ServiceTier": cmp.Or(pricing.Condition(c.price, "tier"), r.ServiceTier, "standard"),
		"x_ExchangeRate": r.ExchangeRate}) // strings always marshal
	sub := r.Subject[t.label]
	subType := ""
	if sub != "" {
		subType = t.label
	}
	ownList := null
	if c.ownedList != nil {
		ownList = decimal(c.ownedList)
	}
	return []export.Cell{
		null, decimal(new(big.Int)), text(account), text(account), text(kind), text("USD"), instant(periodEnd), instant(periodStart),
		null, null, text("Usage"), null, text(model + " " + c.meter), text("Usage-Based"), instant(chargeEnd), instant(chargeStart),
		null, null, null, null, null, null, null,
		decimal(c.consumed), text(c.consumedUnit), decimal(c.contractedCost), decimal(c.contractedPrice), decimal(c.effective),
		text(sells.name), null, text(sells.name), decimal(c.listCost), decimal(c.listPrice),
		text(category), text(c.currency), decimal(c.ownPrice), decimal(c.ownCost), ownList, decimal(c.quantity), text(c.pricingUnit),
		text(sells.name), text(publisherOf(r.Provider, model)), null, null, text(sku), text(model), text("Model"),
		text("AI and Machine Learning"), text(sells.service), text(sells.name), text("Generative AI"),
		text(sku), text(c.meter), text(string(details)), text(cmp.Or(c.price, "unnamed") + "@" + cmp.Or(r.PriceVersion, "unknown")),
		text(sub), text(sub), text(subType), text(tags),
		null, export.BooleanCell(false), null, export.BooleanCell(r.Metered != budget.ByProvider), text(r.ID.String()), text(r.Org), export.BooleanCell(c.listKnown), null,
		text(string(r.Outcome)), text(versions),
	}
}
