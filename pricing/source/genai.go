package source

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"keel/pricing"
	"keel/pricing/meter"
)

// unit is what a key of a list is priced by.
type unit struct {
	kind  meter.Kind
	units int64 // of the meter for one price
}

const million, thousand, hour = 1_000_000, 1_000, 3_600

// genAIUnits are the keys of genai-prices that a meter counts. pricing/catalog/generate.py has the same.
var genAIUnits = map[string]unit{
	"input_mtok": {meter.Input, million}, "cache_read_mtok": {meter.CachedInput, million},
	"cache_write_mtok": {meter.CacheWrite5m, million}, "cache_write_5m_mtok": {meter.CacheWrite5m, million}, "cache_write_1h_mtok": {meter.CacheWrite1h, million},
	"input_audio_mtok": {meter.InputAudio, million}, "cache_audio_read_mtok": {meter.CachedInputAudio, million},
	"input_image_mtok": {meter.InputImage, million}, "cache_image_read_mtok": {meter.CachedInputImage, million}, "input_video_mtok": {meter.InputVideo, million},
	"output_mtok": {meter.Output, million}, "output_reasoning_mtok": {meter.Reasoning, million}, "output_audio_mtok": {meter.OutputAudio, million},
	"output_image_mtok": {meter.OutputImage, million}, "output_video_mtok": {meter.OutputVideo, million},
	"web_searches_kcount": {meter.WebSearch, thousand}, "storage_searches_kcount": {meter.FileSearch, thousand}, "requests_kcount": {meter.Calls, thousand},
	"input_document_kpages": {meter.Pages, thousand}, "input_mchars": {meter.Characters, million},
	"input_audio_hours": {meter.InputSeconds, hour}, "audio_hours": {meter.InputSeconds, hour},
}

// genAILeftOut are keys without a meter that leave the rest of a price true.
var genAILeftOut = map[string]string{
	"input_annotated_document_kpages": "pages that are annotated too are not told apart by a meter",
	"input_text_messages_kcount":      "messages into a voice session are not calls",
}

// genAITiers are the conditions that are service tiers; "" is the standard one.
var genAITiers = map[string]string{
	"processing=batch": "batch", "speed=fast": "fast", "service_tier=fast": "fast",
	"service_tier=flex": "flex", "service_tier=priority": "priority", "service_tier=default": "",
}

// providerNames are lists' names for providers that Keel calls otherwise.
var providerNames = map[string]string{"x-ai": "xai", "aws": "bedrock", "voyageai": "voyage"}

type genAIProvider struct {
	ID     string       `json:"id"`
	Models []genAIModel `json:"models"`
}

type genAIModel struct {
	ID       string         `json:"id"`
	Match    jsontext.Value `json:"match"`
	Prices   jsontext.Value `json:"prices"`
	Variants []genAIPrice   `json:"price_variants"`
}

type genAIPrice struct {
	Constraint struct {
		StartDate string `json:"start_date"`
		StartTime string `json:"start_time"`
		EndTime   string `json:"end_time"`
	} `json:"constraint"`
	When   map[string]string         `json:"when"`
	Prices map[string]jsontext.Value `json:"prices"`
}

func (in *Imported) genAI(text []byte) error {
	var providers []genAIProvider
	if err := json.Unmarshal(text, &providers); err != nil {
		return err
	}
	for _, p := range providers {
		provider := p.ID
		if name, ok := providerNames[p.ID]; ok {
			provider = name
		}
		for i := range p.Models {
			in.genAIModel(provider, &p.Models[i])
		}
	}
	return nil
}

func (in *Imported) genAIModel(provider string, m *genAIModel) {
	names, err := globs(m.Match)
	if err != nil {
		in.skip(provider, m.ID, "match", "%v: only the name of the model is taken", err)
	}
	if !slices.Contains(names, m.ID) {
		names = append([]string{m.ID}, names...)
	}
	var base []genAIPrice
	if bytes.HasPrefix(m.Prices, []byte("[")) {
		err = json.Unmarshal(m.Prices, &base)
	} else {
		base = make([]genAIPrice, 1)
		err = json.Unmarshal(m.Prices, &base[0].Prices)
	}
	if err != nil {
		in.skipWhole(provider, m.ID, "prices", "%v", err)
		return
	}
	var standard []dated
	for i := range base {
		d, ok := in.genAIPrice(provider, m.ID, &base[i])
		if !ok {
			return // a price of which a part is unknown costs too little
		}
		standard = append(standard, d)
	}
	for _, name := range names {
		for _, d := range standard {
			in.add(provider, name, "", d)
		}
	}
	for i := range m.Variants {
		in.variant(provider, m.ID, names, standard, &m.Variants[i])
	}
}

// variant adds the rows of a condition: from its start on, and again wherever the standard price changes.
func (in *Imported) variant(provider, model string, names []string, standard []dated, v *genAIPrice) {
	var conditions []string
	for key, value := range v.When {
		conditions = append(conditions, key+"="+value)
	}
	slices.Sort(conditions)
	condition := strings.Join(conditions, ",")
	tier, known := genAITiers[condition]
	if !known {
		in.skip(provider, model, condition, "unknown condition")
		return
	}
	if tier == "" && len(v.Prices) == 0 {
		return
	}
	d, ok := in.genAIPrice(provider, model, v)
	if !ok || tier == "" || d.daily != (pricing.Hours{}) {
		in.skip(provider, model, condition, "a condition with a time of day, an unknown unit or a price for the standard tier")
		return
	}
	days := []time.Time{d.from}
	for _, s := range standard {
		if s.daily != (pricing.Hours{}) {
			in.skip(provider, model, condition, "a condition besides a time of day")
			return
		}
		if s.from.After(d.from) {
			days = append(days, s.from)
		}
	}
	for _, day := range days {
		rates := curves{}
		for _, s := range standard {
			if !s.from.After(day) {
				clear(rates)
				for kind, curve := range s.rates {
					rates[kind] = curve
				}
			}
		}
		for kind, curve := range d.rates {
			rates[kind] = curve
		}
		for _, name := range names {
			in.add(provider, name, tier, dated{from: day, rates: rates})
		}
	}
}

// genAIPrice reads one set of prices. ok is false where a part of it is unknown.
func (in *Imported) genAIPrice(provider, model string, p *genAIPrice) (d dated, ok bool) {
	d.rates = curves{}
	var err error
	if c := p.Constraint; c.StartDate != "" {
		if d.from, err = time.Parse(time.DateOnly, c.StartDate); err != nil {
			in.skipWhole(provider, model, "start_date", "%v", err)
			return d, false
		}
	} else if c.StartTime != "" || c.EndTime != "" {
		if d.daily, err = pricing.ParseHours(clock(c.StartTime) + "-" + clock(c.EndTime)); err != nil {
			in.skipWhole(provider, model, "start_time", "%v", err)
			return d, false
		}
	}
	for key, value := range p.Prices {
		if reason, found := genAILeftOut[key]; found {
			in.skip(provider, model, key, "%s", reason)
			continue
		}
		u, found := genAIUnits[key]
		if !found {
			in.skipWhole(provider, model, key, "no meter counts this unit")
			return d, false
		}
		curve, err := genAICurve(value, u.units)
		if err != nil {
			in.skipWhole(provider, model, key, "%v", err)
			return d, false
		}
		if earlier, twice := d.rates[u.kind]; twice && earlier[0] > curve[0] {
			continue // two names for one meter: the dearer counts
		}
		d.rates[u.kind] = curve
	}
	if len(d.rates) == 0 && p.When == nil {
		in.skipWhole(provider, model, "", "it states no price")
		return d, false
	}
	return d, true
}

// clock turns 16:30:00Z into 16:30.
func clock(s string) string {
	s = strings.TrimSuffix(strings.TrimSuffix(s, "Z"), "+00:00")
	if strings.Count(s, ":") == 2 {
		s = strings.TrimSuffix(s, ":00")
	}
	return s
}

func genAICurve(value jsontext.Value, units int64) (map[int64]pricing.PicoUSD, error) {
	if value.Kind() != '{' {
		rate, err := rate(value, units)
		return map[int64]pricing.PicoUSD{0: rate}, err
	}
	var tiered struct {
		Base  jsontext.Value `json:"base"`
		Tiers []struct {
			Start int64          `json:"start"`
			Price jsontext.Value `json:"price"`
		} `json:"tiers"`
	}
	if err := json.Unmarshal(value, &tiered); err != nil {
		return nil, err
	}
	curve := map[int64]pricing.PicoUSD{}
	var err error
	if curve[0], err = rate(tiered.Base, units); err != nil {
		return nil, err
	}
	for _, t := range tiered.Tiers {
		if t.Start <= 0 {
			return nil, fmt.Errorf("a tier starts at %d tokens", t.Start)
		}
		if curve[t.Start], err = rate(t.Price, units); err != nil {
			return nil, err
		}
	}
	return curve, nil
}

// rate reads a JSON number of dollars for so many units.
func rate(value jsontext.Value, units int64) (pricing.PicoUSD, error) {
	if value.Kind() != '0' {
		return 0, fmt.Errorf("%.40s is not a number", value)
	}
	dollars, err := exact(string(value))
	if err != nil {
		return 0, err
	}
	return perUnit(dollars, units)
}
