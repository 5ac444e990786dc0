package pricing

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// clause is upstream's rule for which names mean a model, evaluated on names in
// lower case. Exactly one field is set.
type clause struct {
	equals, startsWith, endsWith, contains string
	regex                                  func() *regexp.Regexp
	or, and                                []clause
	not                                    *clause
}

func (c *clause) matches(name string) bool {
	switch {
	case c.equals != "":
		return name == c.equals
	case c.startsWith != "":
		return strings.HasPrefix(name, c.startsWith)
	case c.endsWith != "":
		return strings.HasSuffix(name, c.endsWith)
	case c.contains != "":
		return strings.Contains(name, c.contains)
	case c.regex != nil:
		return c.regex().MatchString(name)
	case c.not != nil:
		return !c.not.matches(name)
	case c.or != nil:
		for i := range c.or {
			if c.or[i].matches(name) {
				return true
			}
		}
		return false
	case c.and != nil:
		for i := range c.and {
			if !c.and[i].matches(name) {
				return false
			}
		}
		return true
	}
	return false
}

// UnmarshalJSON reads the generator's form: an object with one key, or an array
// of names, any of which is equal.
func (c *clause) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '[' {
		var names []string
		if err := json.Unmarshal(text, &names); err != nil {
			return err
		}
		if len(names) == 0 {
			return errors.New("match rule without a name")
		}
		for _, name := range names {
			c.or = append(c.or, clause{equals: name})
		}
		return nil
	}
	var object map[string]jsontext.Value
	if err := json.Unmarshal(text, &object); err != nil {
		return err
	}
	if len(object) != 1 {
		return fmt.Errorf("match rule with %d keys: %s", len(object), text)
	}
	for key, value := range object {
		switch key {
		case "or":
			return json.Unmarshal(value, &c.or)
		case "and":
			return json.Unmarshal(value, &c.and)
		case "not":
			return json.Unmarshal(value, &c.not)
		}
		var word string
		if err := json.Unmarshal(value, &word); err != nil {
			return err
		}
		if word == "" {
			return fmt.Errorf("empty match rule: %s", text)
		}
		switch key {
		case "equals":
			c.equals = word
		case "starts_with":
			c.startsWith = word
		case "ends_with":
			c.endsWith = word
		case "contains":
			c.contains = word
		case "regex":
			// Compiled when first asked: most processes never meet most models.
			c.regex = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(word) })
		default:
			return fmt.Errorf("unknown match rule %q", key)
		}
	}
	return nil
}

// compactDate is a snapshot date as some gateways write it.
var compactDate = regexp.MustCompile(`-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(-|:|$)`)

// geographies are what Bedrock's cross-region profiles put before a model's name.
var geographies = regexp.MustCompile(`^(us-gov|us|eu|apac|jp|au|ca|sa|me|af|il|in|uk)\.`)

// spellings are the names to look a model up by: as it is, then with a compact
// date written with dashes, as upstream does, then without the geography of Bedrock,
// because upstream lists one price for all of them, and without the provider's own
// name in front, as proxies write it: openai/gpt-5 at OpenAI, google/gemini-2.5-pro at Vertex AI. openai/gpt-oss-20b
// stays what it is: open weights, whoever serves them.
func spellings(provider, name string) []string {
	names := []string{name}
	if dashed := compactDate.ReplaceAllString(name, "-$1-$2-$3$4"); dashed != name {
		names = append(names, dashed)
	}
	if provider == "bedrock" {
		if bare := geographies.ReplaceAllString(name, ""); bare != name {
			names = append(names, bare)
		}
	}
	if maker, bare, ok := strings.Cut(name, "/"); ok && makers[maker] == provider && !strings.HasPrefix(bare, "gpt-oss") {
		names = append(names, bare)
	}
	return names
}
