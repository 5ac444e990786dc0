// Package publictool gives tests a Python with public tools in it, pinned, so that what
// Keel writes is read and added up by programs that are not Keel's.
//
// It is for tests. It refuses to be silent: where a tool can't be had, the test says
// which one and why, and is skipped by that name.
package publictool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Python returns the interpreter of a virtual environment that has the packages of a
// requirements file, made once a machine in the checkout's cache. Where pip can't install them the test is
// skipped, with the name of the file and what pip said.
func Python(t testing.TB, requirements string) string {
	t.Helper()
	text, err := os.ReadFile(requirements)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	dir := filepath.Join(root(t, requirements), ".keel", "cache", "python-"+hex.EncodeToString(sum[:8]))
	python := filepath.Join(dir, "bin", "python")
	if _, err := os.Stat(filepath.Join(dir, "complete")); err == nil {
		return python
	}
	// A virtual environment can't be moved, so two processes must not make it at once.
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	lock := dir + ".lock"
	for {
		f, err := os.OpenFile(lock, os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			f.Close()
			defer os.Remove(lock)
			break
		}
		if info, err := os.Stat(lock); err == nil && time.Since(info.ModTime()) > 10*time.Minute {
			os.Remove(lock) // its owner is gone
			continue
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s is there for too long; remove it", lock)
		case <-time.After(200 * time.Millisecond):
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "complete")); err == nil {
		return python
	}
	for _, args := range [][]string{
		{"python3", "-m", "venv", "--clear", dir},
		{python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "-r", requirements},
	} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			os.RemoveAll(dir)
			t.Skipf("SKIPPED %s: this machine's Python can't install %s: %v\n%s", t.Name(), requirements, err, out)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "complete"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return python
}

// Run runs a script and returns what it prints. A script that fails fails the test.
func Run(t testing.TB, python, script string, args ...string) []byte {
	t.Helper()
	out, err := Try(python, script, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return out
}

// Try is Run for a script that may fail: the error is its exit, and the output all it said.
func Try(python, script string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, python, append([]string{script}, args...)...)
	command.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	out, err := command.CombinedOutput()
	if err != nil {
		return out, fmt.Errorf("%s: %w", script, err)
	}
	return out, nil
}

// root is the top of the checkout: above the requirements, wherever the test is.
func root(t testing.TB, from string) string {
	dir, err := filepath.Abs(filepath.Dir(from))
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
}
