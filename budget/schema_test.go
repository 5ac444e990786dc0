package budget

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// schemaKeywords are those of JSON schema that the checker knows. A schema that uses
// another is refused, so that nothing in it goes unchecked.
var schemaKeywords = []string{
	"$schema", "title", "description", "type", "properties", "required", "additionalProperties", "items", "enum", "pattern", "minimum",
}

func checkSchema(t *testing.T, schema, document []byte) {
	t.Helper()
	var s map[string]any
	if err := json.Unmarshal(schema, &s); err != nil {
		t.Fatal(err)
	}
	var d any
	if err := json.Unmarshal(document, &d); err != nil {
		t.Fatalf("%v in %s", err, document)
	}
	for _, fault := range violations(s, d, "$") {
		t.Errorf("dry run: %s\n%s", fault, document)
	}
}

func violations(schema map[string]any, v any, at string) (faults []string) {
	fail := func(format string, args ...any) { faults = append(faults, at+": "+fmt.Sprintf(format, args...)) }
	for keyword := range schema {
		if !slices.Contains(schemaKeywords, keyword) {
			fail("schema keyword %q is not known to this test", keyword)
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
	if items, ok := v.([]any); ok {
		for i, item := range items {
			faults = append(faults, violations(schema["items"].(map[string]any), item, fmt.Sprintf("%s[%d]", at, i))...)
		}
	}
	if object, ok := v.(map[string]any); ok {
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

// The checker itself has to find what is wrong.
func TestSchemaViolations(t *testing.T) {
	t.Parallel()
	var schema map[string]any
	if err := json.Unmarshal(DryRunSchema, &schema); err != nil {
		t.Fatal(err)
	}
	var document map[string]any
	if err := json.Unmarshal((&Decision{Action: Allow}).DryRunJSON(), &document); err != nil {
		t.Fatal(err)
	}
	if faults := violations(schema, document, "$"); len(faults) > 0 {
		t.Fatal(faults)
	}
	document["action"], document["surprise"] = "maybe", 1.0
	document["estimate"].(map[string]any)["bound_usd"] = "1e3"
	delete(document, "rules")
	all := strings.Join(violations(schema, document, "$"), "\n")
	for _, want := range []string{"maybe", "surprise", "1e3", `"rules" is missing`} {
		if !strings.Contains(all, want) {
			t.Errorf("nothing about %s in:\n%s", want, all)
		}
	}
}
