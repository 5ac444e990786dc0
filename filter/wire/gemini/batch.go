package gemini

import (
	"strings"

	"keel/filter/wire/framing"
	"keel/filter/wire/walk"
)

// batch reads a batch of GenerateContentRequests or EmbedContentRequests. One in a file shows nothing.
func (r *request) batch() func(c *walk.Cursor, key []byte) error {
	return func(c *walk.Cursor, key []byte) error {
		if string(key) != "batch" {
			return nil
		}
		return c.Object(func(key []byte) error {
			switch string(name(key)) {
			case "model":
				return r.model(c)
			case "inputConfig":
				return c.Object(func(key []byte) error {
					switch string(name(key)) {
					case "fileName":
						return r.prompt.reference(c, "file id")
					case "requests":
						return r.inlined(c)
					}
					return nil
				})
			}
			return nil
		})
	}
}

// inlined reads {requests: [{request, metadata}]}.
func (r *request) inlined(c *walk.Cursor) error {
	return c.Object(func(key []byte) error {
		if string(key) != "requests" {
			return nil
		}
		return each(c, func() error {
			return c.Object(func(key []byte) error {
				if string(key) != "request" {
					return nil
				}
				which := len(r.at.asks)
				generate, embed := r.generate(), r.embed()
				err := c.Object(func(key []byte) error {
					if string(key) == "content" {
						return embed(c, key)
					}
					return generate(c, key)
				})
				r.at.asks[which].object = c.Span()
				return err
			})
		})
	})
}

// readBatch reads a batch job. Once it is done it has the responses inline, each with
// its usage, unless they are in a file; the sum is what the job used.
func readBatch(r *reader, c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "name":
		return framing.Name(c, &r.reading.ID)
	case "metadata":
		return c.Object(func(key []byte) error {
			switch string(key) {
			case "model":
				return r.model(c)
			case "createTime":
				return framing.Created(c, &r.reading.Created)
			}
			return nil
		})
	case "response":
		r.reading.ServiceTier = "batch"
		return c.Object(func(key []byte) error {
			if strings.HasPrefix(string(key), "inlined") {
				return r.inlined(c)
			}
			return nil
		})
	}
	return nil
}

// inlined adds up the usage of every response, however deep in lists it stands.
func (r *reader) inlined(c *walk.Cursor) error {
	switch c.Kind() {
	case '[':
		return c.Array(func() error { return r.inlined(c) })
	case '{':
		return c.Object(func(key []byte) error {
			if string(key) != "usageMetadata" {
				return r.inlined(c)
			}
			f, err := readUsage(c)
			if err == nil && !f.none {
				r.sum(f, c.Raw())
			}
			return err
		})
	}
	return c.Skip()
}

// sum adds figures to those of the document, and their object to the raw ones.
func (r *reader) sum(f figures, object []byte) {
	if r.raw == nil {
		r.figures, r.raw = figures{none: true}, []byte("[]")
	}
	r.figures.add(f)
	list := r.raw[:len(r.raw)-1]
	if len(list) > 1 {
		list = append(list, ',')
	}
	r.raw = append(append(list, object...), ']')
}
