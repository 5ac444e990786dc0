package mesh

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Envoy Gateway's own translator takes the manifests, patches and all, and what it makes of them is
// safe. It takes long to build (make egctl), so it is looked for and not built here.
func TestTranslated(t *testing.T) {
	egctl := os.Getenv("EGCTL")
	if egctl == "" {
		var err error
		if egctl, err = exec.LookPath("egctl"); err != nil {
			t.Skip("no egctl: name one in EGCTL, or run make egctl: ", err)
		}
	}
	keel := filepath.Join(t.TempDir(), "keel")
	if out, err := exec.Command("go", "-C", "../..", "build", "-o", keel, "./cmd/keel").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	cluster, err := os.ReadFile("testdata/gateway.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"full", "attempts", "uds", "light", "authz", "observe"} {
		t.Run(mode, func(t *testing.T) {
			own, err := os.ReadFile("../../envoy/testdata/attach/envoy-gateway-" + mode + ".yaml")
			if err != nil {
				t.Fatal(err)
			}
			all := [][]byte{cluster, own}
			if mode == "observe" { // which writes no routes
				all = append(all, []byte(someRoute))
			}
			in := filepath.Join(t.TempDir(), "in.yaml")
			if err := os.WriteFile(in, bytes.Join(all, []byte("\n---\n")), 0o644); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(egctl, "x", "translate", "--from", "gateway-api", "--to", "gateway-api,xds", "-t", "all", "-o", "json", "-f", in).Output()
			if err != nil {
				t.Fatalf("egctl: %v", err)
			}
			kinds := []string{"httpRoutes", "envoyPatchPolicies", "envoyProxiesForGateways"}
			switch mode {
			case "observe":
			case "authz":
				kinds = append(kinds, "clientTrafficPolicies", "backendTrafficPolicies", "backends", "securityPolicies")
			default:
				kinds = append(kinds, "clientTrafficPolicies", "backendTrafficPolicies", "backends", "envoyExtensionPolicies")
			}
			accepted(t, out, kinds)
			file := filepath.Join(t.TempDir(), "out.json")
			var made struct{ XDS json.RawMessage }
			if err := json.Unmarshal(out, &made); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, append(append([]byte(`{"xds":`), made.XDS...), '}'), 0o644); err != nil {
				t.Fatal(err)
			}
			if said, err := exec.Command(keel, "envoy", "lint", "--complete", file).CombinedOutput(); err != nil || string(said) != "keel: 0 findings, 0 unseen\n" {
				t.Errorf("keel envoy lint: %v\n%s", err, said)
			}
		})
	}
}

// someRoute is what a cluster has that Keel only looks at.
const someRoute = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: provider, namespace: keel}
spec:
  parentRefs: [{name: keel}]
  rules: [{backendRefs: [{name: keel, port: 10002}]}]
`

// accepted holds every object of these kinds to have been taken.
func accepted(t *testing.T, out []byte, kinds []string) {
	t.Helper()
	type condition struct{ Type, Status, Message string }
	type status struct {
		Conditions []condition
		Ancestors  []struct{ Conditions []condition }
		Parents    []struct{ Conditions []condition }
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds {
		var objects []struct {
			Metadata struct{ Name string }
			Status   status
		}
		if err := json.Unmarshal(all[kind], &objects); err != nil || len(objects) == 0 {
			t.Errorf("%s: %v", kind, err)
		}
		for _, o := range objects {
			conditions := o.Status.Conditions
			for _, a := range append(o.Status.Ancestors, o.Status.Parents...) {
				conditions = append(conditions, a.Conditions...)
			}
			if len(conditions) == 0 {
				t.Errorf("%s %s has no status", kind, o.Metadata.Name)
			}
			for _, c := range conditions {
				if c.Status != "True" {
					t.Errorf("%s %s is not %s: %s", kind, o.Metadata.Name, c.Type, c.Message)
				}
			}
		}
	}
}
