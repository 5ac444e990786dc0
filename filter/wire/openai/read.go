package openai

import (
	"strconv"

	"keel/filter/wire/walk"
)

// describes reads what every API says of a response under the same names. read
// is false for any other member.
func (b *body) describes(c *walk.Cursor, key []byte) (read bool, err error) {
	switch string(key) {
	case "id":
		return true, readName(c, &b.reading.ID)
	case "model":
		return true, readName(c, &b.reading.Model)
	case "service_tier":
		return true, readName(c, &b.reading.ServiceTier) // the last wins: the first of a stream is what was asked for
	case "created", "created_at":
		return true, b.readCreated(c)
	}
	return false, nil
}

// readCreated reads a time in Unix seconds, which Writer puts into quotes.
// What is no time of this century is none: some hosts send seconds since their start, or 0.
func (b *body) readCreated(c *walk.Cursor) error {
	var n int64
	var err error
	if c.Kind() == '"' {
		var text []byte
		if text, err = c.Text(); err == nil {
			n, _ = strconv.ParseInt(string(text), 10, 64)
		}
	} else {
		n, _, err = c.Int()
	}
	if n >= 1e9 && n < 1e11 {
		b.reading.Created = n
	}
	return err
}

// readUsage takes over a usage object, if it is one.
func (b *body) readUsage(c *walk.Cursor) (told bool, err error) {
	if c.Kind() != '{' {
		return false, c.Skip()
	}
	u, err := readCounts(c)
	if err != nil || !u.told() {
		return false, err
	}
	b.counts, b.reported = u, true
	b.raw = append(b.raw[:0], c.Raw()...)
	return true, nil
}

// readName reads a string that seldom changes from one event to the next.
func readName(c *walk.Cursor, into *string) error {
	name, err := c.Text()
	if len(name) > 0 && string(name) != *into {
		*into = string(name)
	}
	return err
}

// readFailure reads an error: an object with a message, or a string (xAI).
func (b *body) readFailure(c *walk.Cursor) error {
	message := ""
	switch c.Kind() {
	case '"':
		text, err := c.Text()
		message = string(text)
		if err != nil {
			return err
		}
	case '{':
		empty := true
		err := c.Object(func(key []byte) error {
			empty = false
			if string(key) == "message" {
				return readName(c, &message)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if message == "" && !empty {
			message = string(clip(c.Raw()))
		}
	case '[':
		raw, err := c.Value()
		if err != nil {
			return err
		}
		message = string(clip(raw))
	}
	if message != "" {
		b.reading.Failure = message
	}
	return nil
}

// clip keeps an error text readable.
func clip(text []byte) []byte {
	const most = 500
	return text[:min(len(text), most)]
}

// addText counts a string as output.
func (b *body) addText(c *walk.Cursor) error {
	n, err := c.TextLen()
	b.reading.OutputBytes += n
	return err
}
