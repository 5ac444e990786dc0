// Package jsonschema holds documents against the schemas that Keel publishes. It knows the part of
// JSON schema that these use, and refuses a schema that uses another one, so that nothing in it goes unchecked.
package jsonschema

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
)

var keywords = []string{
	"$schema", "title", "description", "type", "properties", "required", "additionalProperties", "items", "enum", "pattern", "minimum",
}

// Violations lists where a document is not what a schema says.
func Violations(schema, document []byte) ([]string, error) {
	var s map[string]any
	if err := json.Unmarshal(schema, &s); err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	var d any
	if err := json.Unmarshal(document, &d); err != nil {
		return nil, fmt.Errorf("document: %w", err)
	}
	return violations(s, d, "$"), nil
}

func violations(schema map[string]any, v any, at string) (faults []string) {
	fail := func(format string, args ...any) { faults = append(faults, at+": "+fmt.Sprintf(format, args...)) }
	for keyword := range schema {
		if !slices.Contains(keywords, keyword) {
			fail("schema keyword %q is not known", keyword)
		}
	}
	types, _ := schema["type"].([]any)
	if one, ok := schema["type"].(string); ok {
		types = []any{one}
	}
	if types != nil && !slices.ContainsFunc(types, func(name any) bool { return isType(v, name.(string)) }) {
		fail("%v is not of type %v", v, types)
		return faults
	}
	if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, v) {
		fail("%v is not one of %v", v, enum)
	}
	if least, ok := schema["minimum"].(float64); ok && v.(float64) < least {
		fail("%v is below %v", v, least)
	}
	if text, ok := v.(string); ok && schema["pattern"] != nil && !regexp.MustCompile(schema["pattern"].(string)).MatchString(text) {
		fail("%q does not match %s", text, schema["pattern"])
	}
	if items, ok := v.([]any); ok && schema["items"] != nil {
		for i, item := range items {
			faults = append(faults, violations(schema["items"].(map[string]any), item, fmt.Sprintf("%s[%d]", at, i))...)
		}
	}
	// A schema without properties says nothing of them.
	if object, ok := v.(map[string]any); ok && (schema["properties"] != nil || schema["additionalProperties"] != nil) {
		properties, _ := schema["properties"].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(object)) {
			property, known := properties[name].(map[string]any)
			if !known {
				if property, known = schema["additionalProperties"].(map[string]any); !known {
					fail("field %q is not in the schema", name)
					continue
				}
			}
			faults = append(faults, violations(property, object[name], at+"."+name)...)
		}
		required, _ := schema["required"].([]any)
		for _, name := range required {
			if _, there := object[name.(string)]; !there {
				fail("field %q is missing", name)
			}
		}
	}
	return faults
}

func isType(v any, name string) bool {
	switch v := v.(type) {
	case nil:
		return name == "null"
	case string:
		return name == "string"
	case bool:
		return name == "boolean"
	case float64:
		return name == "number" || name == "integer" && v == float64(int64(v))
	case []any:
		return name == "array"
	}
	return name == "object"
}
