package reconcile

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// OpenAI's costs and usage: GET /v1/organization/costs and /v1/organization/usage/completions,
// https://platform.openai.com/docs/api-reference/usage, and the CSV files of the dashboard's export, which have the
// same fields as columns. Days are UTC.

type openaiBucket struct {
	Start   int64             `json:"start_time"`
	End     int64             `json:"end_time"`
	Results []json.RawMessage `json:"results"`
	Result  []json.RawMessage `json:"result"` // of the API's first versions
}

func (r *reader) openaiJSON(page json.RawMessage) error {
	var p struct {
		Object string            `json:"object"`
		Data   []json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(page, &p); err != nil {
		return err
	}
	buckets := p.Data
	if p.Object == "bucket" {
		buckets = []json.RawMessage{page}
	}
	if buckets == nil {
		return errors.New(`no "data": this is not an answer of /v1/organization/costs or /v1/organization/usage`)
	}
	for _, text := range buckets {
		var b openaiBucket
		if err := json.Unmarshal(text, &b); err != nil {
			return err
		}
		start := time.Unix(b.Start, 0)
		if err := bucket(start, time.Unix(b.End, 0)); err != nil {
			return err
		}
		at, err := inRange(start)
		if err != nil {
			return err
		}
		for _, result := range append(b.Results, b.Result...) {
			if err := r.openaiResult(at, result); err != nil {
				return fmt.Errorf("bucket of %s: %w", at.UTC().Format(time.DateOnly), err)
			}
		}
	}
	return nil
}

func (r *reader) openaiResult(at time.Time, text json.RawMessage) error {
	var u struct {
		Object string `json:"object"`
		Amount *struct {
			Value    json.Number `json:"value"`
			Currency string      `json:"currency"`
		} `json:"amount"`
		LineItem    string `json:"line_item"`
		ProjectID   string `json:"project_id"`
		Model       string `json:"model"`
		Input       int64  `json:"input_tokens"`
		Cached      int64  `json:"input_cached_tokens"`
		Output      int64  `json:"output_tokens"`
		InputAudio  int64  `json:"input_audio_tokens"`
		OutputAudio int64  `json:"output_audio_tokens"`
		Seconds     int64  `json:"seconds"`
		Characters  int64  `json:"characters"`
		Images      int64  `json:"images"`
	}
	if err := json.Unmarshal(text, &u); err != nil {
		return err
	}
	l := Line{At: at, Model: u.Model, Account: u.ProjectID}
	if u.Amount != nil {
		l.Model, l.Meter = openaiItem(u.LineItem)
		if err := r.cost(&l, u.Amount.Value.String(), u.Amount.Currency); err != nil {
			return err
		}
		r.add(l)
		return nil
	}
	if u.Cached > u.Input {
		return fmt.Errorf("input_cached_tokens %d are more than input_tokens %d", u.Cached, u.Input)
	}
	return r.quantities(l, map[string]int64{"input": u.Input - u.Cached, "cached_input": u.Cached, "output": u.Output, "input_audio": u.InputAudio,
		"output_audio": u.OutputAudio, "input_seconds": u.Seconds, "characters": u.Characters, "images": u.Images})
}

// openaiItem reads "gpt-4o-2024-08-06, cached input" or "Web search tool calls | gpt-4o".
func openaiItem(item string) (model, meter string) {
	if name, of, ok := strings.Cut(item, " | "); ok {
		return of, meterOf(name)
	}
	if i := strings.LastIndex(item, ", "); i >= 0 {
		if m := meterOf(item[i+2:]); m != "" {
			return item[:i], m
		}
	}
	return item, ""
}

// meterOf reads the words that providers have for meters; "" for what they do not say.
func meterOf(words string) string {
	w := strings.NewReplacer("_", " ", "-", " ", ".", " ").Replace(strings.ToLower(words))
	has := func(parts ...string) bool {
		for _, p := range parts {
			if !strings.Contains(w, p) {
				return false
			}
		}
		return true
	}
	switch {
	case has("web search"), has("grounding"):
		return "web_search"
	case has("file search"):
		return "file_search"
	case has("code interpreter"), has("code execution"):
		return "code_interpreter"
	case has("cache", "storage"):
		return "cache_storage"
	case has("cache", "1h"), has("cache write", "1 hour"):
		return "cache_write_1h"
	case has("cache", "creation"), has("cache", "write"):
		return "cache_write_5m"
	case has("uncached", "input"), has("input", "no cache"):
		return "input"
	case has("cach", "audio"):
		return "cached_input_audio"
	case has("cach"):
		return "cached_input"
	case has("audio", "output"):
		return "output_audio"
	case has("audio", "input"):
		return "input_audio"
	case has("image", "output"):
		return "output_image"
	case has("image", "input"):
		return "input_image"
	case has("video", "input"):
		return "input_video"
	case has("reasoning"), has("thinking"):
		return "reasoning"
	case has("output"), has("completion"):
		return "output"
	case has("input"), has("prompt"):
		return "input"
	}
	return ""
}

func (r *reader) openaiRow(f fields) error {
	at, err := r.day(f.first("start_time_iso", "date", "day", "usage_date", "start_time_utc"))
	if err != nil {
		var unix json.Number = json.Number(f.first("start_time", "timestamp"))
		seconds, bad := unix.Int64()
		if bad != nil {
			return err
		}
		if at, err = inRange(time.Unix(seconds, 0)); err != nil {
			return err
		}
	}
	l := Line{At: at, Account: f.first("project_id", "project"), Model: f.first("model")}
	if f.anyOf("amount_value", "amount") {
		if item := f.first("line_item"); item != "" {
			l.Model, l.Meter = openaiItem(item)
		}
		if err := r.cost(&l, f.first("amount_value", "amount"), f.first("amount_currency", "currency")); err != nil {
			return err
		}
		r.add(l)
		return nil
	}
	if !f.anyOf("input_tokens") {
		return errors.New("neither amount_value nor input_tokens: this is not an export of costs or usage")
	}
	n, err := counts(f, "input_tokens", "input_cached_tokens", "output_tokens", "input_audio_tokens", "output_audio_tokens")
	if err != nil {
		return err
	}
	if n[1] > n[0] {
		return fmt.Errorf("input_cached_tokens %d are more than input_tokens %d", n[1], n[0])
	}
	return r.quantities(l, map[string]int64{"input": n[0] - n[1], "cached_input": n[1], "output": n[2], "input_audio": n[3], "output_audio": n[4]})
}

// counts reads whole numbers; a column that is missing or empty is 0.
func counts(f fields, columns ...string) ([]int64, error) {
	all := make([]int64, len(columns))
	for i, c := range columns {
		text := strings.TrimSpace(f[c])
		if text == "" {
			continue
		}
		n, err := number(text)
		if err != nil || !n.IsInt() || !n.Num().IsInt64() || n.Sign() < 0 {
			return nil, fmt.Errorf("%s: %.60q is not a count", c, text)
		}
		all[i] = n.Num().Int64()
	}
	return all, nil
}
