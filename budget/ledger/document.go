package ledger

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"keel/budget"
	"keel/pricing"
)

// A document is one row of a config table: its key, its version, and its
// other columns as Postgres' to_jsonb shows them. The config database, its
// history and the cache file keep documents in this one form.
type document struct {
	Kind    budget.Kind     `json:"kind"`
	Org     string          `json:"org"`
	Name    string          `json:"name"`
	Version int64           `json:"version"`
	Columns json.RawMessage `json:"columns"`
}

// table is where the documents of a kind are.
type table struct {
	kind    budget.Kind
	name    string
	columns []string // quoted where SQL reserves the word
}

var tables = []table{
	{budget.KindBudget, "budgets", []string{"selector", "limit_usd", `"window"`, "timezone", "mode", "hold", "tiers", "per", "template", "offline", "offline_debt_usd", "cut"}},
	{budget.KindRoute, "routes", []string{"models", "mode", "targets", "min_quality", "max_attempts"}},
	{budget.KindPolicy, "policies", []string{`"when"`, `"do"`}},
	{budget.KindExchangeRate, "exchange_rates", []string{`"from"`, `"to"`, "rate", "effective_from"}},
	{budget.KindPrice, "prices", []string{"provider", "model", "effective_from", "contract", "service_tier", "region", "search_context", "daily", "currency", "rates"}},
	{budget.KindSubject, "subjects", []string{"label", `"from"`, "pseudonym"}},
	{budget.KindSettings, "settings", []string{"unknown", "malformed", "offline", "durability", "max_attempts", "unknown_attempt", "output_floor", "policies"}},
}

func tableOf(kind budget.Kind) (table, error) {
	for _, t := range tables {
		if t.kind == kind {
			return t, nil
		}
	}
	return table{}, invalidf("unknown kind of document %q", kind)
}

// upsert returns the statement that stores documents: their orgs ($1), names ($2) and columns ($3).
func (t table) upsert() string {
	set, from := make([]string, len(t.columns)), make([]string, len(t.columns))
	for i, c := range t.columns {
		set[i], from[i] = c+" = excluded."+c, "r."+c
	}
	return fmt.Sprintf(`insert into keel.%[1]s (org, name, %[2]s)
select d.org, d.name, %[3]s from unnest($1::text[], $2::text[], $3::text[]) with ordinality d (org, name, columns, n)
cross join lateral jsonb_populate_record(null::keel.%[1]s, d.columns::jsonb) r order by d.n
on conflict (org, name) do update set %[4]s`, t.name, strings.Join(t.columns, ", "), strings.Join(from, ", "), strings.Join(set, ", "))
}

// encodeDocuments turns documents into rows, in the order of tables, then org and name.
func encodeDocuments(docs budget.Documents) ([]document, error) {
	var rows []document
	var errs []error
	add := func(kind budget.Kind, m budget.Meta, columns any) {
		raw, err := json.Marshal(columns)
		if err == nil && m.Name == "" {
			err = errors.New("no name")
		}
		if err != nil {
			errs = append(errs, invalidf("%s %q: %w", kind, m.Name, err))
			return
		}
		if m.Org == "" {
			m.Org = budget.DefaultOrg
		}
		rows = append(rows, document{kind, m.Org, m.Name, m.Version, raw})
	}
	for _, b := range docs.Budgets {
		tiers := make([]tierColumns, 0, len(b.Tiers))
		for _, t := range b.Tiers {
			tiers = append(tiers, tierColumns{strconv.Itoa(t.AtPercent) + "%", t.Do})
		}
		selector := maps.Clone(b.Selector)
		if selector == nil {
			selector = map[string]string{}
		}
		columns := budgetColumns{
			Selector: selector, Limit: json.Number(b.Limit.String()), Window: b.Window, Timezone: orElse(b.Timezone, "UTC"),
			Mode: orElse(b.Mode, budget.Enforce), Hold: orElse(b.Hold, budget.HoldBound), Tiers: tiers, Per: append([]string{}, b.Per...), Template: b.Template,
			Cut: orElse(b.Cut, budget.CutNow),
		}
		if b.Offline != "" {
			columns.Offline = &b.Offline
		}
		if b.OfflineDebt != nil {
			columns.OfflineDebt = number(b.OfflineDebt.String())
		}
		add(budget.KindBudget, b.Meta, columns)
	}
	for _, r := range docs.Routes {
		targets := make([]targetColumns, 0, len(r.Targets))
		for _, t := range r.Targets {
			targets = append(targets, targetColumns{t.Provider, t.Model, number(t.Quality), t.Lacks, t.Credential})
		}
		add(budget.KindRoute, r.Meta, routeColumns{append([]string{}, r.Models...), orElse(r.Mode, budget.Enforce), targets, number(r.MinQuality), stated(r.MaxAttempts)})
	}
	for _, p := range docs.Policies {
		do := doAction{Deny: p.Do.Deny, Route: p.Do.Route, Warn: p.Do.Warn, Tag: p.Do.Tag}
		if c := p.Do.Constraint; p.Do.MaxOutputTokens != 0 || c != (budget.Constraint{}) {
			do.Constrain = &constrain{p.Do.MaxOutputTokens, c.Choices, c.Tools, c.Effort, c.ServiceTier}
		}
		if w := p.Do.Watch; w != nil {
			do.Watch = &watch{json.Number(w.Extend.String()), orElse(w.End, budget.WatchFinish)}
		}
		add(budget.KindPolicy, p.Meta, policyColumns{p.When, do})
	}
	for _, x := range docs.ExchangeRates {
		add(budget.KindExchangeRate, x.Meta, exchangeColumns{x.From, x.To, json.Number(x.Rate.String()), finite(x.EffectiveFrom)})
	}
	for _, p := range docs.Prices {
		add(budget.KindPrice, p.Meta, encodePrice(p.Price))
	}
	for _, s := range docs.Subjects {
		add(budget.KindSubject, s.Meta, subjectColumns{s.Label, fromSource(s.From), s.Pseudonym})
	}
	for _, s := range docs.Settings {
		add(budget.KindSettings, s.Meta, settingsColumns{orElse(s.Unknown, budget.UnknownPass), orElse(s.Malformed, budget.UnknownDeny),
			orElse(s.Offline, budget.OfflineDeny), orElse(s.Durability, budget.DurabilityOS),
			max(s.MaxAttempts, 1), orElse(s.UnknownAttempt, budget.ChargeFull), cmp.Or(s.OutputFloor, budget.DefaultOutputFloor), orElse(s.Policies, budget.PoliciesAll)})
	}
	return rows, errors.Join(errs...)
}

func orElse[T ~string](v, otherwise T) T {
	if v == "" {
		return otherwise
	}
	return v
}

// stated is null for 0, which stands for what was not stated.
func stated(n int64) *int64 {
	if n == 0 {
		return nil
	}
	return &n
}

func number(s string) *json.Number {
	if s == "" {
		return nil
	}
	n := json.Number(s)
	return &n
}

func written(n *json.Number, otherwise string) string {
	if n == nil {
		return otherwise
	}
	return n.String()
}

// decodeDocuments is the inverse of encodeDocuments. Columns that it does not
// know are refused: they are of a newer schema and may change what a document means.
func decodeDocuments(rows []document) (budget.Documents, error) {
	var docs budget.Documents
	var errs []error
	for _, row := range rows {
		if err := row.decode(&docs); err != nil {
			errs = append(errs, invalidf("%s %s/%s version %d: %w", row.Kind, row.Org, row.Name, row.Version, err))
		}
	}
	return docs, errors.Join(errs...)
}

func (r document) decode(docs *budget.Documents) error {
	meta := budget.Meta{Org: r.Org, Name: r.Name, Version: r.Version}
	switch r.Kind {
	case budget.KindBudget:
		var c budgetColumns
		if err := r.columns(&c); err != nil {
			return err
		}
		limit, err := pricing.ParseUSD(c.Limit.String())
		if err != nil {
			return fmt.Errorf("limit_usd: %w", err)
		}
		b := budget.Budget{Meta: meta, Selector: c.Selector, Limit: limit, Window: c.Window, Timezone: c.Timezone, Mode: c.Mode, Hold: c.Hold, Template: c.Template}
		for _, t := range c.Tiers {
			at, err := strconv.Atoi(strings.TrimSuffix(t.At, "%"))
			if err != nil {
				return fmt.Errorf("tiers: at %q is not a percentage", t.At)
			}
			b.Tiers = append(b.Tiers, budget.Tier{AtPercent: at, Do: t.Do})
		}
		if len(c.Per) > 0 {
			b.Per = c.Per
		}
		b.Cut = orElse(c.Cut, budget.CutNow)
		if c.Offline != nil {
			b.Offline = *c.Offline
		}
		if c.OfflineDebt != nil {
			debt, err := pricing.ParseUSD(c.OfflineDebt.String())
			if err != nil {
				return fmt.Errorf("offline_debt_usd: %w", err)
			}
			b.OfflineDebt = &debt
		}
		docs.Budgets = append(docs.Budgets, b)
	case budget.KindRoute:
		var c routeColumns
		if err := r.columns(&c); err != nil {
			return err
		}
		route := budget.Route{Meta: meta, Models: c.Models, Mode: c.Mode, MinQuality: written(c.MinQuality, "")}
		if c.MaxAttempts != nil {
			route.MaxAttempts = *c.MaxAttempts
		}
		for _, t := range c.Targets {
			route.Targets = append(route.Targets, budget.Target{Provider: t.Provider, Model: t.Model, Quality: written(t.Quality, "1"), Lacks: t.Lacks, Credential: t.Credential})
		}
		docs.Routes = append(docs.Routes, route)
	case budget.KindPolicy:
		var c policyColumns
		if err := r.columns(&c); err != nil {
			return err
		}
		p := budget.Policy{Meta: meta, When: c.When, Do: budget.PolicyAction{Deny: c.Do.Deny, Route: c.Do.Route, Warn: c.Do.Warn, Tag: c.Do.Tag}}
		if c.Do.Constrain != nil {
			k := c.Do.Constrain
			p.Do.MaxOutputTokens, p.Do.Constraint = k.MaxOutputTokens, budget.Constraint{Choices: k.Choices, Tools: k.Tools, Effort: k.Effort, ServiceTier: k.ServiceTier}
		}
		if w := c.Do.Watch; w != nil {
			p.Do.Watch = &budget.Watch{End: orElse(w.End, budget.WatchFinish)}
			if w.Extend != "" {
				extend, err := pricing.ParseMoney(w.Extend.String() + " USD")
				if err != nil {
					return fmt.Errorf("do.watch.extend_usd: %w", err)
				}
				p.Do.Watch.Extend = extend
			}
		}
		docs.Policies = append(docs.Policies, p)
	case budget.KindExchangeRate:
		var c exchangeColumns
		if err := r.columns(&c); err != nil {
			return err
		}
		x, err := c.exchange()
		if err != nil {
			return err
		}
		docs.ExchangeRates = append(docs.ExchangeRates, budget.ExchangeRate{Meta: meta, Exchange: x})
	case budget.KindPrice:
		var c priceColumns
		if err := r.columns(&c); err != nil {
			return err
		}
		p, err := c.price()
		if err != nil {
			return err
		}
		docs.Prices = append(docs.Prices, budget.Price{Meta: meta, Price: p})
	case budget.KindSubject:
		var c subjectColumns
		if err := r.columns(&c); err != nil {
			return err
		}
		docs.Subjects = append(docs.Subjects, budget.SubjectRule{Meta: meta, Label: c.Label, From: budget.Source(c.From), Pseudonym: c.Pseudonym})
	case budget.KindSettings:
		var c settingsColumns
		if err := r.columns(&c); err != nil {
			return err
		}
		docs.Settings = append(docs.Settings, budget.Settings{Meta: meta, Unknown: c.Unknown, Malformed: c.Malformed, Offline: c.Offline, Durability: c.Durability,
			MaxAttempts: c.MaxAttempts, UnknownAttempt: c.UnknownAttempt, OutputFloor: c.OutputFloor, Policies: c.Policies})
	default:
		return errors.New("unknown kind of document")
	}
	return nil
}

func (r document) columns(into any) error {
	d := json.NewDecoder(strings.NewReader(string(r.Columns)))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// DocumentTables are the tables of schema keel that hold documents, by kind.
func DocumentTables() map[budget.Kind]string {
	all := make(map[budget.Kind]string, len(tables))
	for _, t := range tables {
		all[t.kind] = t.name
	}
	return all
}
