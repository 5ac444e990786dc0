package ending

import "keel/filter/wire/walk"

// position reads an element of a list of alternatives: its index, and the text of the member
// that says why it has finished, "" while it has not.
func position(at *walk.Cursor, reasonKey string) (index int64, reason string, err error) {
	err = at.Object(func(key []byte) (err error) {
		switch string(key) {
		case "index":
			index, _, err = at.Int()
			return err
		case reasonKey:
			return text(at, &reason)
		}
		return nil
	})
	return index, reason, err
}

// text reads a string, if it is one.
func text(at *walk.Cursor, into *string) error {
	b, err := at.Text()
	if len(b) > 0 {
		*into = string(b)
	}
	return err
}
