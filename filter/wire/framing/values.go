package framing

import (
	"strings"
	"time"

	"keel/filter/wire/walk"
)

// Name reads a string that seldom changes from one document to the next. What is
// empty does not replace what is there.
func Name(c *walk.Cursor, into *string) error {
	name, err := c.Text()
	if len(name) > 0 && string(name) != *into {
		*into = string(name)
	}
	return err
}

// Created reads a time of creation (RFC 3339) as Unix seconds. The first that is told stays.
func Created(c *walk.Cursor, into *int64) error {
	text, err := c.Text()
	if *into != 0 {
		return err
	}
	if at, bad := time.Parse(time.RFC3339Nano, string(text)); bad == nil {
		*into = at.Unix()
	}
	return err
}

// Message reads an error as providers write it: a text, an object with a
// message, or a list of either, of which the first counts. Anything else is told as it
// stands.
func Message(c *walk.Cursor) (message string, err error) {
	switch c.Kind() {
	case 'n':
		return "", c.Skip()
	case '"':
		text, err := c.Text()
		return clip(string(text)), err
	case '[':
		err = c.Array(func() error {
			text, err := Message(c)
			if message == "" {
				message = text
			}
			return err
		})
		return message, err
	case '{':
		err = c.Object(func(key []byte) error {
			switch string(key) {
			case "message", "msg", "error":
				text, err := Message(c)
				if message == "" {
					message = text
				}
				return err
			}
			return nil
		})
		if raw := c.Raw(); message == "" && len(raw) > len("{}") {
			message = clip(string(raw))
		}
		return message, err
	}
	raw, err := c.Value()
	return clip(string(raw)), err
}

// clip keeps an error readable: short, and without the rune that the cut broke.
func clip(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), most)], "")
}
