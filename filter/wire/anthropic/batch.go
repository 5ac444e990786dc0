package anthropic

import (
	"keel/filter/wire/framing"
	"keel/filter/wire/walk"
	"keel/pricing/meter"
)

// batch reads {requests: [{custom_id, params}]}. Nothing is streamed, and the
// answers are fetched later, at the prices of batches.
func (r *request) batch() func(c *walk.Cursor, key []byte) error {
	r.Background, r.ServiceTier = true, batchTier
	return func(c *walk.Cursor, key []byte) error {
		if string(key) != "requests" {
			return nil
		}
		return c.Array(func() error {
			return c.Object(func(key []byte) error {
				if string(key) != "params" {
					return nil
				}
				which := len(r.at.asks)
				member := r.message()
				err := c.Object(func(key []byte) error {
					switch string(key) {
					case "stream", "service_tier":
						return nil
					}
					return member(c, key)
				})
				r.at.asks[which].object = c.Span()
				return err
			})
		})
	}
}

// batchTier is what a result says that it was billed as.
const batchTier = "batch"

// readBatch reads the state of a batch.
func readBatch(m *Message, c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "id":
		return framing.Name(c, &m.reading.ID)
	case "created_at":
		return framing.Created(c, &m.reading.Created)
	}
	return nil
}

// readResult reads a line of the results of a batch: {custom_id, result: {type:
// "succeeded", message}}. Those that failed, expired or were canceled cost nothing
// (Anthropic, Batch processing).
func readResult(m *Message, c *walk.Cursor, key []byte) error {
	if string(key) != "result" {
		return nil
	}
	return c.Object(func(key []byte) error {
		if string(key) != "message" {
			return nil
		}
		return c.Object(func(key []byte) error {
			if string(key) == "id" { // all is billed under that of the batch
				return nil
			}
			return readMember(m, c, key)
		})
	})
}

// addResult adds a result to those before. u is its usage, raw the object that
// tells it, and parts its bills if it is more than one.
func (m *Message) addResult(u *meter.Usage, parts []meter.Part, raw []byte) {
	add(&m.total, u)
	m.split = m.split || parts != nil
	if parts == nil {
		parts = []meter.Part{{Usage: *u}}
	}
	first := m.reading.Usage == nil
	for _, part := range parts {
		if part.Model == "" {
			part.Model = m.reading.Model
		}
		m.bills = addPart(m.bills, part)
	}
	m.split = m.split || len(m.bills) > 1
	total := m.total
	m.reading.Usage, m.reading.RawUsage = &total, raw
	if !first {
		m.reading.RawUsage = sum(&total)
	}
}

// sum is a usage in the provider's words: of many results there is no one object to keep.
func sum(u *meter.Usage) []byte {
	split := walk.Member(nil, "ephemeral_5m_input_tokens", walk.Number(u[meter.CacheWrite5m]))
	split = walk.Member(split, "ephemeral_1h_input_tokens", walk.Number(u[meter.CacheWrite1h]))
	list := walk.Member(nil, "input_tokens", walk.Number(u[meter.Input]))
	list = walk.Member(list, "cache_creation_input_tokens", walk.Number(u.CacheWriteTokens()))
	list = walk.Member(list, "cache_read_input_tokens", walk.Number(u[meter.CachedInput]))
	list = walk.Member(list, "cache_creation", walk.Object(split))
	list = walk.Member(list, "output_tokens", walk.Number(u.OutputTokens()))
	list = walk.Member(list, "server_tool_use", walk.Object(walk.Member(nil, "web_search_requests", walk.Number(u[meter.WebSearch]))))
	return walk.Object(walk.Member(list, "service_tier", walk.Quote(batchTier)))
}
