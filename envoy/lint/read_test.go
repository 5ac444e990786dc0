package lint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

func lintText(t *testing.T, text string) *Report {
	t.Helper()
	report, err := Lint([]Source{{"f", []byte(text)}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// filterIn is a listener with Keel's filter, in the two spellings of Envoy's API.
const (
	snake = `filter_chains: [{filters: [{name: hcm, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
http_filters: [{name: keel.ext_proc, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor, failure_mode_allow: true, processing_mode: {request_body_mode: 2}}}]}}]}]`
	camel = `{"filterChains":[{"filters":[{"name":"hcm","typedConfig":{"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
"httpFilters":[{"name":"keel.ext_proc","typedConfig":{"@type":"type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor","failureModeAllow":true,"processingMode":{"requestBodyMode":"BUFFERED"}}}]}}]}]}`
)

func TestSpellingsAreOne(t *testing.T) {
	want := ""
	for _, f := range lintText(t, snake).Findings {
		want += f.Rule + " " + f.Path + "\n"
	}
	got := ""
	for _, f := range lintText(t, camel).Findings {
		got += f.Rule + " " + f.Path + "\n"
	}
	if got != want || !strings.Contains(got, failsOpen+" filter_chains[0].filters[0].typed_config.http_filters[0].typed_config.failure_mode_allow") {
		t.Errorf("camel case finds\n%ssnake case\n%s", got, want)
	}
	if strings.Contains(got, requestBody) {
		t.Error("an enum's number is not its name")
	}
}

// A finding is where its setting is written, in either syntax, and in a document that is not the first.
func TestPlaces(t *testing.T) {
	for name, text := range map[string]string{
		"block":          "# é\nfilter_chains:\n- filters:\n  - typed_config:\n      \"@type\": type.googleapis.com/" + msgManager + "\n      http_filters:\n      - name: keel\n        typed_config:\n          \"@type\": type.googleapis.com/" + msgExtProc + "\n          failure_mode_allow: true\n",
		"flow":           snake,
		"json":           camel,
		"tabs":           strings.ReplaceAll(camel, `"failureModeAllow"`, "\n\t\"failureModeAllow\""),
		"later document": "# nothing\n---\nkind: Service\napiVersion: v1\n---\n" + snake,
		"CRLF":           strings.ReplaceAll(snake, "\n", "\r\n"),
		"wide":           strings.Replace(camel, `"keel.ext_proc"`, `"keel.é"`, 1),
		"wide YAML":      strings.Replace(snake, `keel.ext_proc`, `keel.éé`, 1),
		"anchor":         "static_resources: {}\nx: &x true\n---\n" + snake,
		"two values":     "{}\n" + camel,
	} {
		t.Run(name, func(t *testing.T) {
			lines := strings.Split(text, "\n")
			for _, f := range lintText(t, text).Findings {
				if f.Rule != failsOpen {
					continue
				}
				rest := strings.TrimLeft(string([]rune(lines[f.Line-1])[f.Column-1:]), `"`)
				if !strings.HasPrefix(rest, "failure_mode_allow") && !strings.HasPrefix(rest, "failureModeAllow") {
					t.Errorf("at %d:%d there is %.30q", f.Line, f.Column, rest)
				}
				return
			}
			t.Error("not found")
		})
	}
}

func TestUnreadable(t *testing.T) {
	deep := strings.Repeat("[", 100_000)
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 12; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9), i-1)
	}
	for name, c := range map[string]struct{ text, want string }{
		"not YAML":       {"a: b: c\n", "f:1:"},
		"later document": {"a: 1\n---\nb: [\n", "f:3:"},
		"not JSON":       {`{"a": "x`, "f:1:"},
		"twice":          {"static_resources: {}\nstatic_resources: {}\n", "f:2:1"},
		"twice in JSON":  {`{"static_resources":{},"static_resources":{}}`, "f:1:"},
		"deep":           {deep, "f:"},
		"bomb":           {bomb, "too many values"},
		"alias":          {"a: *nowhere\n", "no anchor"},
		"itself":         {"a: &a [*a]\n", "f:"},
		"binary":         {"\xff\xfe", "not UTF-8"},
		"empty":          {"", "no configuration of Envoy"},
		"something else": {"hello: world\n", "no configuration of Envoy"},
		"a Deployment":   {"apiVersion: apps/v1\nkind: Deployment\n", "no configuration of Envoy"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Lint([]Source{{"f", []byte(c.text)}}, Options{})
			var unreadable *UnreadableError
			if !errors.As(err, &unreadable) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	_, err := Lint([]Source{{"one", []byte("a: b: c")}, {"two", []byte("{")}}, Options{})
	if err == nil || !strings.Contains(err.Error(), "one:") || !strings.Contains(err.Error(), "two:") {
		t.Errorf("not every file is told: %v", err)
	}
}

func TestAnchorsAndMerges(t *testing.T) {
	report := lintText(t, `filter: &open
  failure_mode_allow: true
static_resources:
  listeners:
  - filter_chains:
    - filters:
      - typed_config:
          "@type": type.googleapis.com/`+msgManager+`
          http_filters:
          - name: keel
            typed_config:
              <<: *open
              "@type": type.googleapis.com/`+msgExtProc+`
`)
	for _, f := range report.Findings {
		if f.Rule == failsOpen {
			if f.Line != 2 {
				t.Errorf("at line %d", f.Line)
			}
			return
		}
	}
	t.Errorf("not found in %+v", report)
}

// What lint can't see is no finding, and is told.
func TestUnseen(t *testing.T) {
	router := func(replace ...string) string {
		text, err := os.ReadFile(own + "envoy-attempts.yaml")
		if err != nil {
			t.Fatal(err)
		}
		out := strings.Replace(string(text), replace[0], replace[1], 1)
		if out == string(text) {
			t.Fatalf("nothing to replace: %q", replace)
		}
		return out
	}
	for name, c := range map[string]struct{ text, want, rule string }{
		"a setting of nobody": {router("allow_mode_override: true\n", "allow_mode_override: true\n              allow_everything: true\n"), "ExternalProcessor has no setting allow_everything", ""},
		"a value of nobody":   {router("request_trailer_mode: SKIP", "request_trailer_mode: SKIPPED"), `request_trailer_mode can't be "SKIPPED"`, ""},
		"a cluster by xDS":    {router("name: keel_processor\n    type", "name: other\n    type"), "cluster keel_processor is not among the files", breakerDefault},
		"routes by xDS":       {router("route_config:\n            name: keel\n            virtual_hosts:", "rds: {route_config_name: elsewhere}\n          x:\n            virtual_hosts:"), "routes come by xDS", routeNotCovered},
		"a filter by xDS":     {router("- name: envoy.filters.http.router\n            typed_config:\n", "- name: more\n            config_discovery: {config_source: {ads: {}}}\n          - name: envoy.filters.http.router\n            typed_config:\n"), "filter more comes by xDS", ""},
		"a cluster by header": {router("                route:\n                  cluster: openai\n", "                route:\n                  cluster_header: x-cluster\n"), "named by a header", attemptsUnseen},
		"a filter of others":  {router("- name: keel.ext_proc\n", "- name: picker\n            typed_config: {\"@type\": type.googleapis.com/"+msgExtProc+", failure_mode_allow: true}\n          - name: keel.ext_proc\n"), "filter picker is not Keel's", ""},
	} {
		t.Run(name, func(t *testing.T) {
			report := lintText(t, c.text)
			if len(report.Findings) > 0 {
				t.Errorf("found %+v", report.Findings)
			}
			for _, u := range report.Unseen {
				if strings.Contains(u.Message, c.want) && u.Rule == c.rule && u.Line > 0 {
					return
				}
			}
			t.Errorf("%q is not told: %+v", c.want, report.Unseen)
		})
	}
}

// Manifests that lack a part are unseen in part, unless they are said to be all.
func TestComplete(t *testing.T) {
	for file, rules := range map[string][]string{"istio-full.yaml": {accessLogMissing}, "envoy-gateway-full.yaml": nil} {
		c := load(t, own+file)
		if report := c.lint(t, Options{}); len(report.Findings) > 0 || len(report.Unseen) != len(rules) {
			t.Errorf("%s: %+v", file, report)
		}
	}
	c := load(t, own+"envoy-gateway-attempts.yaml")
	for _, kind := range []string{"ClientTrafficPolicy", "EnvoyProxy", "EnvoyPatchPolicy"} {
		for i, doc := range c.docs[0] {
			if doc.(map[string]any)["kind"] == kind {
				c.docs[0] = append(c.docs[0][:i:i], c.docs[0][i+1:]...)
				break
			}
		}
	}
	if report := c.lint(t, Options{}); len(report.Findings) > 0 || len(report.Unseen) != 4 {
		t.Errorf("in part: %+v", report)
	}
	if report := c.lint(t, Options{Complete: true}); len(report.Findings) != 4 || len(report.Unseen) > 0 {
		t.Errorf("as a whole: %+v", report)
	}
}

// FuzzLint: whatever a file says, lint ends, panics never, and names places that are in the file.
func FuzzLint(f *testing.F) {
	files, err := filepath.Glob(own + "*.yaml")
	if err != nil || len(files) < 10 {
		f.Fatal(files, err)
	}
	for _, file := range append(files, "testdata/ext_authz.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	for _, text := range []string{snake, camel, `{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ListenersConfigDump","static_listeners":[{"listener":null}]}]}`, "xds: {a: {configs: [1]}}", "extensionProviders: [{envoyHttpAls: 1}]", "kind: List\napiVersion: v1\nitems: [{kind: EnvoyFilter, apiVersion: x, spec: {configPatches: [{applyTo: CLUSTER, patch: 3}]}}]", "a: &a [*a]", "<<: 1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		report, err := Lint([]Source{{"f", []byte(text)}}, Options{Complete: len(text)%2 == 0})
		if err != nil {
			var unreadable *UnreadableError
			if !errors.As(err, &unreadable) {
				t.Fatalf("not an UnreadableError: %v", err)
			}
			return
		}
		lines := strings.Split(text, "\n")
		for _, f := range report.Findings {
			if f.Line < 1 || f.Line > len(lines) || f.Column < 1 || f.Column > utf8.RuneCountInString(lines[f.Line-1])+1 {
				t.Errorf("%s is not in the file: %s", f.Place, f.Message)
			}
		}
	})
}

func BenchmarkLint(b *testing.B) {
	text, err := os.ReadFile(own + "envoy-attempts.yaml")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := Lint([]Source{{"f", text}}, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
