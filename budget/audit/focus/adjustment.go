package focus

import (
	"math/big"

	"keel/budget/audit/export"
	"keel/budget/audit/spend"
)

// adjustment is the row of an accepted true-up: ChargeCategory "Adjustment", which FOCUS 1.2 has for charges that are in no
// other category; it is no usage, because a statement's difference has no quantity that was consumed. ChargeClass is
// "Correction" where the month was over when it was accepted, and null within the month, as the specification asks. What
// FOCUS lets be null for such charges is: unit prices, quantities and SKUs; ConsumedQuantity must be. Costs are what is added to
// those of the calls. https://focus.finops.org/focus-specification/v1-2/, "Charge Category", "Charge Class", "Consumed Quantity", "SKU ID"
func (t *table) adjustment(a *spend.Adjustment) []export.Cell {
	text := export.TextCell
	amount := export.DecimalCell(new(big.Int).Mul(big.NewInt(int64(a.Amount)), perNano))
	account, kind := t.account(a.Provider, a.Org)
	monthStart, monthEnd := month(a.Day)
	dayEnd := a.Day.AddDate(0, 0, 1)
	class, subType := "", ""
	if !a.At.Before(monthEnd) {
		class = "Correction"
	}
	if a.Account != "" {
		subType = "Provider account"
	}
	sells := sellerOf(a.Provider)
	resourceID, resourceType := "", ""
	if a.Model != "" {
		resourceID, resourceType = a.Provider+"/"+a.Model, "Model"
	}
	cells := map[string]export.Cell{
		"BilledCost": export.DecimalCell(new(big.Int)), "BillingAccountId": text(account), "BillingAccountName": text(account), "BillingAccountType": text(kind), "BillingCurrency": text("USD"),
		"BillingPeriodEnd": export.InstantCell(&monthEnd), "BillingPeriodStart": export.InstantCell(&monthStart), "ChargePeriodEnd": export.InstantCell(&dayEnd), "ChargePeriodStart": export.InstantCell(&a.Day),
		"ChargeCategory": text("Adjustment"), "ChargeClass": text(class), "ChargeFrequency": text("One-Time"),
		"ChargeDescription": text("True-up to the statement of " + sells.name + ": " + a.Cause),
		"ContractedCost":    amount, "EffectiveCost": amount, "ListCost": amount, "PricingCurrencyEffectiveCost": amount, "PricingCurrency": text("USD"),
		"HostProviderName": text(sells.name), "InvoiceIssuerName": text(sells.name), "ProviderName": text(sells.name), "ServiceProviderName": text(sells.name), "PublisherName": text(publisherOf(a.Provider, a.Model)),
		"ResourceId": text(resourceID), "ResourceName": text(a.Model), "ResourceType": text(resourceType), "ServiceCategory": text("AI and Machine Learning"),
		"ServiceName": text(sells.service), "ServiceSubcategory": text("Generative AI"), "SubAccountId": text(a.Account), "SubAccountName": text(a.Account), "SubAccountType": text(subType), "Tags": text("{}"),
		"x_BilledCostKnown": export.BooleanCell(false), "x_Estimated": export.BooleanCell(false), "x_KeelOrg": text(a.Org), "x_ListPriceKnown": export.BooleanCell(false),
		"x_AdjustmentId": text(a.ID.String()), "x_Cause": text(a.Cause), "x_Meter": text(a.Meter),
	}
	row := make([]export.Cell, len(Columns))
	for i, c := range Columns {
		row[i] = cells[c.Name]
	}
	return row
}
