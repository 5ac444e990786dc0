package ledger

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"unicode/utf8"

	"keel/budget/ledger/record"
)

// text makes s storable.
func text(s string) string { return record.Text(s) }

// jsonText marshals v for a jsonb column. v is made of strings and numbers, which always can.
func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		b, _ = json.Marshal(map[string]string{"unstorable": err.Error()})
	}
	return string(storableJSON(b))
}

// storableJSON returns raw where a jsonb column takes it, and otherwise, for
// what is no JSON or holds what jsonb can't (NUL, lone surrogates, numbers of
// absurd size), the bytes in base64, so that nothing a provider said is lost.
func storableJSON(raw []byte) []byte {
	if len(raw) == 0 {
		return nil
	}
	escaped := bytes.IndexByte(raw, '\\') >= 0
	if json.Valid(raw) && !(escaped && (bytes.Contains(raw, []byte(`\u0000`)) || loneSurrogate(raw))) && !hugeExponent(raw) && utf8.Valid(raw) {
		return raw
	}
	b, _ := json.Marshal(map[string]string{"base64": base64.StdEncoding.EncodeToString(raw)})
	return b
}

// loneSurrogate says whether valid JSON may hold half of a UTF-16 pair. It
// errs on the side of true: pairs that are escaped are rare, and kept as base64.
func loneSurrogate(raw []byte) bool {
	return bytes.Contains(raw, []byte(`\ud`)) || bytes.Contains(raw, []byte(`\uD`))
}

// hugeExponent says whether a number of the valid JSON may be beyond Postgres'
// numeric: one with more than three digits of exponent. What stands in strings
// is no number: a UUID may well have 7e6149 in it.
func hugeExponent(raw []byte) bool {
	inString := false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case !inString && (c == 'e' || c == 'E') && raw[i-1] >= '0' && raw[i-1] <= '9': // not of true or false
			exponent := bytes.TrimLeft(raw[i+1:], "+-")
			digits := bytes.IndexFunc(exponent, func(r rune) bool { return r < '0' || r > '9' })
			if digits < 0 {
				digits = len(exponent)
			}
			if digits > 3 {
				return true
			}
		}
	}
	return false
}
