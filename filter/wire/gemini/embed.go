package gemini

import (
	"keel/filter/wire/walk"
	"keel/pricing/tokens"
)

// embed reads an EmbedContentRequest, or a batch of them.
func (r *request) embed() func(c *walk.Cursor, key []byte) error {
	var member func(c *walk.Cursor, key []byte) error
	member = func(c *walk.Cursor, key []byte) error {
		switch string(name(key)) {
		case "model":
			return r.model(c)
		case "content":
			return r.prompt.content(c)
		case "title":
			return r.prompt.text(c, tokens.Text)
		case "requests":
			return each(c, func() error {
				return c.Object(func(key []byte) error { return member(c, key) })
			})
		}
		return nil
	}
	return member
}

// readEmbed reads embeddings. The Gemini API tells no usage with models before gemini-embedding-2.
func readEmbed(r *reader, c *walk.Cursor, key []byte) error {
	if string(key) == "usageMetadata" {
		return r.usage(c, readUsage)
	}
	return nil
}
