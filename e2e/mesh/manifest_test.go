// Package mesh holds manifests to the APIs that Istio and Envoy Gateway publish. It is a
// module of its own, so that Keel does not depend on either.
package mesh

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gateway "github.com/envoyproxy/gateway/api/v1alpha1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	meshconfig "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"
	gatewayapi "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

// manifests are the golden files of "keel envoy config", by the start of their name.
func manifests(t *testing.T, pattern string) map[string][][]byte {
	t.Helper()
	files, err := filepath.Glob("../../envoy/testdata/attach/" + pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files %s: %v", pattern, err)
	}
	all := map[string][][]byte{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, doc := range bytes.Split(text, []byte("\n---\n")) {
			plain, err := yaml.YAMLToJSONStrict(doc)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			all[filepath.Base(file)] = append(all[filepath.Base(file)], plain)
		}
	}
	return all
}

type object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct{ Name string }
	Spec       json.RawMessage
}

// Every manifest for Istio is of a kind, and has only fields, that Istio's API has.
func TestIstio(t *testing.T) {
	specs := map[string]func() proto.Message{
		"networking.istio.io/v1alpha3 EnvoyFilter": func() proto.Message { return new(networking.EnvoyFilter) },
		"networking.istio.io/v1 ServiceEntry":      func() proto.Message { return new(networking.ServiceEntry) },
		"networking.istio.io/v1 DestinationRule":   func() proto.Message { return new(networking.DestinationRule) },
		"networking.istio.io/v1 VirtualService":    func() proto.Message { return new(networking.VirtualService) },
		"telemetry.istio.io/v1 Telemetry":          func() proto.Message { return new(telemetry.Telemetry) },
		"security.istio.io/v1 AuthorizationPolicy": func() proto.Message { return new(security.AuthorizationPolicy) },
	}
	seen := map[string]bool{}
	for file, docs := range manifests(t, "istio-*.yaml") {
		for _, doc := range docs {
			if strings.Contains(file, "mesh-config") {
				if err := protojson.Unmarshal(doc, new(meshconfig.MeshConfig)); err != nil {
					t.Errorf("%s: %v", file, err)
				}
				continue
			}
			var o object
			if err := json.Unmarshal(doc, &o); err != nil {
				t.Fatal(err)
			}
			kind := o.APIVersion + " " + o.Kind
			spec := specs[kind]
			if spec == nil {
				t.Errorf("%s: %s %s is not known here", file, kind, o.Metadata.Name)
				continue
			}
			seen[kind] = true
			if err := protojson.Unmarshal(o.Spec, spec()); err != nil {
				t.Errorf("%s: %s %s: %v", file, kind, o.Metadata.Name, err)
			}
		}
	}
	if len(seen) != len(specs) {
		t.Errorf("only %v are written", seen)
	}
}

// Every manifest for Envoy Gateway is of a kind, and has only fields, that its API has.
func TestEnvoyGateway(t *testing.T) {
	kinds := map[string]func() any{
		"gateway.envoyproxy.io/v1alpha1 EnvoyProxy":           func() any { return new(gateway.EnvoyProxy) },
		"gateway.envoyproxy.io/v1alpha1 ClientTrafficPolicy":  func() any { return new(gateway.ClientTrafficPolicy) },
		"gateway.envoyproxy.io/v1alpha1 BackendTrafficPolicy": func() any { return new(gateway.BackendTrafficPolicy) },
		"gateway.envoyproxy.io/v1alpha1 EnvoyExtensionPolicy": func() any { return new(gateway.EnvoyExtensionPolicy) },
		"gateway.envoyproxy.io/v1alpha1 SecurityPolicy":       func() any { return new(gateway.SecurityPolicy) },
		"gateway.envoyproxy.io/v1alpha1 EnvoyPatchPolicy":     func() any { return new(gateway.EnvoyPatchPolicy) },
		"gateway.envoyproxy.io/v1alpha1 Backend":              func() any { return new(gateway.Backend) },
		"gateway.envoyproxy.io/v1alpha1 HTTPRouteFilter":      func() any { return new(gateway.HTTPRouteFilter) },
		"gateway.networking.k8s.io/v1 HTTPRoute":              func() any { return new(gatewayapi.HTTPRoute) },
	}
	seen := map[string]bool{}
	for file, docs := range manifests(t, "envoy-gateway-*.yaml") {
		for _, doc := range docs {
			var o object
			if err := json.Unmarshal(doc, &o); err != nil {
				t.Fatal(err)
			}
			kind := o.APIVersion + " " + o.Kind
			if kinds[kind] == nil {
				t.Errorf("%s: %s %s is not known here", file, kind, o.Metadata.Name)
				continue
			}
			seen[kind] = true
			if err := yaml.UnmarshalStrict(doc, kinds[kind]()); err != nil {
				t.Errorf("%s: %s %s: %v", file, kind, o.Metadata.Name, err)
			}
		}
	}
	if len(seen) != len(kinds) {
		t.Errorf("only %v are written", fmt.Sprint(seen))
	}
}
