package leaf

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Commit is what a leaf has in place of a label's value: "~" and SHA-256, in hex, over
//
//	"keel label\n" length org length label length value salt
//
// It is also what is left of a value that was erased: with the salt gone, nobody
// can tell any more which value it was, and every leaf stays what it is.
func Commit(org, label, value string, salt []byte) string {
	b := []byte("keel label\n")
	for _, s := range [...]string{org, label, value} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	sum := sha256.Sum256(append(b, salt...))
	return "~" + hex.EncodeToString(sum[:])
}

// commitment is the length of one.
const commitment = 1 + 2*sha256.Size

// Committed reports whether a value is a commitment already, because it was erased.
func Committed[V ~string | ~[]byte](value V) bool {
	if len(value) != commitment || value[0] != '~' {
		return false
	}
	for i := 1; i < len(value); i++ {
		if c := value[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Commitments finds the commitment of a label's value; ok is false where it has none. It keeps neither.
type Commitments func(label, value []byte) (commitment string, ok bool)

// Unknown says that a label's value has no salt.
type Unknown struct{ Label, Value string }

func (u *Unknown) Error() string { return fmt.Sprintf("label %s has a value without a salt", u.Label) }

func (c Commitments) of(label, value []byte) (string, error) {
	if len(value) == 0 || Committed(value) {
		return string(value), nil
	}
	if s, ok := c(label, value); ok {
		return s, nil
	}
	return "", &Unknown{string(label), string(value)}
}

// AccountKey replaces the values in the key of an account: "user=ada,app=ide".
func AccountKey(key string, c Commitments) (string, error) {
	if key == "" {
		return "", nil
	}
	var b strings.Builder
	for i, pair := range strings.Split(key, ",") {
		label, value, ok := strings.Cut(pair, "=")
		if !ok { // the end of a key that was cut
			label, value = "", pair
		}
		// The key has what could be mistaken in hex, "~" too: one that is there is a commitment.
		if !Committed(value) {
			replaced, err := c.of([]byte(label), []byte(PlainValue(value)))
			if err != nil {
				return "", err
			}
			value = replaced
		}
		if i > 0 {
			b.WriteByte(',')
		}
		if ok {
			b.WriteString(label)
			b.WriteByte('=')
		}
		b.WriteString(value)
	}
	return b.String(), nil
}

// PlainValue is a value as a label has it, of one in the key of an account, where what could be mistaken is in hex. One
// that no column could keep stays as it is.
func PlainValue(inKey string) string {
	if plain, err := url.PathUnescape(inKey); err == nil && utf8.ValidString(plain) && !strings.ContainsRune(plain, 0) {
		return plain
	}
	return inKey
}

// Subject appends an object of labels, as Postgres prints it, with the values replaced.
func Subject(b, object []byte, c Commitments) ([]byte, error) {
	for len(object) > 0 {
		at := bytes.IndexByte(object, '"')
		if at < 0 {
			break
		}
		b = append(b, object[:at]...)
		raw, rest, err := quoted(object[at:])
		if err != nil {
			return b, err
		}
		b = append(b, raw...)
		label, err := unquote(raw)
		if err != nil {
			return b, err
		}
		if !bytes.HasPrefix(rest, []byte(`: "`)) {
			return b, fmt.Errorf("label %q has no text as its value", label)
		}
		b = append(b, ": "...)
		if raw, object, err = quoted(rest[2:]); err != nil {
			return b, err
		}
		value, err := unquote(raw)
		if err != nil {
			return b, err
		}
		commitment, err := c.of(label, value)
		if err != nil {
			return b, err
		}
		b = append(append(append(b, '"'), commitment...), '"')
	}
	return append(b, object...), nil
}

// Keys appends JSON, as Postgres prints it, in which every text of the field of a name is the key
// of an account, with the values replaced. The pattern is not found in a text: there the quotes have backslashes.
func Keys(b, text []byte, field string, c Commitments) ([]byte, error) {
	pattern := []byte(`"` + field + `": "`)
	for {
		at := bytes.Index(text, pattern)
		if at < 0 {
			return append(b, text...), nil
		}
		at += len(pattern) - 1
		b = append(b, text[:at]...)
		raw, rest, err := quoted(text[at:])
		if err != nil {
			return b, err
		}
		text = rest
		if len(raw) == 2 {
			b = append(b, raw...)
			continue
		}
		plain, err := unquote(raw)
		if err != nil {
			return b, err
		}
		key, err := AccountKey(string(plain), c)
		if err != nil {
			return b, err
		}
		b = append(append(append(b, '"'), key...), '"')
	}
}

// quoted takes the JSON string that text begins with.
func quoted(text []byte) (raw, rest []byte, err error) {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return text[:i+1], text[i+1:], nil
		}
	}
	return nil, nil, fmt.Errorf("a string without an end: %.40s", text)
}

// unquote is the text of a JSON string: a part of it, where there is no escape.
func unquote(raw []byte) ([]byte, error) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1], nil
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return []byte(s), err
}
