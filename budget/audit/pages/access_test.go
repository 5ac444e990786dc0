package pages

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"keel/budget/ledger"
)

// Every page is of one org, and who may not see that org learns not even that it exists. What they may
// see holds no word of another.
func TestOrgsAreApart(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	ours, theirs := fill(t, dsn, "acme", 2), fill(t, dsn, "zeta", 2)
	s := server(t, dsn, as{Name: "ann", Orgs: []string{"acme"}})
	for _, address := range every("acme", ours[0]) {
		body := page(t, s, address)
		if strings.Contains(body, "zeta") || strings.Contains(body, theirs[0].String()) {
			t.Errorf("%s tells of another org", address)
		}
		if !strings.Contains(body, "acme") {
			t.Errorf("%s does not tell of its own org", address)
		}
	}
	_, nowhere := get(t, s, Root+"budgets?org=nowhere")
	for _, address := range every("zeta", theirs[0]) {
		status, body := get(t, s, address)
		if status != http.StatusNotFound || strings.Contains(body, "zeta") || at.ReplaceAllString(body, "") != at.ReplaceAllString(nowhere, "") && !strings.Contains(address, "/decisions") &&
			section.ReplaceAllString(at.ReplaceAllString(body, ""), "") != section.ReplaceAllString(at.ReplaceAllString(nowhere, ""), "") {
			t.Errorf("%s: status %d\n%s", address, status, body)
		}
	}
	// A decision of another org is not there, under the own org either.
	if status, body := get(t, s, Root+"decisions/"+theirs[0].String()+"?org=acme"); status != http.StatusNotFound || strings.Contains(body, "zeta") {
		t.Errorf("decision of another org: status %d\n%s", status, body)
	}
	both := server(t, dsn, everybody)
	if body := page(t, both, Root+"budgets?org=zeta"); !strings.Contains(body, ">acme</option>") {
		t.Errorf("who may see all can't choose:\n%s", body)
	}
	if status, _ := get(t, server(t, dsn, as{Name: "nobody"}), Root+"budgets"); status != http.StatusForbidden {
		t.Errorf("who may see nothing: status %d", status)
	}
}

var (
	at      = regexp.MustCompile(`<time[^>]*>[^<]*</time>`)
	section = regexp.MustCompile(` aria-current="page"`)
)

// Nothing that a page does could change anything, and nothing of it runs in a browser.
func TestPagesOnlyRead(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	ids := fill(t, dsn, "acme", 1)
	s := server(t, dsn, everybody)
	if _, err := s.pool.Exec(t.Context(), "update keel.budgets set limit_usd = 1"); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("the pages' connections can write: %v", err)
	}
	for _, address := range append(every("acme", ids[0]), Root+"budgets?org=nowhere") {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, address, nil))
		policy := w.Header().Get("content-security-policy")
		if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "script") {
			t.Errorf("%s: policy %q", address, policy)
		}
		if w.Header().Get("cache-control") != "private, no-store" {
			t.Errorf("%s may be cached: %q", address, w.Header().Get("cache-control"))
		}
		for _, never := range []string{"<script", "style=", " onclick", "<b>co</b>", "http://", "https://"} {
			if strings.Contains(w.Body.String(), never) {
				t.Errorf("%s has %q", address, never)
			}
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(method, Root+"budgets", nil))
		if w.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s: status %d", method, w.Code)
		}
	}
}

// A mistake in an address is said, and is not an error of ours.
func TestWrongAddresses(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	fill(t, dsn, "acme", 1)
	s := server(t, dsn, everybody)
	for address, want := range map[string]string{
		"statement?org=acme&month=March":        "A month is written like 2026-11",
		"decisions?org=acme&since=yesterday":    "&#34;yesterday&#34; is no time",
		"decisions?org=acme&before=x":           "names no place",
		"history?org=acme&before=x":             "names no revision",
		"pressure?org=acme&by=moon":             "by route, team, budget or model",
		"pressure?org=acme&since=ever":          "the last day, week or month",
		"decisions/nonsense?org=acme":           "There is no such page",
		"decisions?org=acme&before=9-" + "x":    "names no place",
		"decisions/" + "019&org=acme?org=acme":  "There is no such page",
		"budgets?org=acme%27%20or%201%3D1%20--": "There is no such page",
	} {
		status, body := get(t, s, Root+address)
		if status >= 500 || status < 400 || !strings.Contains(body, want) {
			t.Errorf("%s: status %d, want %q in\n%s", address, status, want, body)
		}
	}
}

// A database that is away is said on the page.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	s := server(t, "postgres://127.0.0.1:1/nowhere?connect_timeout=1", everybody)
	if status, body := get(t, s, Root+"budgets"); status != http.StatusServiceUnavailable || !strings.Contains(body, "The database can&#39;t be reached") {
		t.Errorf("status %d\n%s", status, body)
	}
}

// The ledger's own check holds statements against records.
func check(t testing.TB, dsn string) {
	t.Helper()
	report, err := ledger.Check(t.Context(), dsn, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range report.Violations {
		t.Error(v)
	}
}
