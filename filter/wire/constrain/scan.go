package constrain

import (
	"slices"

	"keel/filter/wire"
	"keel/filter/wire/walk"
)

// member is a member of an object, or an element of an array, whose key is its value.
type member struct {
	in, name string
	key      int       // where it begins
	value    wire.Span // where its value stands
	text     string    // of a string
	number   int64     // of an integer
}

type tool struct {
	at    wire.Span
	words map[string]string // its members; the text of those that are strings
}

// scanned is a body with the members that a grammar knows, and the changes to it.
type scanned struct {
	root    wire.Span
	members []member // of the body, all of them
	nested  []member // that the grammar names
	tools   []tool
	changes []walk.Replacement
	added   []byte
}

func scan(body []byte, g *grammar) (*scanned, error) {
	s := &scanned{}
	var err error
	s.root, err = walk.Request(body, func(c *walk.Cursor, key []byte) error {
		m := member{name: string(key), key: c.Span().Start}
		if m.name == g.list && c.Kind() == '[' {
			if err := c.Array(func() error { return s.tool(c) }); err != nil {
				return err
			}
		} else if (m.name == g.choicesIn || m.name == g.effortIn) && c.Kind() == '{' {
			if err := c.Object(func(key []byte) error {
				n := member{in: m.name, name: string(key), key: c.Span().Start}
				err := n.read(c)
				s.nested = append(s.nested, n)
				return err
			}); err != nil {
				return err
			}
		} else {
			err := m.read(c)
			s.members = append(s.members, m)
			return err
		}
		m.value = c.Span()
		s.members = append(s.members, m)
		return nil
	})
	return s, err
}

func (m *member) read(c *walk.Cursor) error {
	var err error
	switch c.Kind() {
	case '"':
		var text []byte
		text, err = c.Text()
		m.text = string(text)
	case '0':
		m.number, _, err = c.Int()
	default:
		err = c.Skip()
	}
	m.value = c.Span()
	return err
}

func (s *scanned) tool(c *walk.Cursor) error {
	t := tool{words: make(map[string]string)}
	if c.Kind() != '{' {
		return c.Skip()
	}
	err := c.Object(func(key []byte) error {
		m := member{name: string(key)}
		err := m.read(c)
		t.words[m.name] = m.text
		return err
	})
	t.at = c.Span()
	s.tools = append(s.tools, t)
	return err
}

func (s *scanned) find(in, name string) (member, bool) {
	from := s.members
	if in != "" {
		from = s.nested
	}
	i := slices.IndexFunc(from, func(m member) bool { return m.in == in && m.name == name })
	if i < 0 || name == "" {
		return member{}, false
	}
	return from[i], true
}

func (s *scanned) replace(at wire.Span, with []byte) {
	s.changes = append(s.changes, walk.Replacement{At: at, With: with})
}

// drop removes members of the body.
func (s *scanned) drop(names ...string) {
	gone := make([]bool, len(s.members))
	for i := range s.members {
		gone[i] = slices.Contains(names, s.members[i].name)
	}
	s.cut(s.members, gone)
}

// cut removes those that are gone, each with one comma, as long as there is one.
func (s *scanned) cut(list []member, gone []bool) {
	leading := true
	for i := range list {
		if !gone[i] {
			leading = false
			continue
		}
		at := list[i].value
		switch {
		case !leading:
			at.Start = list[i-1].value.End
		case i+1 < len(list):
			at = wire.Span{Start: list[i].key, End: list[i+1].key}
		default:
			at.Start = list[i].key
		}
		s.replace(at, nil)
	}
}

// splice applies the changes. What is added goes to the front, before a comma only where something is left.
func (s *scanned) splice(body []byte) []byte {
	changed := walk.Splice(body, s.changes...)
	if s.added == nil {
		return changed
	}
	root := s.root
	root.End = len(changed)
	return walk.Splice(changed, walk.Insert(changed, root, s.added))
}
