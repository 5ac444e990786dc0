package gemini

import (
	"keel/filter/wire/framing"
	"keel/filter/wire/walk"
)

// readCache reads a CachedContent. What was put into it is billed as input once;
// keeping it is billed by the hour until it expires or is deleted, which
// nobody knows now.
func readCache(r *reader, c *walk.Cursor, key []byte) error {
	switch string(key) {
	case "usageMetadata":
		return r.usage(c, func(c *walk.Cursor) (figures, error) {
			f, err := readUsage(c)
			f.prompt = max(f.prompt, f.total)
			return f, err
		})
	case "name":
		return framing.Name(c, &r.reading.ID)
	case "model":
		return r.model(c)
	case "createTime":
		return framing.Created(c, &r.reading.Created)
	}
	return nil
}

// readKept reads a CachedContent that an earlier call made, and that is looked at or
// kept for longer: its tokens were billed when they were put there.
func readKept(r *reader, c *walk.Cursor, key []byte) error {
	if string(key) == "name" {
		return nil // the call that made it is closed out
	}
	err := readCache(r, c, key)
	r.figures.free = true
	return err
}
