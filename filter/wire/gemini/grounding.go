package gemini

import (
	"strings"

	"keel/filter/wire/walk"
)

// grounding is what Google's own tools did for a response. usageMetadata does
// not tell it, and it is billed apart.
type grounding struct {
	queries map[string]bool // of web and image search, each once
	web     bool            // a web page was found
	maps    bool            // a place was
	counted int64           // searches, where the API counts them itself
}

// search notes a query. Google ignores empty ones and counts unique ones.
func (g *grounding) search(query string) {
	if query == "" {
		return
	}
	if g.queries == nil {
		g.queries = make(map[string]bool)
	}
	g.queries[query] = true
}

// read reads a groundingMetadata. In a stream they repeat and grow.
func (g *grounding) read(c *walk.Cursor) error {
	return c.Object(func(key []byte) error {
		switch string(key) {
		case "webSearchQueries", "imageSearchQueries":
			return g.searches(c)
		case "groundingChunks":
			return c.Array(func() error {
				return c.Object(func(key []byte) error {
					switch string(key) {
					case "web":
						g.web = true
					case "maps":
						g.maps = true
					}
					return nil
				})
			})
		}
		return nil
	})
}

func (g *grounding) searches(c *walk.Cursor) error {
	return c.Array(func() error {
		query, err := c.Text()
		g.search(string(query))
		return err
	})
}

// billed is the number of searches that Google bills: since Gemini 3 each
// query, unique and not empty; before, one for a grounded request, however many
// queries it made. Grounding with Google Maps is one for a grounded request.
// https://ai.google.dev/gemini-api/docs/google-search#pricing and
// https://ai.google.dev/gemini-api/docs/pricing
func (g *grounding) billed(model string) (searches, places int64) {
	searches = max(int64(len(g.queries)), g.counted)
	if g.web {
		searches = max(searches, 1)
	}
	if strings.HasPrefix(model, "gemini-1") || strings.HasPrefix(model, "gemini-2") {
		searches = min(searches, 1)
	}
	if g.maps {
		places = 1
	}
	return searches, places
}
