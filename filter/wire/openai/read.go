package openai

import "keel/filter/wire/walk"

// readUsage takes over a usage object, if it is one.
func (b *body) readUsage(c *walk.Cursor) (bool, error) {
	if c.Kind() != '{' {
		return false, nil
	}
	u, ok, err := readUsage(c)
	if err != nil || !ok {
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
