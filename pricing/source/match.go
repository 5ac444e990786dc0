package source

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// globs turns a match rule of genai-prices into model names and globs. The error
// names a rule that has no such form; the names that were found are returned with it.
func globs(rule jsontext.Value) ([]string, error) {
	var clause map[string]jsontext.Value
	if err := json.Unmarshal(rule, &clause); err != nil {
		return nil, err
	}
	if len(clause) != 1 {
		return nil, fmt.Errorf("match rule %.80s", rule)
	}
	for key, value := range clause {
		if key == "or" {
			return anyOf(value)
		}
		var word string
		if key == "and" || json.Unmarshal(value, &word) != nil || word == "" || strings.ContainsAny(word, "*?") && key != "regex" {
			return nil, fmt.Errorf("match rule %.80s has no form as a glob", rule)
		}
		switch key {
		case "equals":
			return []string{word}, nil
		case "starts_with":
			return []string{word + "*"}, nil
		case "ends_with":
			return []string{"*" + word}, nil
		case "contains":
			return []string{"*" + word + "*"}, nil
		case "regex":
			// A name with its snapshot dates: a price for the name is for those, too.
			if m := datedName.FindStringSubmatch(word); m != nil {
				return []string{strings.ReplaceAll(m[1], `\.`, ".")}, nil
			}
		}
	}
	return nil, fmt.Errorf("match rule %.80s has no form as a glob", rule)
}

func anyOf(value jsontext.Value) ([]string, error) {
	var rules []jsontext.Value
	if err := json.Unmarshal(value, &rules); err != nil {
		return nil, err
	}
	var names []string
	var errs []error
	for _, rule := range rules {
		found, err := globs(rule)
		names = append(names, found...)
		if err != nil {
			errs = append(errs, err)
		}
	}
	return names, errors.Join(errs...)
}

var datedName = regexp.MustCompile(`^\^((?:[A-Za-z0-9/_:-]|\\\.)+)-\\d\{8\}\$$`)
