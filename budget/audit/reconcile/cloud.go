package reconcile

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"
)

// awsRow reads a line of an AWS Cost and Usage Report, by the columns of either version:
// https://docs.aws.amazon.com/cur/latest/userguide/Lineitem-columns.html ("lineItem/UsageType") and
// https://docs.aws.amazon.com/cur/latest/userguide/table-dictionary-cur2-line-item.html ("line_item_usage_type"). Days are UTC.
func (r *reader) awsRow(f fields) error {
	get := func(old, column string) string { return f.first(strings.ToLower(old), column) }
	if !f.anyOf("lineitem/usagetype", "line_item_usage_type") {
		return errors.New("no column lineItem/UsageType or line_item_usage_type: this is not a Cost and Usage Report")
	}
	name := cmp.Or(get("product/ProductName", "product_product_name"), mapValue(f.first("product"), "product_name"))
	product := strings.ToLower(strings.Join([]string{get("lineItem/ProductCode", "line_item_product_code"), get("product/servicecode", "product_servicecode"), name}, " "))
	kind := get("lineItem/UsageType", "line_item_usage_type")
	cost, currency := get("lineItem/UnblendedCost", "line_item_unblended_cost"), get("lineItem/CurrencyCode", "line_item_currency_code")
	if !strings.Contains(product, "bedrock") {
		r.leaveOut("lines of products other than Bedrock", "", "")
		return nil
	}
	if what := get("lineItem/LineItemType", "line_item_line_item_type"); what != "" && what != "Usage" && what != "DiscountedUsage" {
		r.leaveOut("lines of type "+what, cost, currency)
		return nil
	}
	at, err := r.day(get("lineItem/UsageStartDate", "line_item_usage_start_date"))
	if err != nil {
		return err
	}
	l := Line{At: at, Account: get("lineItem/UsageAccountId", "line_item_usage_account_id"), Meter: meterOf(awsWords(kind)), Model: awsModel(kind)}
	sold := strings.Contains(kind, "MP:") || strings.HasSuffix(name, "(Amazon Bedrock Edition)")
	if sold { // through the Marketplace: the product is the model
		l.Model, _, _ = strings.Cut(name, " (")
	}
	if amount := get("lineItem/UsageAmount", "line_item_usage_amount"); amount != "" && l.Meter != "" && !strings.Contains(kind, "ImageCount") {
		if l.Quantity, err = number(amount); err != nil {
			return fmt.Errorf("usage amount: %w", err)
		}
		if l.Quantity.Sign() < 0 {
			return fmt.Errorf("usage amount %s is below zero", amount)
		}
		unit := get("pricing/unit", "pricing_unit")
		if sold && strings.HasSuffix(kind, "-Units") && (unit == "" || strings.EqualFold(unit, "Units")) {
			unit = "1M tokens" // what a "unit" of a model is that is sold so: its price is that of a million
		}
		l.Quantity.Mul(l.Quantity, unitSize(unit))
	}
	if err := r.cost(&l, cost, currency); err != nil {
		return err
	}
	r.add(l)
	return nil
}

// mapValue is a value of a column of CUR 2.0 that is a map, which its CSV has as JSON.
func mapValue(column, key string) string {
	var values map[string]string
	if json.Unmarshal([]byte(column), &values) != nil {
		return ""
	}
	return values[key]
}

// unitSize is how many units "1K tokens" and "1M tokens" are.
func unitSize(unit string) *big.Rat {
	u := strings.ToLower(strings.ReplaceAll(unit, " ", ""))
	switch {
	case strings.HasPrefix(u, "1ktoken"), strings.HasPrefix(u, "1000token"), strings.HasPrefix(u, "ktoken"):
		return big.NewRat(1000, 1)
	case strings.HasPrefix(u, "1mtoken"), strings.HasPrefix(u, "1milliontoken"), strings.HasPrefix(u, "mtoken"):
		return big.NewRat(1_000_000, 1)
	}
	return big.NewRat(1, 1)
}

// awsRegion is the prefix of a usage type: "USE1-".
var (
	awsRegion = regexp.MustCompile(`^[A-Z]{2,4}[0-9]?-`)
	awsMeter  = regexp.MustCompile(`(?i)([-_ ]mantle)?[-_ ]?(cache[-_ ]?(read|write)[-_ ]?)?(input|output|cache)[-_ ]?(token|image|video|audio)?.*$`)
)

// awsWords spells usage types like "CacheReadInputTokenCount" out.
func awsWords(kind string) string {
	var b strings.Builder
	for i, c := range kind {
		if i > 0 && c >= 'A' && c <= 'Z' && kind[i-1] >= 'a' && kind[i-1] <= 'z' {
			b.WriteByte(' ')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// awsModel is the model of "USE1-Claude3.5Sonnet-input-tokens".
func awsModel(kind string) string {
	return strings.Trim(awsMeter.ReplaceAllString(awsRegion.ReplaceAllString(kind, ""), ""), "-_ ")
}

// OpenRouter's activity: GET /api/v1/activity and the CSV of the activity page,
// https://openrouter.ai/docs/api-reference/analytics/get-activity. Days are UTC.
func (r *reader) openrouterJSON(text json.RawMessage) error {
	var page struct {
		Data []json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(text, &page); err != nil {
		return err
	}
	if page.Data == nil {
		return r.openrouterActivity(text)
	}
	for _, one := range page.Data {
		if err := r.openrouterActivity(one); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) openrouterActivity(text json.RawMessage) error {
	var a map[string]any
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	if err := d.Decode(&a); err != nil {
		return err
	}
	f := make(fields)
	for k, v := range a {
		if v != nil {
			f[k] = fmt.Sprint(v)
		}
	}
	return r.openrouterRow(f)
}

func (r *reader) openrouterRow(f fields) error {
	at, err := r.day(f.first("date", "created_at"))
	if err != nil {
		return err
	}
	if !f.anyOf("usage", "cost_total", "cost") {
		return errors.New("neither usage nor cost_total: this is not an export of activity")
	}
	// Tokens are told by call, the cost for all of them: a line for each, and the cost without a meter would be two
	// granularities, so only the cost is compared.
	l := Line{At: at, Model: f.first("model_permaslug", "model"), Account: f.first("api_key_name", "app_name")}
	if err := r.cost(&l, f.first("usage", "cost_total", "cost"), "USD"); err != nil {
		return err
	}
	if byok := f.first("byok_usage_inference"); byok != "" && strings.Trim(byok, "0.") != "" {
		r.leaveOut("usage with keys of your own, which their providers bill", byok, "USD")
	}
	r.add(l)
	return nil
}
