package source

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"keel/pricing"
	"keel/pricing/meter"
)

// liteLLMUnits are the keys of LiteLLM that a meter counts, without tier and context size.
var liteLLMUnits = map[string]unit{
	"input_cost_per_token": {meter.Input, 1}, "cache_read_input_token_cost": {meter.CachedInput, 1},
	"cache_creation_input_token_cost": {meter.CacheWrite5m, 1}, "cache_creation_input_token_cost_above_1hr": {meter.CacheWrite1h, 1},
	"input_cost_per_audio_token": {meter.InputAudio, 1}, "cache_read_input_audio_token_cost": {meter.CachedInputAudio, 1},
	"input_cost_per_image_token": {meter.InputImage, 1}, "cache_read_input_image_token_cost": {meter.CachedInputImage, 1},
	"input_cost_per_video_token": {meter.InputVideo, 1}, "output_cost_per_token": {meter.Output, 1}, "output_cost_per_reasoning_token": {meter.Reasoning, 1},
	"output_cost_per_audio_token": {meter.OutputAudio, 1}, "output_cost_per_image_token": {meter.OutputImage, 1}, "output_cost_per_video_token": {meter.OutputVideo, 1},
	"code_interpreter_cost_per_session": {meter.CodeInterpreter, 1}, "file_search_cost_per_1k_calls": {meter.FileSearch, thousand},
	"input_cost_per_request": {meter.Calls, 1}, "ocr_cost_per_page": {meter.Pages, 1}, "input_cost_per_character": {meter.Characters, 1},
	"input_cost_per_second": {meter.InputSeconds, 1}, "output_cost_per_image": {meter.Images, 1},
}

// liteLLMLeftOut are keys without a meter of their own that leave the rest of a
// price true: what they price is not told apart by a meter, is not a call's, or
// is in a tier or of a modality that then has no price.
var liteLLMLeftOut = regexp.MustCompile(`^(annotation_cost_per_page.*|ocr_cost_per_page_batches|computer_use_.*|vector_store_.*|file_search_cost_per_gb_per_day|google_maps_grounding_.*|citation_cost_per_token|` +
	`guardrail_.*|input_cost_per_(image|pixel|text_message|token_cache_hit|query|audio_per_second.*|video_per_second.*)|output_cost_per_(image_.*|pixel|second.*|video_per_second|character.*)|` +
	`cache_creation_input_(audio_token_cost.*|token_cost_above_12hr.*)|explicit_cache_read_.*|cost_per_second|(in|out)put_dbu_cost_per_token|.*_(ultrafast|balanced|decisions))$`)

// liteLLMTiers are what LiteLLM puts behind the keys of a service tier.
var liteLLMTiers = []struct{ suffix, tier string }{{"_batches", "batch"}, {"_flex", "flex"}, {"_priority", "priority"}}

var aboveTokens = regexp.MustCompile(`_above_([0-9]{1,6})k_tokens`)

func (in *Imported) liteLLM(text []byte) error {
	var models map[string]map[string]jsontext.Value
	// LiteLLM writes some keys of a model twice; the last one counts there, as in Python.
	if err := json.Unmarshal(text, &models, jsontext.AllowDuplicateNames(true)); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(models)) {
		if key != "sample_spec" {
			in.liteLLMModel(key, models[key])
		}
	}
	return nil
}

func (in *Imported) liteLLMModel(key string, fields map[string]jsontext.Value) {
	listed := word(fields["litellm_provider"])
	provider, model, region := place(key, listed)
	if model == "" {
		in.skipWhole(provider, key, "", "the name has a part (size, commitment, quality) that no terms of a call have")
		return
	}
	tiers := map[string]curves{"": {}}
	for _, l := range liteLLMTiers {
		tiers[l.tier] = curves{}
	}
	var search map[string]pricing.PicoUSD
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		value := fields[name]
		switch {
		case name == "tiered_pricing":
			if err := tieredPricing(value, tiers[""]); err != nil {
				in.skipWhole(provider, model, name, "%v", err)
				return
			}
			continue
		case name == "search_context_cost_per_query":
			var err error
			if search, err = searchCosts(value); err != nil {
				in.skip(provider, model, name, "%v", err)
			}
			continue
		case !strings.Contains(name, "cost") || value.Kind() == 'n':
			continue
		}
		base, tier, above := liteLLMKey(name)
		u, found := liteLLMUnits[base]
		switch {
		case name == "input_cost_per_query" && word(fields["mode"]) == "rerank":
			u, found = unit{meter.SearchUnits, 1}, true
		case name == "output_cost_per_second" && fields["input_cost_per_second"] != nil:
			continue // LiteLLM states the second of a transcription on both sides
		}
		if !found {
			if liteLLMLeftOut.MatchString(name) {
				in.skip(provider, model, name, "no meter counts this apart")
				continue
			}
			in.skipWhole(provider, model, name, "unknown key")
			return
		}
		r, err := rate(value, u.units)
		if err != nil {
			in.skipWhole(provider, model, name, "%v", err)
			return
		}
		if tiers[tier][u.kind] == nil {
			tiers[tier][u.kind] = map[int64]pricing.PicoUSD{}
		}
		tiers[tier][u.kind][above] = r
	}
	in.liteLLMRows(pricing.Price{Provider: provider, Model: model, Region: region}, tiers, search)
}

// liteLLMRows adds the rows of a model: each tier, and each size of search context where those differ.
func (in *Imported) liteLLMRows(p pricing.Price, tiers map[string]curves, search map[string]pricing.PicoUSD) {
	if !tiers[""].anyRate() && len(search) == 0 {
		in.skipWhole(p.Provider, p.Model, "", "every rate is 0, which the list also writes where it knows none")
		return
	}
	kind := meter.WebSearch
	if p.Provider == "perplexity" {
		kind = meter.Calls // a fee for the request, searching or not
	}
	for tier, rates := range tiers {
		if tier != "" && len(rates) == 0 {
			continue
		}
		rates := rates.over(tiers[""])
		p.ServiceTier = tier
		for size, fee := range search {
			p.SearchContext = size
			rates[kind] = map[int64]pricing.PicoUSD{0: fee}
			in.liteLLMRow(p, rates)
		}
		if len(search) == 0 {
			p.SearchContext = ""
			in.liteLLMRow(p, rates)
		}
	}
}

func (in *Imported) liteLLMRow(p pricing.Price, rates curves) {
	for kind, curve := range rates {
		if _, base := curve[0]; !base {
			in.skipWhole(p.Provider, p.Model, kind.String(), "a rate for long input without one for short input%s", terms(&p))
			return
		}
	}
	p.Tiers = rates.steps()
	if err := p.Check(); err != nil {
		in.skipWhole(p.Provider, p.Model, "", "%v", err)
		return
	}
	in.Prices = append(in.Prices, p)
}

// liteLLMKey splits a key into what it prices, its service tier, and the input tokens that it starts above.
func liteLLMKey(name string) (base, tier string, above int64) {
	base = name
	for _, l := range liteLLMTiers {
		if cut, found := strings.CutSuffix(base, l.suffix); found {
			base, tier = cut, l.tier
			break
		}
	}
	if m := aboveTokens.FindStringSubmatchIndex(base); m != nil {
		above, _ = strconv.ParseInt(base[m[2]:m[3]], 10, 64) // at most six digits
		base, above = base[:m[0]]+base[m[1]:], above*thousand
	}
	return base, tier, above
}

// tieredPricing reads rates that are stated by ranges of input tokens.
func tieredPricing(value jsontext.Value, into curves) error {
	var ranges []map[string]jsontext.Value
	if err := json.Unmarshal(value, &ranges, jsontext.AllowDuplicateNames(true)); err != nil {
		return err
	}
	for _, r := range ranges {
		var bounds []jsontext.Value
		if err := json.Unmarshal(r["range"], &bounds); err != nil || len(bounds) != 2 {
			return fmt.Errorf("range %.40s", r["range"])
		}
		start, err := exact(string(bounds[0]))
		if err != nil || !start.IsInt() || !start.Num().IsInt64() {
			return fmt.Errorf("range %.40s", r["range"])
		}
		for name, value := range r {
			u, found := liteLLMUnits[name]
			if name == "range" {
				continue
			}
			if !found {
				return fmt.Errorf("unknown key %s", name)
			}
			rate, err := rate(value, u.units)
			if err != nil {
				return err
			}
			if into[u.kind] == nil {
				into[u.kind] = map[int64]pricing.PicoUSD{}
			}
			into[u.kind][start.Num().Int64()] = rate
		}
	}
	return nil
}

// searchCosts reads the fee of a search by size of its context. One fee for all sizes has the key "".
func searchCosts(value jsontext.Value) (map[string]pricing.PicoUSD, error) {
	var stated map[string]jsontext.Value
	if err := json.Unmarshal(value, &stated); err != nil {
		return nil, err
	}
	fees := map[string]pricing.PicoUSD{}
	var dearest pricing.PicoUSD
	same := true
	for name, value := range stated {
		size, found := strings.CutPrefix(name, "search_context_size_")
		if !found || size != "low" && size != "medium" && size != "high" {
			return nil, fmt.Errorf("unknown key %s", name)
		}
		fee, err := rate(value, 1)
		if err != nil {
			return nil, err
		}
		for _, other := range fees {
			same = same && other == fee
		}
		fees[size], dearest = fee, max(dearest, fee)
	}
	if same && len(fees) > 0 {
		return map[string]pricing.PicoUSD{"": dearest}, nil
	}
	if len(fees) > 0 {
		fees[""] = dearest // a call that states no size: more, because the list does not say
	}
	return fees, nil
}

func word(value jsontext.Value) string {
	var s string
	if json.Unmarshal(value, &s) != nil {
		return ""
	}
	return s
}
