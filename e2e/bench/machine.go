package main

import (
	"bufio"
	"bytes"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// describeMachine says on what and with what a run was made, a line each.
func describeMachine(s *stage) []string {
	lines := []string{fmt.Sprintf("%d CPUs, %s, %s of memory, %s", runtime.NumCPU(), field("/proc/cpuinfo", "model name"), field("/proc/meminfo", "MemTotal"), first("/proc/sys/kernel/osrelease"))}
	versions := []string{"Go " + strings.TrimPrefix(runtime.Version(), "go"), "Envoy 1.40.0"}
	if s.postgres != nil {
		versions = append(versions, fmt.Sprintf("PostgreSQL %d", s.postgres.Major()))
	}
	if info, err := buildinfo.ReadFile(s.nothing); err == nil {
		for _, m := range info.Deps {
			switch m.Path {
			case "google.golang.org/grpc":
				versions = append(versions, "grpc-go "+strings.TrimPrefix(m.Version, "v"))
			case "github.com/envoyproxy/go-control-plane/envoy":
				versions = append(versions, "go-control-plane "+strings.TrimPrefix(m.Version, "v"))
			}
		}
	}
	return append(lines, strings.Join(versions, ", "), "Keel "+commit(s.root))
}

// commit names the source that was built.
func commit(root string) string {
	git := func(args ...string) string {
		out, err := exec.Command("git", append([]string{"-C", root}, args...)...).Output()
		if err != nil {
			return ""
		}
		return string(bytes.TrimSpace(out))
	}
	id := git("rev-parse", "--short=12", "HEAD")
	if id == "" {
		return "of an unknown commit"
	}
	if git("status", "--porcelain") != "" {
		id += ", with changes that are not committed"
	}
	return id
}

// loadAverage is of the last minute: what else the machine did.
func loadAverage() string {
	n, _, _ := strings.Cut(first("/proc/loadavg"), " ")
	return n
}

func first(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

// field is what follows "name:" in a file.
func field(file, name string) string {
	f, err := os.Open(file)
	if err != nil {
		return "unknown"
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
