// Package promql_test holds the alert rules and the dashboard to the language of Prometheus, read by its own parser, and to the metrics
// that processors have. It is a module of its own, so that Keel does not depend on Prometheus.
package promql_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

// metrics are those of docs/metrics.md, which a test of cmd/keel holds to the registry of a processor that runs: labels by name.
func metrics(t *testing.T) map[string][]string {
	t.Helper()
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]string)
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (.*?) \\|").FindAllStringSubmatch(string(page), -1) {
		all[m[1]] = []string{"job", "instance"}
		for _, l := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(m[2], -1) {
			all[m[1]] = append(all[m[1]], l[1])
		}
	}
	if len(all) < 30 {
		t.Fatalf("docs/metrics.md has %d metrics", len(all))
	}
	return all
}

// problems are what is wrong with a query.
func problems(query string, metrics map[string][]string) (wrong []string) {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		return []string{err.Error()}
	}
	known := []string{}
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		if v, ok := n.(*parser.VectorSelector); ok {
			has, ok := metrics[v.Name]
			if !ok {
				wrong = append(wrong, "no processor has "+v.Name)
			}
			known = append(known, has...)
			for _, m := range v.LabelMatchers {
				if m.Name != labels.MetricName && !slices.Contains(has, m.Name) {
					wrong = append(wrong, v.Name+" has no label "+m.Name)
				}
			}
		}
		return nil
	})
	if len(known) == 0 && len(wrong) == 0 {
		wrong = append(wrong, "it asks for nothing")
	}
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		var asked []string
		switch n := n.(type) {
		case *parser.AggregateExpr:
			asked = n.Grouping
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				asked = append(n.VectorMatching.MatchingLabels, n.VectorMatching.Include...)
			}
		case *parser.Call:
			if len(n.Args) == 0 {
				return nil // time()
			}
			if m, ok := n.Args[0].(*parser.MatrixSelector); ok {
				name := m.VectorSelector.(*parser.VectorSelector).Name
				counts := slices.Contains([]string{"rate", "increase", "irate"}, n.Func.Name)
				if counts != strings.HasSuffix(name, "_total") {
					wrong = append(wrong, n.Func.Name+" of "+name+", which counts or does not")
				}
			}
		}
		for _, label := range asked {
			if !slices.Contains(known, label) {
				wrong = append(wrong, "nothing here has the label "+label)
			}
		}
		return nil
	})
	return wrong
}

func TestProblems(t *testing.T) {
	m := map[string][]string{"keel_a_total": {"job", "instance", "kind"}, "keel_b": {"job", "instance"}}
	for query, want := range map[string]string{
		`sum by (kind) (rate(keel_a_total{kind="x",job="k"}[5m])) > 0`: "",
		`keel_a_total +`:                       "unexpected end",
		`keel_c > 0`:                           "no processor has keel_c",
		`keel_b{kind="x"}`:                     "keel_b has no label kind",
		`sum by (color) (keel_a_total)`:        "nothing here has the label color",
		`rate(keel_b[5m])`:                     "rate of keel_b",
		`deriv(keel_a_total[5m])`:              "deriv of keel_a_total",
		`sum(keel_b) / on (color) sum(keel_b)`: "nothing here has the label color",
		`1 + 1`:                                "it asks for nothing",
	} {
		got := strings.Join(problems(query, m), "; ")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}

func TestRules(t *testing.T) {
	text, err := os.ReadFile("../../budget/audit/alert/keel.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	m, n := metrics(t), 0
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			n++
			for _, wrong := range problems(r.Expr, m) {
				t.Errorf("%s: %s: %s", r.Alert, r.Expr, wrong)
			}
		}
	}
	if n < 20 {
		t.Errorf("%d rules", n)
	}
}

// Grafana puts these in place of its variables.
var variables = strings.NewReplacer("$__rate_interval", "5m", "$__range", "6h", "$job", ".*", "$instance", ".*")

func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("../../budget/audit/alert/keel.dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		UID    string
		Panels []struct {
			ID          int
			Title, Type string
			Targets     []struct{ Expr, LegendFormat string }
		}
		Templating struct {
			List []struct{ Name, Definition string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	all := metrics(t)
	shown, ids := make(map[string]bool), make(map[int]bool)
	for _, p := range board.Panels {
		if ids[p.ID] || p.Title == "" || p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %d %q: twice, without a title, or empty", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			query := variables.Replace(target.Expr)
			for _, wrong := range problems(query, all) {
				t.Errorf("%s: %s: %s", p.Title, target.Expr, wrong)
			}
			for _, name := range regexp.MustCompile(`\b[a-z_]+\b`).FindAllString(query, -1) {
				shown[name] = true
			}
			for _, l := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(target.LegendFormat, -1) {
				if !strings.Contains(target.Expr, "("+l[1]) && !strings.Contains(target.Expr, ", "+l[1]+")") && l[1] != "instance" {
					t.Errorf("%s: the legend has %s, which %s leaves out", p.Title, l[1], target.Expr)
				}
			}
		}
	}
	for _, v := range board.Templating.List {
		if m := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(v.Definition); v.Definition != "" && (m == nil || !slices.Contains(all[m[1]], m[2])) {
			t.Errorf("variable %s: %s", v.Name, v.Definition)
		}
	}
	for name := range all {
		if !shown[name] {
			t.Errorf("no panel shows %s", name)
		}
	}
}
