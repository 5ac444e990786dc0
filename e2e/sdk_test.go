//go:build linux

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sdkCase is one call by an official SDK.
type sdkCase struct {
	SDK     string            `json:"sdk"` // chat, responses, messages
	Model   string            `json:"model"`
	Limit   int               `json:"limit"` // on the output, tokens
	Stream  bool              `json:"stream"`
	Headers map[string]string `json:"headers"`

	name    string
	finish  string // how it ends well
	raises  string // the exception, "" for none
	message string // in it
	tries   int    // that Keel decided about
}

type sdkResult struct {
	OK                                 bool
	Error, Message, Code, Text, Finish string
	Status                             int
	Seconds                            float64
}

// sdks installs the official SDKs, pinned, where the test's other programs are kept, and returns the folder of their packages.
func sdks(t *testing.T) string {
	t.Helper()
	requirements := filepath.Join(root(t), "e2e", "testdata", "sdk", "requirements.txt")
	text, err := os.ReadFile(requirements)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	site := filepath.Join(cacheDir(t), "sdk-"+hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(site); err == nil {
		return site
	}
	if err := os.MkdirAll(filepath.Dir(site), 0o755); err != nil {
		t.Fatal(err)
	}
	part, err := os.MkdirTemp(filepath.Dir(site), "sdk-part-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(part)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	venv, packages := filepath.Join(part, "venv"), filepath.Join(part, "site")
	for _, args := range [][]string{
		{"python3", "-m", "venv", venv},
		{filepath.Join(venv, "bin", "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--target", packages, "-r", requirements},
	} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	// Two runs at once both make it; the second finds that it is there.
	if err := os.Rename(packages, site); err != nil {
		if _, there := os.Stat(site); there != nil {
			t.Fatal(err)
		}
	}
	return site
}

// bySDK makes the calls. Each has a user of its own, by which its rows are found.
func bySDK(t *testing.T, url string, tries func(user string) int, cases []sdkCase) {
	t.Helper()
	for i := range cases {
		c := &cases[i]
		headers := map[string]string{"x-keel-user": fmt.Sprintf("%s-%d", t.Name(), i)}
		for k, v := range c.Headers {
			headers[k] = v
		}
		c.Headers = headers
	}
	in, err := json.Marshal(map[string]any{"url": url, "cases": cases})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	python := exec.CommandContext(ctx, "python3", filepath.Join(root(t), "e2e", "testdata", "sdk", "call.py"))
	python.Env = append(os.Environ(), "PYTHONPATH="+sdks(t), "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1")
	python.Stdin = bytes.NewReader(in)
	var said bytes.Buffer
	python.Stderr = &said
	out, err := python.Output()
	if err != nil {
		t.Fatalf("%v after the answers\n%s\n%s", err, out, said.String())
	}
	results := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	if len(results) != len(cases) {
		t.Fatalf("%d results of %d calls", len(results), len(cases))
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var r sdkResult
			if err := json.Unmarshal(results[i], &r); err != nil {
				t.Fatal(err)
			}
			if r.Seconds > 20 {
				t.Errorf("the SDK took %.0f s", r.Seconds)
			}
			switch {
			case c.raises == "" && (!r.OK || r.Text == "" || r.Finish != c.finish):
				t.Errorf("%+v, want it to end with %q", r, c.finish)
			case c.raises != "" && (r.OK || r.Error != c.raises || !strings.Contains(r.Message, c.message)):
				t.Errorf("%+v, want %s with %q", r, c.raises, c.message)
			}
			n := tries(c.Headers["x-keel-user"]) // a row is there within 2 s
			for deadline := time.Now().Add(patience); n < c.tries && time.Now().Before(deadline); n = tries(c.Headers["x-keel-user"]) {
				time.Sleep(50 * time.Millisecond)
			}
			if n != c.tries {
				t.Errorf("tried %d times, want %d", n, c.tries)
			}
		})
	}
}

func TestPolicySDK(t *testing.T) {
	s := shared(t)
	team := func(name string) map[string]string { return map[string]string{"x-keel-team": name} }
	var cases, spent []sdkCase
	for _, sdk := range []struct{ name, model, whole, cut string }{
		{"chat", "gpt-5-mini", "stop", "length"}, {"responses", "gpt-5-mini", "completed", "incomplete"}, {"messages", "claude-haiku-4-5", "end_turn", "max_tokens"},
	} {
		for _, stream := range []bool{false, true} {
			made := func(name string, c sdkCase) sdkCase {
				c.SDK, c.Model, c.Stream = sdk.name, sdk.model, stream
				if c.Limit == 0 {
					c.Limit = 60
				}
				if c.tries == 0 {
					c.tries = 1
				}
				c.name = fmt.Sprintf("%s, stream %v, %s", sdk.name, stream, name)
				return c
			}
			add := func(name string, c sdkCase) { cases = append(cases, made(name, c)) }
			add("allowed", sdkCase{Headers: team("roomy"), finish: sdk.whole})
			add("constrained", sdkCase{Headers: team("terse"), finish: sdk.cut})
			add("denied by policy", sdkCase{Headers: team("guests"), raises: "PermissionDeniedError", message: "guests only look"})
			monthly := team(fmt.Sprintf("monthly-%s-%s-%v", sdk.model, sdk.name, stream))
			monthly["x-sample-output-tokens"] = "60"
			add("allowed, and too little left", sdkCase{Headers: monthly, finish: sdk.whole})
			spent = append(spent, made("denied by budget, for days", sdkCase{Headers: monthly, raises: "RateLimitError", message: "budget monthly-"}))
			add("denied by budget, in vain to wait", sdkCase{Headers: team("tight"), raises: "RateLimitError", message: "budget tight has no room"})
		}
	}
	tries := func(user string) int {
		rows, err := s.query(t, "select json_build_object('n', count(*)) from keel.decisions where subject->>'user' = '"+user+"'")
		if err != nil || len(rows) != 1 {
			t.Fatalf("%v, %v", rows, err)
		}
		var n int
		fmt.Sscan(rows[0]["n"], &n)
		return n
	}
	t.Run("first", func(t *testing.T) { bySDK(t, s.url, tries, cases) })
	// A library is done with a stream when it has read its last event, before Keel has. While the call is held, who comes next may try again soon.
	waitFor(t, "the calls to end", func() bool {
		ended, err := s.query(t, "select to_jsonb(r) from keel.spend_records r where subject->>'team' like 'monthly-%' and outcome <> 'open'")
		return err == nil && len(ended) == len(spent)
	})
	t.Run("when spent", func(t *testing.T) { bySDK(t, s.url, tries, spent) })
}

// An attempt that is refused raises in the SDK, which does not try again.
func TestAttemptSDK(t *testing.T) {
	s := startAttempts(t)
	script := func(words string) map[string]string {
		return map[string]string{"x-keel-team": "strict", "x-script": words}
	}
	bySDK(t, s.mesh(t, nil), func(user string) int {
		n, err := rows[struct{ N int }](s.cluster, "select count(*)::int from keel.decisions where subject->>'user' = $1", user)
		if err != nil {
			t.Fatal(err)
		}
		return n[0].N
	}, []sdkCase{
		{name: "retried", SDK: "chat", Model: "gpt-5-mini", Limit: 20, Headers: script("503 503 ok"), finish: "stop", tries: 1},
		{name: "refused", SDK: "chat", Model: "gpt-5-mini", Limit: 20, Headers: script("billed ok"), raises: "RateLimitError", message: "attempt 2 at openai/gpt-5-mini was not let out", tries: 1},
		{name: "refused, streamed", SDK: "chat", Model: "gpt-5-mini", Limit: 20, Stream: true, Headers: script("billed ok"), raises: "RateLimitError", message: "attempt 2 at openai/gpt-5-mini was not let out", tries: 1},
	})
}
