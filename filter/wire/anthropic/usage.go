package anthropic

import (
	"bytes"

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
	return append(append([]byte{'{'}, list...), '}')
}

// maxCount is more than any call can use; what claims more is not a count.
// Below it sums of counts cannot overflow.
const maxCount = 1 << 50

// figures are the members that are counts; -1 where absent.
type figures struct {
	input, cacheRead, cacheWrite, write5m, write1h, output, thinking, searches int64
	tier                                                                       string
}

func read(object []byte) figures {
	f := figures{-1, -1, -1, -1, -1, -1, -1, -1, ""}
	_ = walk.Response(object, func(c *walk.Cursor, key []byte) error {
		switch string(key) {
		case "input_tokens":
			return count(c, &f.input)
		case "cache_read_input_tokens":
			return count(c, &f.cacheRead)
		case "cache_creation_input_tokens":
			return count(c, &f.cacheWrite)
		case "output_tokens":
			return count(c, &f.output)
		case "cache_creation":
			return c.Object(func(key []byte) error {
				switch string(key) {
				case "ephemeral_5m_input_tokens":
					return count(c, &f.write5m)
				case "ephemeral_1h_input_tokens":
					return count(c, &f.write1h)
				}
				return nil
			})
		case "output_tokens_details":
			return c.Object(func(key []byte) error {
				if string(key) == "thinking_tokens" {
					return count(c, &f.thinking)
				}
				return nil
			})
		case "server_tool_use":
			return c.Object(func(key []byte) error {
				if string(key) == "web_search_requests" {
					return count(c, &f.searches)
				}
				return nil
			})
		case "service_tier":
			tier, err := c.Text()
			f.tier = string(tier)
			return err
		}
		return nil
	})
	return f
}

func count(c *walk.Cursor, n *int64) error {
	v, ok, err := c.Int()
	if ok && v >= 0 && v <= maxCount {
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
//
// The top level does not cover everything that is billed: usage.iterations can
// hold steps by another model (advisor_message) and compactions that are left
// out of it. Pricing each iteration with its own model comes later; until then
// RawUsage keeps them for whoever reconciles.
func (f figures) usage() (u *meter.Usage, whole bool) {
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
