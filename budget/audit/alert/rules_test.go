package alert

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// rules are as Prometheus reads them, and nothing else.
type rules struct {
	Groups []struct {
		Name  string `yaml:"name"`
		Rules []struct {
			Alert       string            `yaml:"alert"`
			Expr        string            `yaml:"expr"`
			For         string            `yaml:"for"`
			Labels      map[string]string `yaml:"labels"`
			Annotations map[string]string `yaml:"annotations"`
		} `yaml:"rules"`
	} `yaml:"groups"`
}

// Prometheus takes the rules: its own tool says so where it is installed.
func TestPrometheusTakesTheRules(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skipf("%s was skipped: no promtool on this machine (Debian has it in the package prometheus)", t.Name())
	}
	file := filepath.Join(t.TempDir(), "keel.rules.yaml")
	if err := os.WriteFile(file, Rules, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(promtool, "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// Every rule says what is wrong and what to do, and every metric and label value that it asks for is in the code.
func TestRulesAskForWhatThereIs(t *testing.T) {
	t.Parallel()
	var r rules
	if err := yaml.UnmarshalWithOptions(Rules, &r, yaml.Strict()); err != nil {
		t.Fatal(yaml.FormatError(err, false, true))
	}
	code := source(t)
	defined := make(map[string]bool)
	for _, m := range regexp.MustCompile(`"(keel_[a-z_]+)"`).FindAllStringSubmatch(code, -1) {
		defined[m[1]] = true
	}
	seen, kinds := make(map[string]bool), make(map[string]bool)
	for _, g := range r.Groups {
		for _, rule := range g.Rules {
			if seen[rule.Alert] || !regexp.MustCompile(`^Keel[A-Z][A-Za-z]+$`).MatchString(rule.Alert) {
				t.Errorf("alert %q: twice, or not a name", rule.Alert)
			}
			seen[rule.Alert] = true
			metrics := regexp.MustCompile(`\bkeel_[a-z_]+`).FindAllString(rule.Expr, -1)
			if len(metrics) == 0 {
				t.Errorf("%s asks for nothing of ours: %s", rule.Alert, rule.Expr)
			}
			for _, m := range metrics {
				if !defined[m] {
					t.Errorf("%s asks for %s, which no code defines", rule.Alert, m)
				}
			}
			for _, m := range regexp.MustCompile(`kind="([a-z]+)"`).FindAllStringSubmatch(rule.Expr, -1) {
				kinds[m[1]] = true
			}
			for _, m := range regexp.MustCompile(`agreement=~"([a-z|]+)"`).FindAllStringSubmatch(rule.Expr, -1) {
				for value := range strings.SplitSeq(m[1], "|") {
					if !strings.Contains(code, `"`+value+`"`) {
						t.Errorf("%s asks for agreement %q, which no code sets", rule.Alert, value)
					}
				}
			}
			if strings.Count(rule.Expr, "(") != strings.Count(rule.Expr, ")") {
				t.Errorf("%s: brackets of %s", rule.Alert, rule.Expr)
			}
			if s := rule.Labels["severity"]; s != "warning" && s != "critical" || len(rule.Labels) != 1 {
				t.Errorf("%s: labels %v", rule.Alert, rule.Labels)
			}
			if rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" || len(rule.Annotations) != 2 {
				t.Errorf("%s: annotations %v", rule.Alert, rule.Annotations)
			}
		}
	}
	for _, k := range Kinds {
		if !kinds[string(k)] {
			t.Errorf("no rule is about %s", k)
		}
	}
	if len(kinds) != len(Kinds) {
		t.Errorf("rules are about %v", kinds)
	}
}

// source is all code that is no test.
func source(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, dir := range []string{"../../../cmd", "../../../filter", "../../../pricing", "../.."} {
		err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			all.Write(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}
