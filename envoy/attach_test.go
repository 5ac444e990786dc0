package envoy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

const inCluster = "keel.keel.svc.cluster.local:10002"

// attachments are the golden files of testdata/attach, which the linter's tests read too.
func attachments() map[string]Attachment {
	some := []Provider{{Name: "openai", Host: "api.openai.com"}, {Name: "local", Host: "llama.internal:8080", Address: "http://llama.internal:8080"}}
	often := &Retry{On: []string{"5xx", "reset", "connect-failure"}, Statuses: []uint32{429}, Times: 2}
	config := func(mode Mode, processor string, retry *Retry) Config {
		return Config{Mode: mode, Processor: processor, Providers: some, Retry: retry, Admin: "127.0.0.1:9901", CAFile: "/etc/ssl/certs/ca-certificates.crt"}
	}
	secured := func(c Config, names ...string) Config {
		c.TLS, c.Namespaces = &TLS{Folder: "/etc/envoy/keel", Names: names}, []string{"envoy.filters.http.header_to_metadata"}
		return c
	}
	return map[string]Attachment{
		"envoy-full":                {Target: TargetEnvoy, Config: config(ModeFull, "127.0.0.1:10002", nil)},
		"envoy-attempts":            {Target: TargetEnvoy, Config: secured(config(ModeAttempts, "keel.internal:10002", often), "keel.internal", "spiffe://example.com/keel")},
		"secret-certificate":        {Target: TargetEnvoy, Config: secured(config(ModeAttempts, "keel.internal:10002", often)), Secret: "certificate"},
		"secret-ca":                 {Target: TargetEnvoy, Config: secured(config(ModeAttempts, "keel.internal:10002", often)), Secret: "ca"},
		"istio-tls":                 {Target: TargetIstio, Config: secured(config(ModeFull, inCluster, nil)), Namespace: "istio-system"},
		"envoy-gateway-tls":         {Target: TargetEnvoyGateway, Config: secured(config(ModeFull, inCluster, nil))},
		"envoy-uds":                 {Target: TargetEnvoy, Config: config(ModeAttempts, "unix:/run/keel/keel.sock", nil)},
		"istio-full":                {Target: TargetIstio, Config: config(ModeFull, inCluster, nil), Namespace: "istio-system"},
		"istio-attempts":            {Target: TargetIstio, Config: config(ModeAttempts, inCluster, often), Namespace: "istio-system"},
		"istio-uds":                 {Target: TargetIstio, Config: config(ModeAttempts, "unix:/run/keel/keel.sock", nil)},
		"istio-address":             {Target: TargetIstio, Config: config(ModeFull, "192.0.2.7:10002", &Retry{})},
		"istio-mesh-config":         {Target: TargetIstio, Config: config(ModeFull, inCluster, nil), MeshConfig: true},
		"envoy-gateway-full":        {Target: TargetEnvoyGateway, Config: config(ModeFull, inCluster, nil)},
		"envoy-gateway-attempts":    {Target: TargetEnvoyGateway, Config: config(ModeAttempts, inCluster, often)},
		"envoy-gateway-uds":         {Target: TargetEnvoyGateway, Config: config(ModeAttempts, "unix:/run/keel/keel.sock", &Retry{})},
		"envoy-observe":             {Target: TargetEnvoy, Config: secured(config(ModeObserve, "keel.internal:10002", nil), "keel.internal")},
		"istio-observe":             {Target: TargetIstio, Config: config(ModeObserve, inCluster, nil), Namespace: "istio-system"},
		"istio-observe-mesh-config": {Target: TargetIstio, Config: config(ModeObserve, inCluster, nil), MeshConfig: true},
		"envoy-light":               {Target: TargetEnvoy, Config: config(ModeLight, "127.0.0.1:10002", nil)},
		"envoy-fast":                {Target: TargetEnvoy, Config: config(ModeFast, "127.0.0.1:10002", nil)},
		"envoy-authz":               {Target: TargetEnvoy, Config: config(ModeAuthz, "127.0.0.1:10002", nil)},
		"istio-light":               {Target: TargetIstio, Config: config(ModeLight, inCluster, nil), Namespace: "istio-system"},
		"istio-authz":               {Target: TargetIstio, Config: config(ModeAuthz, inCluster, nil), Namespace: "istio-system"},
		"istio-authz-mesh-config":   {Target: TargetIstio, Config: config(ModeAuthz, inCluster, nil), MeshConfig: true},
		"istio-policy":              {Target: TargetIstio, Config: config(ModeAuthz, inCluster, nil), Namespace: "istio-system", CustomPolicy: true},
		"istio-policy-mesh-config":  {Target: TargetIstio, Config: config(ModeAuthz, inCluster, nil), MeshConfig: true, CustomPolicy: true},
		"envoy-gateway-light":       {Target: TargetEnvoyGateway, Config: config(ModeLight, inCluster, nil)},
		"envoy-gateway-authz":       {Target: TargetEnvoyGateway, Config: config(ModeAuthz, inCluster, nil)},
		"envoy-gateway-observe":     {Target: TargetEnvoyGateway, Config: config(ModeObserve, inCluster, nil)},
	}
}

func TestAttachments(t *testing.T) {
	for name, a := range attachments() {
		t.Run(name, func(t *testing.T) {
			text, err := Render(a)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", "attach", name+".yaml")
			if *update {
				if err := os.WriteFile(file, text, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(text)); diff != "" {
				t.Errorf("%s differs (-want +got); if that is meant, run go test -update:\n%s", file, diff)
			}
			again, err := Render(a)
			if err != nil || string(again) != string(text) {
				t.Errorf("the same attachment gives other bytes, %v", err)
			}
		})
	}
}

// What a person reads with comments is what "keel dev" runs without them.
func TestRenderedBootstrapIsTheBootstrap(t *testing.T) {
	for _, name := range []string{"envoy-full", "envoy-attempts", "envoy-light", "envoy-authz", "envoy-fast", "envoy-uds", "envoy-observe"} {
		a, err := attachments()[name].complete()
		if err != nil {
			t.Fatal(err)
		}
		text, err := Render(a)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Bootstrap(a.Config)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := JSON(b)
		if err != nil {
			t.Fatal(err)
		}
		var got, want any
		if err := yaml.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(plain, &want); err != nil {
			t.Fatal(err)
		}
		// What the comments spell out are defaults.
		dropDefaults(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-bootstrap +rendered):\n%s", name, diff)
		}
	}
}

func dropDefaults(v any) {
	switch v := v.(type) {
	case map[string]any:
		if v["failure_mode_allow"] == false {
			delete(v, "failure_mode_allow")
		}
		for _, inner := range v {
			dropDefaults(inner)
		}
	case []any:
		for _, inner := range v {
			dropDefaults(inner)
		}
	}
}

// No comment outlives the setting that it explains.
func TestEveryCommentIsUsed(t *testing.T) {
	var all strings.Builder
	for _, a := range attachments() {
		text, err := Render(a)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	for _, c := range comments {
		if first, _, _ := strings.Cut(c.text, "\n"); !strings.Contains(all.String(), "# "+first) {
			t.Errorf("nothing has the comment of %s: %s", c.at, first)
		}
	}
}

func TestRenderRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Attachment)
		want   string
	}{
		"mode of nobody":        {func(a *Attachment) { a.Mode = "half" }, "there are full, attempts, light, authz, fast and observe"},
		"target of nobody":      {func(a *Attachment) { a.Target = "nginx" }, "there are envoy, istio and envoy-gateway"},
		"fast in Envoy Gateway": {func(a *Attachment) { a.Target, a.Mode = TargetEnvoyGateway, ModeFast }, "built for target envoy alone"},
		"fast in Istio":         {func(a *Attachment) { a.Target, a.Mode = TargetIstio, ModeFast }, "there is authz, which denies calls whose body would have to change"},
		"usage forced in authz": {func(a *Attachment) { a.Mode, a.ForceUsage = ModeAuthz, true }, "only in modes light and fast"},
		"billed retries":        {func(a *Attachment) { a.Mode, a.Retry = ModeFull, &Retry{On: []string{"5xx"}, Times: 1} }, "only mode attempts sees each try"},
		"billed statuses":       {func(a *Attachment) { a.Mode, a.Retry = ModeFull, &Retry{Statuses: []uint32{429}, Times: 1} }, "retriable-status-codes"},
		"relative socket":       {func(a *Attachment) { a.Processor = "unix:keel.sock" }, "absolute path"},
		"long socket":           {func(a *Attachment) { a.Processor = "unix:/" + strings.Repeat("x", 200) }, "107 bytes"},
		"namespace":             {func(a *Attachment) { a.Namespace = "Keel\n" }, "as Kubernetes does"},
		"selector":              {func(a *Attachment) { a.Selector = "ingress" }, "KEY=VALUE"},
		"journal of two lines":  {func(a *Attachment) { a.Journal = "/a\nstatic_resources:" }, "more than one line"},
		"MeshConfig of Envoy":   {func(a *Attachment) { a.MeshConfig = true }, "only Istio"},
		"provider name":         {func(a *Attachment) { a.Target, a.Providers[0].Name = TargetIstio, "a_b" }, "as Kubernetes does"},
		"TLS to an IP": {func(a *Attachment) {
			a.Target, a.Providers[0].Address = TargetEnvoyGateway, "https://192.0.2.1"
		}, "against a name"},
	} {
		t.Run(name, func(t *testing.T) {
			a := Attachment{Target: TargetEnvoy, Config: Config{Processor: inCluster, Providers: DefaultProviders()[:1]}}
			if _, err := Render(a); err != nil {
				t.Fatal(err)
			}
			c.change(&a)
			if _, err := Render(a); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v does not say %q", err, c.want)
			}
		})
	}
}

// Whatever the mode, subjects can be read from the namespaces that the operator names.
func TestNamespacesInEveryMode(t *testing.T) {
	for _, mode := range []Mode{ModeFull, ModeAttempts, ModeLight, ModeAuthz, ModeFast, ModeObserve} {
		text, err := Render(Attachment{Target: TargetEnvoy, Config: Config{Mode: mode, Processor: "127.0.0.1:10002", Providers: DefaultProviders(), Namespaces: []string{"org.example.peers"}}})
		if err != nil || !strings.Contains(string(text), "org.example.peers") {
			t.Errorf("mode %s: not shown to Keel (%v)", mode, err)
		}
	}
}
