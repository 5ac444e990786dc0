package budget

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// callLabels are the labels of a selector that say what is asked for. A
// subject can't carry them.
var callLabels = []string{"provider", "model", "route", "api"}

// traits are what selectors look at: the subject, and the target under
// consideration.
type traits struct {
	subject                     Subject
	provider, model, route, api string
}

// label returns a label's value, "" for one that is missing.
func (t *traits) label(name string) string {
	switch name {
	case "provider":
		return t.provider
	case "model":
		return t.model
	case "route":
		return t.route
	case "api":
		return t.api
	}
	return t.subject[name]
}

type labelGlob struct {
	label string
	glob  glob
}

func parseSelector(selector map[string]string) ([]labelGlob, error) {
	var parsed []labelGlob
	for _, label := range slices.Sorted(maps.Keys(selector)) {
		g, err := parseGlob(selector[label])
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, labelGlob{label, g})
	}
	return parsed, nil
}

func (b *activeBudget) matches(t *traits) bool {
	for i := range b.selector {
		if !b.selector[i].glob.match(t.label(b.selector[i].label)) {
			return false
		}
	}
	if b.Template {
		for _, label := range b.Per {
			if t.label(label) == "" {
				return false
			}
		}
	}
	return true
}

// account is where a budget keeps what calls of these traits spend at a time.
func (b *activeBudget) account(t *traits, at time.Time) Account {
	s := b.current.Load()
	if s == nil || at.Before(s.start) || !s.end.IsZero() && !at.Before(s.end) {
		start, end := b.window.Bounds(at)
		s = &span{start, end}
		b.current.Store(s)
	}
	return Account{Org: b.Org, Budget: b.Name, Key: accountKey(b.Per, t), WindowStart: s.start, WindowEnd: s.end, Rolling: b.window.rolling}
}

// maxKeyLength bounds a key, which is part of a database index. Whoever sends
// a longer label still gets an account of his own.
const maxKeyLength = 256

// accountKey names the account of one combination of label values:
// "team=research,user=ada". The labels are part of it, so that a budget whose
// per changes does not read old accounts as new ones.
func accountKey(per []string, t *traits) string {
	if len(per) == 0 {
		return ""
	}
	var b strings.Builder
	for i, label := range per {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(label)
		b.WriteByte('=')
		escape(&b, t.label(label))
	}
	key := b.String()
	if len(key) > maxKeyLength {
		sum := sha256.Sum256([]byte(key))
		cut := maxKeyLength - 2*16 - 1
		for !utf8.RuneStart(key[cut]) {
			cut--
		}
		key = key[:cut] + "~" + hex.EncodeToString(sum[:16])
	}
	return key
}

// escape writes a value so that no two lists of values give one key, and that
// a database can keep it: what is not printable UTF-8 becomes %XX.
func escape(b *strings.Builder, value string) {
	const digits = "0123456789ABCDEF"
	for len(value) > 0 {
		r, size := utf8.DecodeRuneInString(value)
		if r == utf8.RuneError && size == 1 || !unicode.IsPrint(r) || strings.ContainsRune("%,=~", r) {
			for i := range size {
				b.WriteByte('%')
				b.WriteByte(digits[value[i]>>4])
				b.WriteByte(digits[value[i]&15])
			}
		} else {
			b.WriteString(value[:size])
		}
		value = value[size:]
	}
}
