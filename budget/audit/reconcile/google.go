package reconcile

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"
)

// googleCharge is a row of Google's billing export to BigQuery, as JSON lines or as CSV with dotted names:
// https://cloud.google.com/billing/docs/how-to/export-data-bigquery-tables/standard-usage. Times are UTC, days of the invoice Pacific.
// Corrections are rows of their own, below zero. Costs are before credits.
type googleCharge struct {
	service, sku, project, start string
	cost, currency, conversion   string // conversion is what a dollar was worth in currency
	kind, amount, unit           string
	credits                      []string
}

func (r *reader) googleJSON(text json.RawMessage) error {
	var row struct {
		Service, Sku struct{ Description string }
		Project      struct{ ID string }
		Start        string      `json:"usage_start_time"`
		Cost         json.Number `json:"cost"`
		Currency     string      `json:"currency"`
		Conversion   json.Number `json:"currency_conversion_rate"`
		CostType     string      `json:"cost_type"`
		Usage        struct {
			Amount json.Number `json:"amount"`
			Unit   string      `json:"unit"`
		}
		Credits []struct {
			Amount json.Number `json:"amount"`
		}
	}
	if err := json.Unmarshal(text, &row); err != nil {
		return err
	}
	c := googleCharge{row.Service.Description, row.Sku.Description, row.Project.ID, row.Start, row.Cost.String(), row.Currency, row.Conversion.String(),
		row.CostType, row.Usage.Amount.String(), row.Usage.Unit, nil}
	for _, credit := range row.Credits {
		c.credits = append(c.credits, credit.Amount.String())
	}
	return r.googleLine(&c)
}

func (r *reader) googleRow(f fields) error {
	if !f.anyOf("sku.description", "sku_description") {
		return errors.New("no column sku.description: this is not a billing export")
	}
	c := googleCharge{f.first("service.description", "service_description"), f.first("sku.description", "sku_description"), f.first("project.id", "project_id"), f.first("usage_start_time"),
		f.first("cost"), f.first("currency"), f.first("currency_conversion_rate"), f.first("cost_type"), f.first("usage.amount", "usage_amount"), f.first("usage.unit", "usage_unit"), nil}
	return r.googleLine(&c)
}

func (r *reader) googleLine(c *googleCharge) error {
	service := strings.ToLower(c.service)
	if !strings.Contains(service, "vertex") && !strings.Contains(service, "generative language") && !strings.Contains(service, "gemini") {
		r.leaveOut("services other than Vertex AI and the Gemini API", "", "")
		return nil
	}
	cost, currency, err := r.googleUSD(c)
	if err != nil {
		return err
	}
	if c.kind != "" && c.kind != "regular" {
		r.leaveOut("lines of type "+c.kind, cost, currency)
		return nil
	}
	for _, credit := range c.credits {
		of := *c
		of.cost = credit
		amount, currency, err := r.googleUSD(&of)
		if err != nil {
			return fmt.Errorf("credits: %w", err)
		}
		r.leaveOut("credits, which are not usage", amount, currency)
	}
	at, err := r.day(c.start)
	if err != nil {
		return err
	}
	l := Line{At: at, Account: c.project, Meter: meterOf(c.sku)}
	if l.Model = googleModel(c.sku); l.Meter == "web_search" {
		l.Model = "" // its SKU names no model
	}
	if counted := strings.ToLower(c.unit); c.amount != "" && l.Meter != "" && (counted == "count" || strings.Contains(counted, "token")) {
		if l.Quantity, err = number(c.amount); err != nil {
			return fmt.Errorf("usage: %w", err)
		}
	}
	if err := r.cost(&l, cost, currency); err != nil {
		return err
	}
	if cost != c.cost {
		l.Places = places(c.cost)
	}
	r.add(l)
	return nil
}

// googleUSD is the cost of a row in dollars where the row itself says what a dollar was worth, and nobody said otherwise.
func (r *reader) googleUSD(c *googleCharge) (cost, currency string, err error) {
	if c.currency == "" || strings.EqualFold(c.currency, "USD") || r.Rates[strings.ToUpper(c.currency)] != nil || c.conversion == "" {
		return c.cost, c.currency, nil
	}
	n, err := number(c.cost)
	if err != nil {
		return "", "", fmt.Errorf("cost: %w", err)
	}
	rate, err := number(c.conversion)
	if err != nil || rate.Sign() <= 0 {
		return "", "", fmt.Errorf("currency_conversion_rate %.60q is no rate", c.conversion)
	}
	return new(big.Rat).Quo(n, rate).FloatString(18), "USD", nil
}

var (
	// googleGemini finds the model in "Generate content input token count gemini 2.5 flash lite short input text" and "Gemini 2.5 Flash GA Text Input - Predictions".
	googleGemini = regexp.MustCompile(`(?i)gemini[- ](embedding([- ][0-9]+)?|[0-9]+(\.[0-9]+)?[- ](pro|flash)([- ]lite)?([- ]preview)?)`)
	googleMeter  = regexp.MustCompile(`(?i)\b(text|audio|image|video|input|output|thinking|reasoning|cached|caching|context|predictions?|generate|token|batch|long|short|ga|global)\b.*$`)
)

// googleModel is the model that a SKU names.
func googleModel(sku string) string {
	if model := googleGemini.FindString(sku); model != "" {
		return model
	}
	return strings.Trim(googleMeter.ReplaceAllString(sku, ""), " -_")
}
