package gemini

import (
	"strings"

	"keel/filter/wire/framing"
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// predict reads the request of a model that is older than generateContent, or
// that it has no place for: {instances, parameters}.
func (r *request) predict() func(c *walk.Cursor, key []byte) error {
	r.Prompt.Task = predicts(r.Model)
	return func(c *walk.Cursor, key []byte) error {
		switch string(key) {
		case "instances":
			return each(c, func() error {
				r.Prompt.Messages++
				return r.instance(c)
			})
		case "parameters":
			return c.Object(func(key []byte) error {
				if string(name(key)) != "sampleCount" {
					return nil
				}
				n, ok, err := integer(c)
				if err == nil && (n < 0 || n > maxChoices) {
					return c.Fail("must be from 1 to %d, not %d", maxChoices, n)
				}
				if ok && n > 0 {
					r.at.asks = append(r.at.asks, ask{choices: n})
				}
				return err
			})
		}
		return nil
	}
}

// predicts is what models of a name are for.
func predicts(model string) tokens.Task {
	for _, prefix := range []string{"imagen", "image", "veo", "lyria", "virtual-try-on"} {
		if strings.HasPrefix(model, prefix) {
			return tokens.Draw
		}
	}
	if strings.Contains(model, "embedding") || strings.Contains(model, "gecko") {
		return tokens.Embed
	}
	return tokens.Generate
}

// instance takes over the strings of an instance, whatever its shape.
func (r *request) instance(c *walk.Cursor) error {
	switch c.Kind() {
	case '"':
		return c.Segment(r.prompt.Prompt, tokens.Text)
	case '[':
		return c.Array(func() error { return r.instance(c) })
	case '{':
	default:
		return c.Skip()
	}
	var data []byte
	mime := "image/"
	err := c.Object(func(key []byte) (err error) {
		switch string(name(key)) {
		case "taskType", "referenceType", "referenceId":
			return c.Skip()
		case "mimeType":
			return framing.Name(c, &mime)
		case "gcsUri":
			return r.prompt.reference(c, "file URL")
		case "bytesBase64Encoded":
			if c.Kind() == '"' {
				data, err = c.Value()
			}
			return err
		}
		return r.instance(c)
	})
	if len(data) > 2 {
		r.prompt.media(mime, data[1:len(data)-1])
	}
	return err
}

// readPredict reads predictions. Embeddings tell their tokens one by one. The older of
// their models are billed by character (metadata.billableCharacterCount), which
// would bill them twice and is left out. Images are billed one by one.
func readPredict(r *reader, c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "predictions":
		return c.Array(func() error {
			made, mime := false, "image/"
			err := c.Object(func(key []byte) error {
				switch string(key) {
				case "embeddings":
					return r.statistics(c)
				case "bytesBase64Encoded", "gcsUri":
					made = true
				case "mimeType":
					return framing.Name(c, &mime)
				}
				return nil
			})
			if made && strings.HasPrefix(mime, "image/") {
				r.images++
			}
			return err
		})
	case "metadata": // of PaLM's models, which told tokens and were billed by character
		return c.Object(func(key []byte) error {
			if string(key) != "tokenMetadata" {
				return nil
			}
			return r.usage(c, readTokenMetadata)
		})
	case "name": // of a long-running operation
		return framing.Name(c, &r.reading.ID)
	}
	return nil
}

// readTokenMetadata reads {inputTokenCount: {totalTokens}, outputTokenCount: {totalTokens}}
// (Vertex AI, PredictResponse of text-bison and chat-bison).
func readTokenMetadata(c *walk.Cursor) (figures, error) {
	f := figures{none: true}
	total := func(n *int64) error {
		return c.Object(func(key []byte) error {
			if string(key) == "totalTokens" {
				return f.count(c, n)
			}
			return nil
		})
	}
	err := c.Object(func(key []byte) error {
		switch string(key) {
		case "inputTokenCount":
			return total(&f.prompt)
		case "outputTokenCount":
			return total(&f.candidates)
		}
		return nil
	})
	return f, err
}

func (r *reader) statistics(c *walk.Cursor) error {
	return c.Object(func(key []byte) error {
		if string(key) != "statistics" {
			return nil
		}
		f := figures{none: true}
		err := c.Object(func(key []byte) error {
			if string(name(key)) == "tokenCount" {
				return f.count(c, &f.prompt)
			}
			return nil
		})
		if err == nil && !f.none {
			r.sum(f, c.Raw())
		}
		return err
	})
}
