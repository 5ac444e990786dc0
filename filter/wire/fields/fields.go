// Package fields reads and changes the few fields of a JSON request that a
// decision is about, the model and the limit on output, for APIs that differ only
// in what these are called and where they stand.
//
// What else a body holds is the business of the package of its API.
package fields

import (
	"keel/filter/wire"
	"keel/filter/wire/walk"
)

// A Form says what the fields of an API are called.
type Form struct {
	Model   string // "" where the body names none
	Stream  string // "" where a body does not ask for a stream
	Options string // the object that holds Limit; "" where that is the body itself
	Limit   string // "" where the API has none
	// Nameless: a request may name no model, or "".
	Nameless bool
	// Unlimited is a limit that means none: 0 and -1 at some. Others below 1 are refused.
	Unlimited func(n int64) bool
}

// marks are the offsets of the fields in one body.
type marks struct {
	form                        *Form
	root, model, options, limit wire.Span
}

// Read walks body, which must be a JSON object, and fills r. member is called
// for each other member of the body, and option, unless nil, for each
// other member of the options.
func (f *Form) Read(r *wire.Request, body []byte, member, option func(c *walk.Cursor, key []byte) error) error {
	at := &marks{form: f}
	root, err := walk.Request(body, func(c *walk.Cursor, key []byte) (err error) {
		switch string(key) {
		case "":
			return nil
		case f.Model:
			return at.readModel(c, r)
		case f.Stream:
			r.Stream, err = c.Bool()
			return err
		case f.Options:
			err = c.Object(func(key []byte) error {
				switch {
				case len(key) > 0 && string(key) == f.Limit:
					return at.readLimit(c, r)
				case option != nil:
					return option(c, key)
				}
				return nil
			})
			at.options = c.Span()
			return err
		case f.Limit:
			if f.Options == "" {
				return at.readLimit(c, r)
			}
		}
		return member(c, key)
	})
	if err != nil {
		return err
	}
	at.root = root
	if r.Model == "" && !f.Nameless {
		return &wire.RequestError{Field: f.Model, Reason: "is missing: name the model"}
	}
	r.Marks = at
	return nil
}

func (m *marks) readModel(c *walk.Cursor, r *wire.Request) error {
	model, err := c.Text()
	if err != nil {
		return err
	}
	m.model = c.Span()
	if model != nil && len(model) == 0 && !m.form.Nameless {
		return c.Fail("must not be empty")
	}
	r.Model = string(model)
	return nil
}

func (m *marks) readLimit(c *walk.Cursor, r *wire.Request) error {
	n, ok, err := c.Int()
	if err != nil {
		return err
	}
	m.limit = c.Span()
	switch {
	case ok && m.form.Unlimited != nil && m.form.Unlimited(n):
		n = 0
	case ok && n <= 0:
		return c.Fail("must be at least 1, not %d", n)
	}
	r.MaxOutputTokens = n
	return nil
}

// Rewrite returns body with edit applied. With an edit that changes nothing it
// is body itself.
func Rewrite(r *wire.Request, body []byte, edit wire.Edit) []byte {
	at, ok := r.Marks.(*marks)
	if !ok {
		return body
	}
	var changes []walk.Replacement
	var added []byte // to the body itself
	if edit.Model != "" && edit.Model != r.Model && at.form.Model != "" {
		if at.model.Len() > 0 {
			changes = append(changes, walk.Replacement{At: at.model, With: walk.Quote(edit.Model)})
		} else {
			added = walk.Member(added, at.form.Model, walk.Quote(edit.Model))
		}
	}
	if n := edit.MaxOutputTokens; n > 0 && (r.MaxOutputTokens == 0 || n < r.MaxOutputTokens) && at.form.Limit != "" {
		limit := walk.Member(nil, at.form.Limit, walk.Number(n))
		switch {
		case at.limit.Len() > 0:
			changes = append(changes, walk.Replacement{At: at.limit, With: walk.Number(n)})
		case at.form.Options == "":
			added = walk.Member(added, at.form.Limit, walk.Number(n))
		case at.options.Len() == 0:
			added = walk.Member(added, at.form.Options, walk.Object(limit))
		case body[at.options.Start] == '{':
			changes = append(changes, walk.Insert(body, at.options, limit))
		default: // null
			changes = append(changes, walk.Replacement{At: at.options, With: walk.Object(limit)})
		}
	}
	if added != nil {
		changes = append(changes, walk.Insert(body, at.root, added))
	}
	return walk.Splice(body, changes...)
}

// Facts are what Keel tells in every refusal, whatever the API's own shape of an
// error: a JSON object of the decision's id and details.
func Facts(r wire.Refusal) []byte {
	facts := walk.Member(nil, "decision_id", walk.Quote(r.DecisionID))
	if len(r.Details) > 0 {
		facts = walk.Member(facts, "details", walk.Strings(r.Details))
	}
	return walk.Object(facts)
}
