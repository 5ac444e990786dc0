package anthropic

import (
	"bytes"

	"keel/filter/wire/framing"
	"keel/filter/wire/walk"
	"keel/pricing/meter"
)

// usageObject is the usage of a message as the events of a stream build it up:
// message_start states it, and each non-null member of a message_delta's usage
// replaces the one before. Members that only the first has stay.
type usageObject struct {
	members []member
}

type member struct{ name, value []byte }

// overlay puts the members of a usage object over what there is.
func (u *usageObject) overlay(object []byte) {
	_ = walk.Response(object, func(c *walk.Cursor, key []byte) error {
		name := bytes.Clone(key)
		value, err := c.Value()
		if err != nil || value[0] == 'n' {
			return err
		}
		value = bytes.Clone(value)
		for i := range u.members {
			if bytes.Equal(u.members[i].name, name) {
				u.members[i].value = value
				return nil
			}
		}
		u.members = append(u.members, member{name, value})
		return nil
	})
}

// raw is the object in its final form.
func (u *usageObject) raw() []byte {
	var list []byte
	for _, m := range u.members {
		list = walk.Member(list, string(m.name), m.value)
	}
	return walk.Object(list)
}

// figures are the members of a usage object; counts are -1 where absent.
type figures struct {
	input, cacheRead, cacheWrite, write5m, write1h, output, thinking, searches int64

	model               string // of an iteration
	tier, region, speed string
	iterations          []figures
}

func noFigures() figures { return figures{-1, -1, -1, -1, -1, -1, -1, -1, "", "", "", "", nil} }

func readFigures(object []byte) figures {
	f := noFigures()
	_ = walk.Response(object, func(c *walk.Cursor, key []byte) error { return f.member(c, key) })
	return f
}

func (f *figures) member(c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "input_tokens":
		return number(c, &f.input)
	case "cache_read_input_tokens":
		return number(c, &f.cacheRead)
	case "cache_creation_input_tokens":
		return number(c, &f.cacheWrite)
	case "output_tokens":
		return number(c, &f.output)
	case "cache_creation", "output_tokens_details", "server_tool_use":
		return c.Object(func(key []byte) error { return f.detail(c, key) })
	case "iterations":
		f.iterations = nil
		return c.Array(func() error {
			one := noFigures()
			err := c.Object(func(key []byte) error { return one.member(c, key) })
			f.iterations = append(f.iterations, one)
			return err
		})
	case "model":
		return framing.Name(c, &f.model)
	case "service_tier":
		return framing.Name(c, &f.tier)
	case "inference_geo":
		return framing.Name(c, &f.region)
	case "speed":
		return framing.Name(c, &f.speed)
	}
	return nil
}

// detail reads a member of the objects within: their names do not collide.
func (f *figures) detail(c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "ephemeral_5m_input_tokens":
		return number(c, &f.write5m)
	case "ephemeral_1h_input_tokens":
		return number(c, &f.write1h)
	case "thinking_tokens":
		return number(c, &f.thinking)
	case "web_search_requests": // web_fetch_requests cost nothing but tokens (Anthropic, Pricing)
		return number(c, &f.searches)
	}
	return nil
}

// number reads a count into n; what is none leaves n alone.
func number(c *walk.Cursor, n *int64) error {
	v, ok, err := c.Count()
	if ok {
		*n = v
	}
	return err
}

// usage turns the figures into meters, nil when there are none. whole tells
// whether both sides were stated.
//
// input_tokens excludes what was read from and written to the cache.
// cache_creation splits the writes by lifetime, but in a stream it can be
// older than the sum beside it (message_delta updates only the sum), so the
// sum rules and what the split does not explain went to the default lifetime.
func (f *figures) usage() (u *meter.Usage, whole bool) {
	if f.input < 0 && f.output < 0 {
		return nil, false
	}
	u = new(meter.Usage)
	u[meter.Input] = max(f.input, 0)
	u[meter.CachedInput] = max(f.cacheRead, 0)
	if written := f.cacheWrite; written >= 0 {
		u[meter.CacheWrite1h] = min(max(f.write1h, 0), written)
		u[meter.CacheWrite5m] = written - u[meter.CacheWrite1h]
	} else {
		u[meter.CacheWrite5m], u[meter.CacheWrite1h] = max(f.write5m, 0), max(f.write1h, 0)
	}
	output := max(f.output, 0)
	u[meter.Reasoning] = min(max(f.thinking, 0), output)
	u[meter.Output] = output - u[meter.Reasoning]
	u[meter.WebSearch] = max(f.searches, 0)
	return u, f.input >= 0 && f.output >= 0
}
