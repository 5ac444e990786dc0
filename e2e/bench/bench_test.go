//go:build linux

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// One tiny cell of the real thing. It looks at whether figures exist, and never at how great they are.
func TestSmoke(t *testing.T) {
	root, err := checkout()
	if err != nil {
		t.Fatal(err)
	}
	text, err := readProse(root)
	if err != nil {
		t.Fatal(err)
	}
	s, err := build(t.Context(), root, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	r := &runner{stage: s, prose: text, window: time.Second}
	var pids []int
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, 0); err == nil {
				t.Errorf("process %d goes on", pid)
			}
		}
	}()
	page := report{window: r.window, command: "go test"}
	for _, name := range []string{"1k-unique-unary-c2", "1k-tail-sse-c2"} {
		g := group{mustCell(name), []string{"nothing-log", "full"}, []string{"envoy"}, 1}
		m, err := r.run(t.Context(), g, 0)
		if err != nil {
			t.Fatal(err)
		}
		page.results = append(page.results, m)
		for _, variant := range g.all() {
			if len(m.rounds[variant]) != 1 {
				t.Fatalf("%s, %s: %d rounds", name, variant, len(m.rounds[variant]))
			}
			f := m.rounds[variant][0]
			if f.Requests == 0 || f.P50 <= 0 || f.P99 < f.P90 || f.P90 < f.P50 || f.Took < r.window || f.GatewayRSS == 0 {
				t.Errorf("%s, %s: %+v", name, variant, f)
			}
			if (f.ProcessorRSS > 0) != (variant != "envoy") || (f.Messages > 0) != (variant != "envoy") {
				t.Errorf("%s, %s: processor of %d bytes, %d messages", name, variant, f.ProcessorRSS, f.Messages)
			}
			if want := int64(4 * f.Requests); name == "1k-unique-unary-c2" && variant != "envoy" && f.Messages != want {
				t.Errorf("%s, %s: %d messages for %d calls, want %d", name, variant, f.Messages, f.Requests, want)
			}
		}
	}
	if page.streams, err = r.openStreams(t.Context(), "full", 20); err != nil {
		t.Error(err)
	} else if page.streams.open != 20 || page.streams.most == 0 {
		t.Errorf("%+v", page.streams)
	}
	var out bytes.Buffer
	page.write(&out)
	for _, want := range []string{"| 1k-unique-unary-c2 | full |", "20 SSE calls open", "### 1k-tail-sse-c2", "| CPU per request, full ÷ does nothing, 1 KB, c=64 | not measured |"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the page does not say %q:\n%s", want, &out)
		}
	}
	for _, name := range []string{"envoy", "nothing-log", "full"} {
		if s.targets[name] == nil {
			t.Errorf("%s does not run", name)
		}
	}
	if pids = children(t); len(pids) < 6 { // three Envoys, two processors, Postgres
		t.Errorf("only %d processes: %v", len(pids), pids)
	}

	// A call that fails fails the run.
	target := *s.targets["envoy"]
	target.head = strings.Replace(requestHead(""), "openai/", "nobody/", 1)
	if _, err := r.load(&target, mustCell("1k-unique-unary-c2")).run(t.Context(), time.Second); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("calls to nowhere: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.measure(ctx, s.targets["envoy"], mustCell("1k-unique-unary-c2")); err == nil {
		t.Error("an interrupted measurement has figures")
	}
}

// children are the processes that this one started and that still are.
func children(t *testing.T) (pids []int) {
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(filepath.Base(entry))
		if err != nil {
			continue
		}
		if s, err := readStat(pid); err == nil && s.parent == os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}
