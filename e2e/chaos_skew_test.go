//go:build linux

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// offsetEnv is read by binaries of skewedKeel only.
const offsetEnv = "KEEL_TEST_CLOCK_OFFSET="

func withoutOffset(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(e string) bool { return strings.HasPrefix(e, offsetEnv) })
}

// skewedKeel builds a binary with a wrong clock. Go reads the clock without the
// C library, so that nothing can be put before it from outside; the compiler
// is given another time.Now instead, and Keel itself needs no hook. Timers and
// measured durations stay right, as they do on a machine whose clock is wrong.
func skewedKeel(t *testing.T) string {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	const now = "func Now() Time {"
	if strings.Count(string(text), now) != 1 {
		t.Fatalf("%s has no %q to replace", source, now)
	}
	changed := strings.Replace(string(text), now, "func rightNow() Time {", 1) + `
var clockOffset = sync.OnceValue(func() int64 {
	text, _ := syscall.Getenv("KEEL_TEST_CLOCK_OFFSET")
	d, err := ParseDuration(text)
	if text != "" && err != nil {
		panic("KEEL_TEST_CLOCK_OFFSET: " + err.Error())
	}
	return int64(d / Second)
})

// Now is wrong by KEEL_TEST_CLOCK_OFFSET.
func Now() Time {
	t := rightNow()
	t.addSec(clockOffset())
	return t
}
`
	changed = strings.Replace(changed, "import (", "import (\n\t\"sync\"\n\t\"syscall\"", 1)
	dir := openDir(t)
	file, overlay, binary := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "keel")
	replaced, err := json.Marshal(map[string]any{"Replace": map[string]string{source: file}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, replaced, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-overlay", overlay, "-o", binary, "keel/cmd/keel").CombinedOutput(); err != nil {
		t.Fatalf("go build with a wrong clock: %v\n%s", err, out)
	}
	return binary
}
