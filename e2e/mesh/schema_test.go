package mesh

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	apijson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	limits "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

// What a cluster would refuse is found here: every manifest is held to the schema that the custom
// resource definitions of Istio and Envoy Gateway have, with its patterns, bounds and rules.
func TestSchemas(t *testing.T) {
	schemas := map[string]*apiextensions.JSONSchemaProps{}
	readSchemas(t, schemas, "istio.io/api", "kubernetes/customresourcedefinitions.gen.yaml")
	readSchemas(t, schemas, "github.com/envoyproxy/gateway", "charts/gateway-crds-helm/templates/generated/*.yaml")
	readSchemas(t, schemas, "sigs.k8s.io/gateway-api", "config/crd/standard/*.yaml")
	checked := 0
	for _, pattern := range []string{"istio-*.yaml", "envoy-gateway-*.yaml"} {
		for file, docs := range manifests(t, pattern) {
			if strings.Contains(file, "mesh-config") {
				continue
			}
			for _, doc := range docs {
				var o object
				if err := json.Unmarshal(doc, &o); err != nil {
					t.Fatal(err)
				}
				props := schemas[o.APIVersion+" "+o.Kind]
				if props == nil {
					t.Errorf("%s: no definition of %s %s", file, o.APIVersion, o.Kind)
					continue
				}
				checked++
				for _, err := range breaks(t, props, doc) {
					t.Errorf("%s: %s %s: %v", file, o.Kind, o.Metadata.Name, err)
				}
			}
		}
	}
	if checked < 50 {
		t.Errorf("only %d manifests", checked)
	}
	// The check itself can fail.
	bad := `{"apiVersion":"gateway.envoyproxy.io/v1alpha1","kind":"EnvoyExtensionPolicy","metadata":{"name":"x"},"spec":{"targetRefs":[{"group":"gateway.networking.k8s.io","kind":"Service","name":"x"}],"extProc":[{"backendRefs":[{"name":"x","port":1}],"statusOnError":200}]}}`
	if errs := breaks(t, schemas["gateway.envoyproxy.io/v1alpha1 EnvoyExtensionPolicy"], []byte(bad)); len(errs) < 2 {
		t.Errorf("a status of 200 and a Service as target: %v", errs)
	}
}

// readSchemas reads the definitions that a module carries.
func readSchemas(t *testing.T, schemas map[string]*apiextensions.JSONSchemaProps, module, pattern string) {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatalf("%s: %v", module, err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no definitions in %s: %v", module, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, doc := range strings.Split(string(text), "\n---\n") {
			var crd apiextensionsv1.CustomResourceDefinition
			if err := yaml.Unmarshal([]byte(untemplated(doc)), &crd); err != nil || crd.Spec.Names.Kind == "" {
				continue
			}
			for _, v := range crd.Spec.Versions {
				props := new(apiextensions.JSONSchemaProps)
				if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema, props, nil); err != nil {
					t.Fatal(err)
				}
				schemas[crd.Spec.Group+"/"+v.Name+" "+crd.Spec.Names.Kind] = props
			}
		}
	}
}

// untemplated drops the lines that Helm fills in.
func untemplated(text string) string {
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		if !strings.HasPrefix(strings.TrimSpace(line), "{{") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// breaks is what a manifest breaks of a schema.
func breaks(t *testing.T, props *apiextensions.JSONSchemaProps, doc []byte) field.ErrorList {
	t.Helper()
	var value map[string]any
	if err := apijson.Unmarshal(doc, &value); err != nil { // integers stay such
		t.Fatal(err)
	}
	structural, err := schema.NewStructural(props)
	if err != nil {
		t.Fatal(err)
	}
	defaulting.Default(value, structural) // as a cluster does first
	validator, _, err := validation.NewSchemaValidator(props)
	if err != nil {
		t.Fatal(err)
	}
	errs := validation.ValidateCustomResource(nil, value, validator)
	rules := cel.NewValidator(structural, true, limits.PerCallLimit)
	if rules == nil {
		return errs
	}
	more, _ := rules.Validate(context.Background(), nil, structural, value, nil, limits.RuntimeCELCostBudget)
	return append(errs, more...)
}
