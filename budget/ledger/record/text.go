package record

import "strings"

// Text makes s storable: Postgres takes valid UTF-8 without NUL, and what
// clients and providers send may be neither. Refusing the record would lose spend.
func Text(s string) string {
	if isPlain(s) {
		return s
	}
	if !strings.ContainsRune(s, 0) {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// isPlain reports that s is ASCII without NUL, as most text is.
func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i]-1 >= 0x7f {
			return false
		}
	}
	return true
}
