package gemini

import (
	"keel/filter/wire/framing"
	"keel/filter/wire/walk"
)

// readInteraction reads an interaction, or an event of a stream that has one or a
// part of it.
func readInteraction(r *reader, c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "interaction":
		return c.Object(func(key []byte) error { return readInteraction(r, c, key) })
	case "usage":
		return r.usage(c, r.interactionUsage)
	case "id":
		return framing.Name(c, &r.reading.ID)
	case "model", "agent":
		return r.model(c)
	case "created":
		return framing.Created(c, &r.reading.Created)
	case "service_tier":
		return framing.Name(c, &r.reading.ServiceTier)
	case "status":
		status, err := enum(c)
		switch status {
		case "completed", "failed", "cancelled", "incomplete", "requires_action":
			r.complete = true
		}
		return err
	case "steps", "outputs":
		return c.Array(func() error { return r.output(c) })
	case "step", "delta", "content": // of an event
		return r.output(c)
	}
	return nil
}

// output reads a step, a content or a delta of either.
func (r *reader) output(c *walk.Cursor) error {
	return c.Object(func(key []byte) error {
		switch string(key) {
		case "text":
			return r.written(c)
		case "arguments":
			return r.arguments(c)
		case "content", "summary":
			return each(c, func() error { return r.output(c) })
		}
		return nil
	})
}

// arguments are those of a function call, or the queries of a search.
func (r *reader) arguments(c *walk.Cursor) error {
	if c.Kind() != '{' {
		return r.writtenValue(c)
	}
	err := c.Object(func(key []byte) error {
		if string(key) == "queries" {
			return r.searches(c)
		}
		return nil
	})
	r.reading.OutputBytes += int64(len(c.Raw()))
	return err
}

// interactionUsage reads a usage. As with generateContent, thoughts and the input
// of tools stand beside what came in and went out (measured: they add up to the total).
func (r *reader) interactionUsage(c *walk.Cursor) (figures, error) {
	f := figures{none: true}
	err := c.Object(func(key []byte) error {
		switch string(key) {
		case "total_input_tokens":
			return f.count(c, &f.prompt)
		case "total_output_tokens":
			return f.count(c, &f.candidates)
		case "total_thought_tokens", "total_reasoning_tokens":
			return f.count(c, &f.thoughts)
		case "total_tool_use_tokens":
			return f.count(c, &f.tool)
		case "total_cached_tokens":
			return f.count(c, &f.cached)
		case "total_tokens":
			return f.count(c, &f.total)
		case "input_tokens_by_modality", "tool_use_tokens_by_modality":
			return f.in.add(c)
		case "cached_tokens_by_modality":
			return f.cache.add(c)
		case "output_tokens_by_modality":
			return f.out.add(c)
		case "grounding_tool_count":
			return c.Array(func() error { return r.groundingCount(c) })
		}
		return nil
	})
	return f, err
}

// groundingCount reads {type, count}.
func (r *reader) groundingCount(c *walk.Cursor) error {
	kind, n := "", int64(0)
	err := c.Object(func(key []byte) (err error) {
		switch string(key) {
		case "type":
			kind, err = enum(c)
		case "count":
			var f figures
			err = f.count(c, &n)
		}
		return err
	})
	switch kind {
	case "google_search":
		r.counted = max(r.counted, n)
	case "google_maps":
		r.maps = r.maps || n > 0
	}
	return err
}
