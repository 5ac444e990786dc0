package ledger

import "testing"

func TestStorableJSON(t *testing.T) {
	t.Parallel()
	for raw, kept := range map[string]bool{
		`{"n": 1e5, "m": 1E+120, "o": -2e-7}`: true,
		`{"n": 1e4567}`:                       false,
		`{"n": 1E-1234}`:                      false,
		`1e9999`:                              false,
		`{"id": "01a20b43-ca9f-7cee-a0a8-57e6149c693d"}`: true, // 7e6149 of a UUID is no number
		`{"a\\": "1e9999", "b": "\"1e9999"}`:             true,
		`{"a": "\\", "b": 1e9999}`:                       false,
		`{"a": "\u0000"}`:                                false,
		`{"a": "\ud800"}`:                                false,
		`{"a": true, "b": false}`:                        true,
		`{`:                                              false,
	} {
		if got := string(storableJSON([]byte(raw))) == raw; got != kept {
			t.Errorf("%s: kept as it is: %t, want %t", raw, got, kept)
		}
	}
}
