package budget

import (
	"encoding/json"
	"strings"
	"testing"

	"keel/budget/internal/jsonschema"
)

func checkSchema(t *testing.T, schema, document []byte) {
	t.Helper()
	faults, err := jsonschema.Violations(schema, document)
	if err != nil {
		t.Fatalf("%v in %s", err, document)
	}
	for _, fault := range faults {
		t.Errorf("dry run: %s\n%s", fault, document)
	}
}

// The checker itself has to find what is wrong.
func TestSchemaViolations(t *testing.T) {
	t.Parallel()
	checkSchema(t, DryRunSchema, (&Decision{Action: Allow}).DryRunJSON())
	var document map[string]any
	if err := json.Unmarshal((&Decision{Action: Allow}).DryRunJSON(), &document); err != nil {
		t.Fatal(err)
	}
	document["action"], document["surprise"] = "maybe", 1.0
	document["estimate"].(map[string]any)["bound_usd"] = "1e3"
	delete(document, "rules")
	wrong, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	faults, err := jsonschema.Violations(DryRunSchema, wrong)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(faults, "\n")
	for _, want := range []string{"maybe", "surprise", "1e3", `"rules" is missing`} {
		if !strings.Contains(all, want) {
			t.Errorf("nothing about %s in:\n%s", want, all)
		}
	}
}
