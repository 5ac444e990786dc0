package budget

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A row is one of a table of docs/configuration.md.
type row struct{ values, without string }

// smallest are documents that say what they must and nothing else: of a field, the text of its value in YAML.
var smallest = map[Kind]node{
	KindSubject:      {"name": "x", "label": "team", "from": node{"header": "x-team"}},
	KindBudget:       {"name": "x", "limit": "1 USD", "window": "month"},
	KindRoute:        {"name": "x", "models": "[m]", "targets": []node{{"provider": "openai", "model": "m"}}},
	KindPolicy:       {"name": "x", "when": "'true'", "do": node{"warn": "text"}},
	KindExchangeRate: {"name": "x", "from": "EUR", "to": "USD", "rate": "1.1"},
	KindPrice:        {"name": "x", "provider": "openai", "model": "m", "per_million": "{input: 1}"},
	KindSettings:     {"name": "default"},
}

// withOthers are fields that have to be there for another one to be read.
var withOthers = map[string]node{
	"Budget template":           {"per": "[session]"},
	"Budget offline_debt":       {"offline": "allow_debt"},
	"Budget tiers[].at":         {"tiers": []node{{"do": "warn"}}},
	"Budget tiers[].do":         {"tiers": []node{{"at": "50%"}}},
	"Price per_million":         {"per_unit": "{images: 1}"},
	"Price tiers[].above":       {"tiers": []node{{"per_million": "{input: 2}"}}},
	"Price tiers[].per_million": {"tiers": []node{{"above": "1000", "per_unit": "{images: 1}"}}},
	"Price tiers[].per_unit":    {"tiers": []node{{"above": "1000", "per_million": "{input: 2}"}}},
}

// node is a mapping; what is in it is a node, a list of one, or text.
type node map[string]any

func (n node) String() string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(n)) {
		value := n[key]
		if items, ok := value.([]node); ok {
			value = "[" + items[0].String() + "]"
		}
		parts = append(parts, fmt.Sprintf("%s: %v", key, value))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// with is n with the value at path, or without what is there where value is nil. What is said by one field of several (do, from) is
// said by that one.
func (n node) with(path string, value any) node {
	n = maps.Clone(n)
	name, rest, deeper := strings.Cut(path, ".")
	list := strings.HasSuffix(name, "[]")
	name = strings.TrimSuffix(name, "[]")
	switch {
	case !deeper && value == nil:
		delete(n, name)
	case !deeper:
		n[name] = value
	case list:
		inner := node{}
		if items, ok := n[name].([]node); ok {
			inner = items[0]
		}
		n[name] = []node{inner.with(rest, value)}
	default:
		n[name] = node{}.with(rest, value)
	}
	return n
}

func readNode(kind Kind, n node) (Documents, error) {
	return ReadDocuments(strings.NewReader(n.with("kind", string(kind)).String()), "x.yaml")
}

var (
	thereAre = regexp.MustCompile(`unknown field "[^"]*"; there are (.*)`)
	isOneOf  = regexp.MustCompile(`it is one of (.*)`)
)

// asked puts something into a field that can't be there, and returns the list by which the reader refuses it; nil where it has none.
func asked(kind Kind, n node, refusal *regexp.Regexp) (all []string) {
	_, err := readNode(kind, n)
	if err == nil {
		return nil
	}
	m := refusal.FindStringSubmatch(err.Error())
	if m == nil {
		return nil
	}
	for name := range strings.SplitSeq(m[1], ", ") {
		if !strings.Contains(name, " ") { // "or like rolling 24h"
			all = append(all, name)
		}
	}
	return all
}

// readable are the fields below path, true where one has none below it.
func readable(kind Kind, base node, path string, into map[string]bool) {
	for _, name := range asked(kind, base.with(path+"zzz", "1"), thereAre) {
		at := path + name
		if path == "" && slices.Contains([]string{"kind", "name", "org"}, name) {
			continue
		}
		leaf := true
		for _, below := range []string{at + ".", at + "[]."} {
			if asked(kind, base.with(below+"zzz", "1"), thereAre) != nil {
				leaf = false
				readable(kind, base, below, into)
			}
		}
		into[at] = leaf
	}
}

// docs/configuration.md has every field that the reader of documents takes, with every word that may stand there and with what it
// is where it is not stated; and no other.
func TestReferenceFields(t *testing.T) {
	text, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	page := tables(string(text))
	common := map[string]bool{"kind": true, "name": true, "org": true}
	if got := page[""]; !maps.EqualFunc(got, common, func(row, bool) bool { return true }) {
		t.Errorf("every document has the fields %v, and the page says %v", slices.Sorted(maps.Keys(common)), slices.Sorted(maps.Keys(got)))
	}
	for name, row := range page[""] {
		checkRow(t, KindBudget, name, row, smallest[KindBudget])
	}
	for _, kind := range Kinds() {
		if _, err := readNode(kind, smallest[kind]); err != nil {
			t.Fatal(err)
		}
		fields := map[string]bool{}
		readable(kind, smallest[kind], "", fields)
		if len(fields) < 3 {
			t.Errorf("%s has only the fields %v", kind, fields)
		}
		rows := page[string(kind)]
		for field, leaf := range fields {
			if _, ok := rows[field]; !ok && leaf {
				t.Errorf("%s: the page says nothing of %s", kind, field)
			}
		}
		for field, row := range rows {
			if _, ok := fields[field]; !ok {
				t.Errorf("%s: the page says %s, and there is no such field", kind, field)
				continue
			}
			base := smallest[kind]
			for path, value := range withOthers[string(kind)+" "+field] {
				base = base.with(path, value)
			}
			checkRow(t, kind, field, row, base)
		}
	}
}

var (
	quotedWord  = regexp.MustCompile("`([^`]*)`")
	onlyDefault = regexp.MustCompile("^`([^`]*)`$")
)

func checkRow(t *testing.T, kind Kind, field string, r row, base node) {
	t.Helper()
	words := asked(kind, base.with(field, "zz-zz"), isOneOf)
	if words == nil {
		words = asked(kind, base.with(field, "[zz-zz]"), isOneOf)
	}
	if words != nil {
		var told []string
		for _, m := range quotedWord.FindAllStringSubmatch(r.values, -1) {
			if !strings.Contains(m[1], " ") {
				told = append(told, m[1])
			}
		}
		if slices.Sort(words); !slices.Equal(slices.Sorted(slices.Values(told)), words) {
			t.Errorf("%s %s: it is one of %v, and the page says %v", kind, field, words, told)
		}
	}
	without, err := readNode(kind, base.with(field, nil))
	if r.without == "required" || field == "kind" {
		if err == nil && field != "kind" {
			t.Errorf("%s %s: the page says that it is required, and it may be left out", kind, field)
		}
		return
	}
	if err != nil {
		if r.without != "" { // of several fields one has to be there
			t.Errorf("%s %s: the page says what it is without it (%s), and it is required: %v", kind, field, r.without, err)
		}
		return
	}
	if m := onlyDefault.FindStringSubmatch(r.without); m != nil {
		if with, err := readNode(kind, base.with(field, m[1])); err != nil || !reflect.DeepEqual(with, without) {
			t.Errorf("%s %s: the page says that it is %s where it is not stated, and that is not so: %v", kind, field, m[1], err)
		}
		return
	}
	for _, word := range words {
		for _, value := range []string{word, "[" + word + "]"} {
			if with, err := readNode(kind, base.with(field, value)); err == nil && reflect.DeepEqual(with, without) {
				t.Errorf("%s %s: it is %s where it is not stated, and the page says %q", kind, field, word, r.without)
			}
		}
	}
	var written strings.Builder
	if err := WriteYAML(&written, without); err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`[^.\[\]]+$`).FindString(field)
	if m := regexp.MustCompile(`(?m)(?:^|[{ ])` + name + `: (.*)$`).FindStringSubmatch(written.String()); m != nil && field == name {
		t.Errorf("%s %s: it is %s where it is not stated, and the page says %q", kind, field, m[1], r.without)
	}
}

// tables are the rows of the tables of fields, by the heading that they are under, "" before the first kind.
func tables(page string) map[string]map[string]row {
	all := map[string]map[string]row{}
	heading, inTable := "", false
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "## "); ok {
			heading = name
		}
		if line == "| field | values | without it |" {
			inTable = true
			if all[heading] == nil {
				all[heading] = map[string]row{}
			}
			continue
		}
		inTable = inTable && strings.HasPrefix(line, "|")
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if !inTable || len(cells) != 3 {
			continue
		}
		for _, m := range quotedWord.FindAllStringSubmatch(cells[0], -1) { // one, or several that are the same
			all[heading][m[1]] = row{values: cells[1], without: strings.TrimSpace(cells[2])}
		}
	}
	return all
}
