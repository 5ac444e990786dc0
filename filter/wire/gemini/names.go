package gemini

import (
	"bytes"

	"keel/filter/wire/walk"
)

// name is key in the camel case of Google's schema: the JSON of protocol buffers
// takes that and the snake case of the .proto file, so clients send both.
func name(key []byte) []byte {
	underscore := bytes.IndexByte(key, '_')
	if underscore < 0 {
		return key
	}
	camel := append(make([]byte, 0, len(key)), key[:underscore]...)
	up := false
	for _, b := range key[underscore:] {
		switch {
		case b == '_':
			up = true
			continue
		case up && 'a' <= b && b <= 'z':
			b -= 'a' - 'A'
		}
		up, camel = false, append(camel, b)
	}
	return camel
}

// An object is one that is under way: it refuses the second of two names of one
// member, because who wins is anybody's guess.
type object struct{ seen []string }

func (o *object) once(c *walk.Cursor, name string) error {
	for _, s := range o.seen {
		if s == name {
			return c.Fail("is there twice, in two casings: keep one")
		}
	}
	o.seen = append(o.seen, name)
	return nil
}

// each calls element for a value or for each in a list of them.
func each(c *walk.Cursor, element func() error) error {
	switch c.Kind() {
	case '[':
		return c.Array(element)
	case 'n':
		return c.Skip()
	}
	return element()
}

// enum returns the name of an enum's value, or its number as text where the
// client asked for enum-encoding=int; "" where absent.
func enum(c *walk.Cursor) (string, error) {
	raw, err := c.Value()
	if err != nil || raw[0] == 'n' {
		return "", err
	}
	return string(bytes.Trim(raw, `"`)), nil
}
