package e2e

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/chromedp"
)

// chromium is the browser of the machine; a test that has none is skipped, by name.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{os.Getenv("KEEL_CHROMIUM"), "chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); name != "" && err == nil {
			return path
		}
	}
	t.Skipf("%s was skipped: no Chromium on this machine; install one (apt-get install chromium) or name it in KEEL_CHROMIUM", t.Name())
	return ""
}

// artefacts is a folder of the checkout that keeps what a test made, for people to look at.
func artefacts(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(root(t), ".keel", "artefacts", t.Name())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// browser opens a Chromium without JavaScript of pages, and collects what it complains about.
func browser(t *testing.T) (ctx context.Context, complaints func() []string) {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium(t)), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1280, 900),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.WSURLReadTimeout(patience))
	allocated, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(allocated)
	t.Cleanup(cancel)
	var mu sync.Mutex
	var said []string
	if err := chromedp.Listen(ctx, func(event any) {
		if e, ok := event.(*log.EventEntryAdded); ok {
			mu.Lock()
			said = append(said, e.Entry.Text+" "+e.Entry.URL)
			mu.Unlock()
		}
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	return ctx, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return said
	}
}

// Every page, after real traffic, in a real browser: light, dark, narrow and on paper.
func TestReviewPages(t *testing.T) {
	t.Parallel()
	chromium(t)
	s := start(t, stackOptions{config: `
kind: Budget
name: each-user-day
limit: 0.05 USD
window: day
per: [user]
mode: observe
---
kind: Budget
name: half-spent
selector: {team: research}
limit: 0.001 USD
window: hour
mode: observe
tiers: [{at: 5%, do: warn}, {at: 90%, do: prefer-cheap}]
---
kind: Route
name: watched
models: ["claude-*"]
mode: observe
targets:
  - {provider: anthropic, model: claude-sonnet-4-5, quality: 1.0}
  - {provider: anthropic, model: claude-haiku-4-5, quality: 0.9}
`})
	const chat, messages = "/v1/chat/completions", "/v1/messages"
	var decided string
	for i := range 12 {
		user := fmt.Sprintf("x-keel-user: u%d", i%4)
		a := s.post(t, chat, `{"model": "gpt-5", "max_completion_tokens": 300, "messages": [{"role": "user", "content": "Say hello to the world, at length."}]}`, "x-keel-team: research", user)
		if a.status != http.StatusOK {
			t.Fatalf("status %d: %s", a.status, a.body)
		}
		decided = a.decision()
		s.post(t, messages, `{"model": "claude-sonnet-4-5", "max_tokens": 200, "messages": [{"role": "user", "content": "Say hello."}]}`, "x-keel-team: support", user)
		s.post(t, chat, `{"model": "gpt-4o-mini", "max_tokens": 100, "messages": [{"role": "user", "content": "Say hello."}]}`, user)
	}
	s.post(t, messages, `{"model": "claude-opus-4-1", "max_tokens": 200, "messages": [{"role": "user", "content": "Say hello."}]}`, "x-keel-team: interns")
	s.exec(t, "set keel.actor = 'ada'; update keel.budgets set limit_usd = 0.0015 where name = 'half-spent'")
	month := time.Now().UTC().Format("2006-01")
	waitFor(t, "the statement to have every call", func() bool {
		answer, err := client.Get(s.admin + "/review/statement?month=" + month)
		return err == nil && strings.Contains(string(readAllClose(t, answer)), "for 37 calls")
	})

	ctx, complaints := browser(t)
	dir := artefacts(t)
	shot := func(name, address, title string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		err := chromedp.Do(ctx, chromedp.Navigate(s.admin+"/review/"+address))
		var heading, problems string
		if err == nil {
			heading, err = chromedp.Run(ctx, chromedp.Text(chromedp.CSS("h1")))
		}
		var picture []byte
		if err == nil {
			picture, err = chromedp.Run(ctx, chromedp.FullScreenshot(100))
		}
		if err == nil {
			problems, err = chromedp.Run(ctx, chromedp.Evaluate[string](accessible))
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644)
		}
		if err != nil {
			t.Fatalf("%s: %v", address, err)
		}
		if !strings.HasPrefix(heading, title) {
			t.Errorf("%s: heading %q, want %q", address, heading, title)
		}
		if problems != "" {
			t.Errorf("%s: %s", address, problems)
		}
	}
	scheme := func(name string) {
		t.Helper()
		if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}}); err != nil {
			t.Fatal(err)
		}
	}
	width := func(pixels int64) {
		t.Helper()
		if err := chromedp.Do(ctx, chromedp.EmulateViewport(pixels, 900)); err != nil {
			t.Fatal(err)
		}
	}
	pages := []struct{ name, address, title string }{
		{"budgets", "budgets", "Budgets now"}, {"statement", "statement", "Statement"}, {"statement-team", "statement?team=research", "Statement"},
		{"pressure", "pressure", "Routing pressure"}, {"decisions", "decisions", "Decisions"}, {"decisions-denied", "decisions?action=deny", "Decisions"},
		{"decision", "decisions/" + decided, "Decision"}, {"history", "history", "Configuration history"}, {"reconciliation", "reconciliation", "Reconciliation"},
		{"verification", "verification", "Verification"},
	}
	for _, name := range []string{"light", "dark"} {
		scheme(name)
		width(1280)
		for _, p := range pages {
			shot(p.name+"-"+name, p.address, p.title)
		}
	}
	scheme("light")
	shot("problem", "statement?month=never", "Bad Request")
	width(420)
	for _, p := range pages[:2] {
		shot(p.name+"-narrow", p.address, p.title)
	}
	width(794) // A4
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: "print"}); err != nil {
		t.Fatal(err)
	}
	for _, p := range pages[:2] {
		shot(p.name+"-print", p.address, p.title)
	}
	scheme("light")
	width(1280)
	if err := chromedp.Do(ctx, chromedp.Navigate(s.admin+"/review/statement")); err != nil {
		t.Fatal(err)
	}
	paper, err := chromedp.Run(ctx, chromedp.PrintToPDF(chromedp.PDFPreferCSSPageSize()))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "statement.pdf"), paper, 0o644); err != nil {
		t.Fatal(err)
	}
	// A person gets from the statement to a team, and from a list to a decision and its rules.
	// On a busy machine a click can meet a page that is not laid out yet, and be lost: then it is made again.
	within := func(limit time.Duration, actions ...chromedp.Action[chromedp.Void]) error {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		return chromedp.Do(ctx, actions...)
	}
	click := func(on, appears string, before ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		var err error
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
			if err = within(5*time.Second, append(before, chromedp.Click(on), chromedp.WaitVisible(appears))...); err == nil {
				return
			}
			if err = within(5*time.Second, chromedp.WaitVisible(appears)); err == nil {
				return
			}
		}
		t.Fatalf("a click on %s does not bring %s: %v", on, appears, err)
	}
	click(`//a[text()="support"]`, `//p[@class="lead"]/b[text()="support"]`)
	click(`//nav//a[text()="Decisions"]`, `//h1[contains(., "Decisions")]`)
	click(`//form[@class="filters"]/button`, `//span[@class="tag deny"]`, chromedp.SetValue(chromedp.CSS("input[name=team]"), "interns"))
	click(`//tbody/tr[1]/th/a`, `//h2[text()="Which rules were active?"]`)
	click(`//h3/a`, `//h1[contains(., "history")]`)
	at, err := chromedp.Run(ctx, chromedp.Location())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(at, "/review/history?") {
		t.Errorf("the way ended at %s", at)
	}
	for _, c := range complaints() {
		if !strings.Contains(c, "favicon") && !strings.Contains(c, "400 (Bad Request)") {
			t.Errorf("the browser complains: %s", c)
		}
	}
	t.Logf("screenshots are in %s", dir)
}

// accessible looks at what a reader with a screen reader needs, and for what runs over the edge of the page.
const accessible = `(() => {
  const wrong = [];
  if (!document.documentElement.lang) wrong.push("no language");
  if (document.querySelectorAll("h1").length != 1) wrong.push("not one h1");
  for (const t of document.querySelectorAll("table")) if (!t.caption || !t.caption.textContent.trim()) wrong.push("a table without a caption");
  for (const c of document.querySelectorAll("th")) if (!c.scope) wrong.push("a header cell without a scope: " + c.textContent);
  for (const g of document.querySelectorAll("svg")) if (!g.getAttribute("aria-label") && g.getAttribute("aria-hidden") != "true") wrong.push("a figure without words");
  for (const i of document.querySelectorAll("input:not([type=hidden]), select")) if (!i.labels || !i.labels.length) wrong.push("a field without a label: " + i.name);
  for (const s of document.querySelectorAll("script, [style], [onclick]")) wrong.push("script or inline style: " + s.outerHTML.slice(0, 80));
  if (document.documentElement.scrollWidth > document.documentElement.clientWidth) wrong.push("wider than the window: " + document.documentElement.scrollWidth + " of " + document.documentElement.clientWidth);
  return wrong.join("; ");
})()`

func readAllClose(t *testing.T, r *http.Response) []byte {
	defer r.Body.Close()
	return readAll(t, r.Body)
}

// An alert reaches its webhook, signed, and the processor counts it.
func TestAlertWebhook(t *testing.T) {
	t.Parallel()
	got := make(chan string, 100)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mac := hmac.New(sha256.New, []byte("0123456789abcdef"))
		fmt.Fprintf(mac, "%s.%s.%s", r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), body)
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); r.Header.Get("webhook-signature") != want {
			t.Errorf("signature %q, want %q", r.Header.Get("webhook-signature"), want)
		}
		got <- string(body)
	}))
	defer hook.Close()
	dir := openDir(t)
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("0123456789abcdef"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := start(t, stackOptions{dir: dir, args: []string{"--alert-webhook", hook.URL, "--alert-secret", secret, "--alert-every", "200ms"}, config: `
kind: Budget
name: tiny
limit: 0.0001 USD
window: lifetime
mode: observe
tiers: [{at: 10%, do: warn}]
`})
	if a := s.post(t, "/v1/chat/completions", `{"model": "gpt-4o-mini", "max_tokens": 100, "messages": [{"role": "user", "content": "Say hello."}]}`); a.status != http.StatusOK {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	for {
		select {
		case body := <-got:
			if !strings.Contains(body, "budget tiny reached 10% (warn)") {
				continue // of another budget
			}
		case <-time.After(patience):
			t.Fatal("the webhook heard nothing")
		}
		break
	}
	answer, err := client.Get(s.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	metrics := string(readAllClose(t, answer))
	for _, name := range []string{`keel_alerts_total{kind="tier"}`, `keel_alert_deliveries_total{result="delivered"}`, "keel_alerts_looked_timestamp_seconds"} {
		if !strings.Contains(metrics, name) {
			t.Errorf("/metrics has no %s", name)
		}
	}
	out, err := s.run(t, "", "alerts", "list")
	if err != nil || !strings.Contains(out, "budget tiny reached 10% (warn)") {
		t.Errorf("keel alerts list: %v\n%s", err, out)
	}
}
