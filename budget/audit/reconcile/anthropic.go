package reconcile

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Anthropic's reports: GET /v1/organizations/cost_report and /v1/organizations/usage_report/messages,
// https://platform.claude.com/docs/en/api/admin/cost_report, and the Console's CSV exports. Days are UTC. Amounts of the
// API are in cents: "123.45" is $1.23; those of the CSV are dollars.

func (r *reader) anthropicJSON(page json.RawMessage) error {
	var p struct {
		Data []struct {
			Start   time.Time         `json:"starting_at"`
			End     time.Time         `json:"ending_at"`
			Results []json.RawMessage `json:"results"`
		} `json:"data"`
		More bool   `json:"has_more"`
		Next string `json:"next_page"`
	}
	if err := json.Unmarshal(page, &p); err != nil {
		return err
	}
	if p.Data == nil {
		return errors.New(`no "data": this is not an answer of cost_report or usage_report`)
	}
	r.page(p.More, p.Next)
	for _, b := range p.Data {
		if err := bucket(b.Start, b.End); err != nil {
			return err
		}
		at, err := inRange(b.Start)
		if err != nil {
			return err
		}
		for _, result := range b.Results {
			if err := r.anthropicResult(at, result); err != nil {
				return fmt.Errorf("bucket of %s: %w", at.UTC().Format(time.DateOnly), err)
			}
		}
	}
	return nil
}

func (r *reader) anthropicResult(at time.Time, text json.RawMessage) error {
	var u struct {
		Amount    json.Number `json:"amount"`
		Currency  string      `json:"currency"`
		CostType  string      `json:"cost_type"`
		TokenType string      `json:"token_type"`
		Model     string      `json:"model"`
		Workspace string      `json:"workspace_id"`

		Uncached int64 `json:"uncached_input_tokens"`
		Creation struct {
			Hour    int64 `json:"ephemeral_1h_input_tokens"`
			Minutes int64 `json:"ephemeral_5m_input_tokens"`
		} `json:"cache_creation"`
		Read   int64 `json:"cache_read_input_tokens"`
		Output int64 `json:"output_tokens"`
		Server struct {
			WebSearch int64 `json:"web_search_requests"`
		} `json:"server_tool_use"`
	}
	if err := json.Unmarshal(text, &u); err != nil {
		return err
	}
	l := Line{At: at, Model: u.Model, Account: u.Workspace}
	if u.Amount == "" {
		return r.quantities(l, map[string]int64{"input": u.Uncached, "cached_input": u.Read, "cache_write_1h": u.Creation.Hour, "cache_write_5m": u.Creation.Minutes,
			"output": u.Output, "web_search": u.Server.WebSearch})
	}
	if l.Meter = meterOf(u.TokenType); l.Meter == "" && u.CostType != "tokens" {
		l.Meter = meterOf(u.CostType)
	}
	if err := r.cost(&l, u.Amount.String(), u.Currency); err != nil {
		return err
	}
	l.Cost.Quo(l.Cost, hundred)
	l.Places += 2
	r.add(l)
	return nil
}

func (r *reader) anthropicRow(f fields) error {
	at, err := r.day(f.first("usage_date_utc", "date", "usage_date"))
	if err != nil {
		return err
	}
	l := Line{At: at, Model: f.first("model_version", "model"), Account: f.first("workspace", "workspace_id")}
	if f.anyOf("cost_usd", "cost") {
		if l.Meter = meterOf(f.first("token_type")); l.Meter == "" {
			l.Meter = meterOf(f.first("cost_type", "usage_type"))
		}
		if err := r.cost(&l, f.first("cost_usd", "cost"), "USD"); err != nil {
			return err
		}
		r.add(l)
		return nil
	}
	if !f.anyOf("usage_input_tokens_no_cache", "usage_output_tokens") {
		return errors.New("neither cost_usd nor usage_input_tokens_no_cache: this is not an export of costs or usage")
	}
	n, err := counts(f, "usage_input_tokens_no_cache", "usage_input_tokens_cache_read", "usage_input_tokens_cache_write_5m", "usage_input_tokens_cache_write_1h",
		"usage_output_tokens", "web_search_count")
	if err != nil {
		return err
	}
	return r.quantities(l, map[string]int64{"input": n[0], "cached_input": n[1], "cache_write_5m": n[2], "cache_write_1h": n[3], "output": n[4], "web_search": n[5]})
}
