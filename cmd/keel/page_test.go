package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")
	redirected = regexp.MustCompile(`^(.*?) > (\S+)$`)
)

// Every command of docs/envoy.md, and those of the README that attach Keel, what they say, one after the other in one folder. Those
// of others have to name files that are there.
func TestEnvoyPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/envoy.md")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	ours := regexp.MustCompile(`(?m)^\.keel/bin/(keel envoy .*)$`).FindAllStringSubmatch(string(readme), -1)
	if len(ours) == 0 {
		t.Error("the README attaches nothing")
	}
	for _, line := range ours {
		page = append(page, "\n```sh\n"+line[1]+"\n```\n"...)
	}
	dump, err := os.ReadFile("../../envoy/lint/testdata/config_dump.json") // in place of the Envoy that curl asks; e2e.TestAttach asks one
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "envoy", "kubernetes"), os.DirFS("../../envoy/kubernetes")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), nil, 0o644); err != nil { // which the reader has
		t.Fatal(err)
	}
	t.Chdir(dir)
	run := 0
	for _, block := range shellBlock.FindAllSubmatch(page, -1) {
		for line := range strings.Lines(string(block[1])) {
			line = strings.TrimSpace(line)
			command, file := line, ""
			if m := redirected.FindStringSubmatch(line); m != nil {
				command, file = m[1], m[2]
			}
			words := strings.Fields(command)
			var stdout bytes.Buffer
			switch words[0] {
			case "keel":
				run++
				var stderr bytes.Buffer
				m := Main{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Getenv: func(string) string { return "" }}
				code := m.Run(context.Background(), words[1:])
				if words[1] == "serve" { // there is no database here; e2e.TestAttach has one
					if code != exitFailed || !strings.Contains(stderr.String(), "no database") {
						t.Errorf("%s: exit %d: %s", line, code, &stderr)
					}
				} else if code != exitOK {
					t.Errorf("%s: exit %d: %s%s", line, code, &stderr, &stdout)
				}
			case "curl":
				if strings.Contains(line, "config_dump") {
					stdout.Write(dump)
				} else if !strings.Contains(line, "x-keel-dry-run: true") { // e2e runs it
					t.Errorf("nobody runs %q", line)
				}
			case "kubectl":
				stdout.Write(kubectl(t, line, dump))
			case "envoy":
				if _, err := os.Stat(words[len(words)-1]); err != nil {
					t.Errorf("%s: %v", line, err)
				}
			case "echo":
				if out, err := exec.Command("sh", "-c", command).Output(); err != nil {
					t.Errorf("%s: %v", line, err)
				} else {
					stdout.Write(out)
				}
			case "docker": // TestDockerfile, and e2e.TestImage, which runs what it packs
			default:
				t.Errorf("nobody runs %q", line)
			}
			if file != "" {
				if err := os.WriteFile(filepath.Join(dir, file), stdout.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if run < 10 {
		t.Errorf("only %d commands of keel on the page", run)
	}
}

// fileFlag is a file that kubectl is to read.
var fileFlag = regexp.MustCompile(`(?:-f |--from-file=)(\S+)`)

// kubectl does what a cluster is not needed for: the files have to be there, and kubectl itself, where it is, has to
// understand a "create". What is in the manifests e2e/mesh has checked.
func kubectl(t *testing.T, line string, dump []byte) []byte {
	t.Helper()
	if strings.Contains(line, " exec ") || strings.Contains(line, " port-forward ") || strings.Contains(line, " rollout ") {
		return dump
	}
	for _, m := range fileFlag.FindAllStringSubmatch(line, -1) {
		if _, err := os.Stat(m[1]); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	if _, err := exec.LookPath("kubectl"); err != nil || !strings.Contains(line, " create ") {
		return nil
	}
	if out, err := exec.Command("sh", "-c", line+" --dry-run=client -o yaml").CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", line, err, out)
	}
	return nil
}
