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
		More   bool              `json:"has_more"`
		Next   string            `json:"next_page"`
	}
	if err := json.Unmarshal(page, &p); err != nil {
		return err
	}
	buckets := p.Data
	if p.Object == "bucket" {
		buckets = []json.RawMessage{page}
	} else {
		r.page(p.More, p.Next)
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
		Quantity   json.RawMessage `json:"quantity"` // of costs: tokens of the line item
		LineItem   string          `json:"line_item"`
		ProjectID  string          `json:"project_id"`
		Model      string          `json:"model"`
		Seconds    int64           `json:"seconds"`
		Characters int64           `json:"characters"`
		Images     int64           `json:"images"`
		openaiTokens
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
		if n, err := number(strings.Trim(string(u.Quantity), `"`)); err == nil && strings.Contains(u.LineItem, ", ") && l.Meter != "" {
			l.Quantity = n
		}
		r.add(l)
		return nil
	}
	of, err := u.meters()
	if err != nil {
		return err
	}
	of["input_seconds"], of["characters"], of["images"] = u.Seconds, u.Characters, u.Images
	return r.quantities(l, of)
}

// openaiTokens are the counts of a usage result. Those of text and images are told since 2026: then input_tokens are of all kinds,
// cached, written to a cache or neither, and those of a kind are neither. Before, input_tokens and output_tokens were of text, and audio came on top.
type openaiTokens struct {
	Input       int64  `json:"input_tokens"`
	Cached      int64  `json:"input_cached_tokens"`
	Output      int64  `json:"output_tokens"`
	Audio       int64  `json:"input_audio_tokens"`
	OutputAudio int64  `json:"output_audio_tokens"`
	Text        *int64 `json:"input_text_tokens"`
	Image       int64  `json:"input_image_tokens"`
	CachedAudio int64  `json:"input_cached_audio_tokens"`
	CachedImage int64  `json:"input_cached_image_tokens"`
	Written     int64  `json:"input_cache_write_tokens"`     // kept for 30 minutes
	WrittenLong int64  `json:"input_cache_write_12h_tokens"` // for 12 hours
	OutputText  *int64 `json:"output_text_tokens"`
	OutputImage int64  `json:"output_image_tokens"`
}

func (t *openaiTokens) meters() (map[string]int64, error) {
	if t.Cached > t.Input {
		return nil, fmt.Errorf("input_cached_tokens %d are more than input_tokens %d", t.Cached, t.Input)
	}
	of := map[string]int64{"input": t.Input - t.Cached - t.Written - t.WrittenLong, "cached_input": t.Cached - t.CachedAudio - t.CachedImage, "output": t.Output, "input_audio": t.Audio, "output_audio": t.OutputAudio,
		"input_image": t.Image, "cached_input_audio": t.CachedAudio, "cached_input_image": t.CachedImage, "cache_write_5m": t.Written, "cache_write_1h": t.WrittenLong, "output_image": t.OutputImage}
	if t.Text != nil {
		of["input"] = *t.Text
	}
	if t.OutputText != nil {
		of["output"] = *t.OutputText
	}
	return of, nil
}

// openaiItem reads "gpt-4o-2024-08-06, cached input", "priority | gpt-5.6-sol, output, long context", "gpt-audio-mini audio, input",
// "Web search tool calls | gpt-4o" and "web search tool calls": what line items were seen to be.
func openaiItem(item string) (model, meter string) {
	if name, of, ok := strings.Cut(item, " | "); ok {
		if m := meterOf(name); m != "" {
			return of, m
		}
		item = of // of a service tier
	}
	model, words, ok := strings.Cut(item, ", ")
	if !ok {
		if m := meterOf(item); strings.HasSuffix(strings.ToLower(item), "tool calls") && m != "" {
			return "", m
		}
		return item, ""
	}
	kind := ""
	for _, k := range []string{" audio", " image", " text"} {
		if name, is := strings.CutSuffix(model, k); is {
			model, kind = name, k
		}
	}
	return model, meterOf(words + kind)
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
	case has("cach", "storage"):
		return "cache_storage"
	case has("cache", "1h"), has("cache write", "1 hour"):
		return "cache_write_1h"
	case has("cache", "creation"), has("cache", "write"):
		return "cache_write_5m"
	case has("uncached", "input"), has("input", "no cache"):
		return "input"
	case has("cach", "audio"):
		return "cached_input_audio"
	case has("cach", "image"):
		return "cached_input_image"
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
	n, err := counts(f, "input_tokens", "input_cached_tokens", "output_tokens", "input_audio_tokens", "output_audio_tokens", "input_text_tokens", "input_image_tokens",
		"input_cached_audio_tokens", "input_cached_image_tokens", "input_cache_write_tokens", "input_cache_write_12h_tokens", "output_text_tokens", "output_image_tokens")
	if err != nil {
		return err
	}
	t := openaiTokens{Input: n[0], Cached: n[1], Output: n[2], Audio: n[3], OutputAudio: n[4], Image: n[6], CachedAudio: n[7], CachedImage: n[8], Written: n[9], WrittenLong: n[10], OutputImage: n[12]}
	if f.first("input_text_tokens") != "" {
		t.Text = &n[5]
	}
	if f.first("output_text_tokens") != "" {
		t.OutputText = &n[11]
	}
	of, err := t.meters()
	if err != nil {
		return err
	}
	return r.quantities(l, of)
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
