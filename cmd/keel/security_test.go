package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"
)

var namedTest = regexp.MustCompile("`([a-z][a-z0-9/]*)\\.(Test[A-Za-z0-9]+)(?:/([a-z-]+))?`")

// Every threat of docs/security.md names tests, and they are there; and every threat that has to be there is.
func TestThreatsHaveTests(t *testing.T) {
	page, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "\n| threat |")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := strings.Split(table, "\n")[2:]
	threats := ""
	for _, row := range rows {
		cells := strings.Split(strings.Trim(row, "|"), " | ")
		threats += strings.TrimSpace(cells[0]) + "\n"
		named := namedTest.FindAllStringSubmatch(cells[len(cells)-1], -1)
		if len(named) == 0 {
			t.Errorf("no test shows %q", cells[0])
		}
		for _, test := range named {
			if !hasTest(t, filepath.Join("../..", test[1]), test[2]) {
				t.Errorf("%s: there is no %s in %s", cells[0], test[2], test[1])
			}
			if test[3] != "" {
				if _, err := os.Stat(filepath.Join("../..", test[1], "testdata", test[3]+".txtar")); err != nil {
					t.Errorf("%s: %v", cells[0], err)
				}
			}
		}
	}
	for _, threat := range []string{"spoofed decision id", "spoofed route header", "spoofed subject", "duplicate keys", "compressed body", "chunk games", "oversized", "replayed idempotency key",
		"expired", "cross-org reads", "database administrator", "admin port", "mesh bypass", "bomb", "header flood", "deep JSON", "slow streams", "credentials and prompts"} {
		if !strings.Contains(threats, threat) {
			t.Errorf("no row on %s", threat)
		}
	}
}

func hasTest(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc "+name+"(t *testing.T)") {
			return true
		}
	}
	return false
}

// What the admin port has is read, and is on loopback unless somebody says otherwise; it is another port than that of Envoy.
func TestAdminPort(t *testing.T) {
	var cli commands
	parser, err := kong.New(&cli)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"serve", "--journal", "j"}); err != nil {
		t.Fatal(err)
	}
	if cli.Serve.Admin == cli.Serve.GRPC {
		t.Error("one port for both")
	}
	for what, address := range map[string]string{"admin": cli.Serve.Admin, "grpc": cli.Serve.GRPC} {
		host, _, err := net.SplitHostPort(address)
		if err != nil || !net.ParseIP(host).IsLoopback() {
			t.Errorf("%s of serve: %s, %v", what, address, err)
		}
	}
	if _, err := parser.Parse([]string{"envoy", "config", "--target", "envoy"}); err != nil || cli.Envoy.Config.EnvoyAdmin != "127.0.0.1:9901" {
		t.Errorf("Envoy's own: %s, %v", cli.Envoy.Config.EnvoyAdmin, err)
	}
	pages := (&processor{metrics: prometheus.NewRegistry()}).adminPages(profileFlags{})
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{http.MethodGet, "/", http.StatusOK},
		{http.MethodGet, "/healthz", http.StatusOK},
		{http.MethodGet, "/metrics", http.StatusOK},
		{http.MethodGet, "/debug/pprof/", http.StatusNotFound},
		{http.MethodGet, "/debug/pprof/heap", http.StatusNotFound},
		{http.MethodGet, "/debug/vars", http.StatusNotFound},
		{http.MethodGet, "/review/", http.StatusNotFound}, // without a sign-in it is not there
		{http.MethodPost, "/metrics", http.StatusMethodNotAllowed},
		{http.MethodPost, "/healthz", http.StatusMethodNotAllowed},
		{http.MethodPost, "/quitquitquit", http.StatusNotFound},
		{http.MethodDelete, "/", http.StatusMethodNotAllowed},
	} {
		w := httptest.NewRecorder()
		pages.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		if w.Code != c.status {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, w.Code, c.status)
		}
	}
}
