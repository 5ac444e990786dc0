package bedrock

import (
	"strings"

	"keel/filter/wire"
	"keel/filter/wire/walk"
)

// optimized is the latency of a faster mode with a price of its own.
const optimized = "optimized"

// readTerms takes what the headers of InvokeModel say of the terms that applied
// (Bedrock API reference, InvokeModel, response syntax).
func (r *reader) readTerms(header wire.Header) {
	r.reading.ServiceTier = header.Get("X-Amzn-Bedrock-Service-Tier")
	if header.Get("X-Amzn-Bedrock-Performanceconfig-Latency") == optimized {
		r.reading.Speed = "fast"
	}
}

// trace reads which model a prompt router chose: the one that is billed. An ARN ends in its id.
func (r *reader) trace(c *walk.Cursor) error {
	return c.Object(func(key []byte) error {
		if string(key) != "promptRouter" {
			return nil
		}
		var id string
		err := oneText(c, "invokedModelId", &id)
		if id != "" {
			r.reading.Model = id[strings.LastIndexByte(id, '/')+1:]
		}
		return err
	})
}
