package cohere

import (
	"keel/filter/wire/walk"
	"keel/pricing/meter"
)

// counts are what a usage or a meta tells.
type counts struct {
	billed, all    tally
	cached         int64
	search, images int64 // billed one by one
	none           bool  // there is no count at all
}

// tally is billed_units or tokens.
type tally struct {
	input, output, image, reasoning int64
	told                            bool // there is an input or an output
}

func (k *counts) count(c *walk.Cursor, n *int64) error {
	v, ok, err := c.Count()
	if ok {
		*n, k.none = v, false
	}
	return err
}

// read reads a usage or meta.
func (k *counts) read(c *walk.Cursor) error {
	*k = counts{none: true}
	return c.Object(func(key []byte) error {
		switch string(key) {
		case "billed_units":
			return c.Object(func(key []byte) error {
				switch string(key) {
				case "search_units":
					return k.count(c, &k.search)
				case "images":
					return k.count(c, &k.images)
				}
				return k.tally(c, key, &k.billed)
			})
		case "tokens":
			return c.Object(func(key []byte) error { return k.tally(c, key, &k.all) })
		case "cached_tokens":
			return k.count(c, &k.cached)
		}
		return nil
	})
}

func (k *counts) tally(c *walk.Cursor, key []byte, t *tally) error {
	switch string(key) {
	case "input_tokens":
		t.told = true
		return k.count(c, &t.input)
	case "output_tokens":
		t.told = true
		return k.count(c, &t.output)
	case "image_tokens":
		return k.count(c, &t.image)
	case "reasoning_tokens":
		return k.count(c, &t.reasoning)
	}
	return nil
}

// usage makes meters of the counts. Of everything that came in (tokens), only
// billed_units is billed; the rest is Cohere's own prompt. Where there is but one of the
// two, that is all. Measured on recorded traffic: image_tokens
// stand beside tokens.input_tokens and are inside billed_units.input_tokens,
// and reasoning_tokens are inside output_tokens. What is not billed is taken to be
// cached first.
func (k *counts) usage() (u meter.Usage) {
	u[meter.SearchUnits], u[meter.Images] = k.search, k.images
	billed, all := k.billed, k.all
	if !all.told { // at embeddings, where billed_units keeps images apart too
		u[meter.Input], u[meter.InputImage], u[meter.Output] = billed.input, billed.image, billed.output
		u[meter.CachedInput] = min(k.cached, u[meter.Input])
		u[meter.Input] -= u[meter.CachedInput]
		return u
	}
	if !billed.told {
		billed.input, billed.output = all.input+all.image, all.output
	}
	u[meter.InputImage] = min(all.image, billed.input)
	u[meter.Input] = billed.input - u[meter.InputImage]
	rest := max(all.input+all.image-billed.input, 0)
	cached := min(k.cached, max(all.input+all.image, billed.input))
	u[meter.UnbilledCachedInput] = min(cached, rest)
	u[meter.UnbilledInput] = rest - u[meter.UnbilledCachedInput]
	u[meter.CachedInput] = min(cached-u[meter.UnbilledCachedInput], u[meter.Input])
	u[meter.Input] -= u[meter.CachedInput]

	u[meter.Reasoning] = min(all.reasoning, billed.output)
	u[meter.Output] = billed.output - u[meter.Reasoning]
	u[meter.UnbilledOutput] = max(all.output-billed.output, 0)
	return u
}
