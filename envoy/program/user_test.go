package program

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHome(t *testing.T) {
	u := Unprivileged()
	if u == nil {
		dir := filepath.Join(t.TempDir(), "a", "b")
		if got, err := Home(dir, nil); err != nil || got != dir || !isDir(dir) {
			t.Errorf("%s, %v", got, err)
		}
		t.Skip("the rest needs root")
	}
	base, err := os.MkdirTemp("", "keel-home-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(base)
	writes := func(dir string) error {
		c := shell(t, "echo x > "+filepath.Join(dir, "x"))
		c.User = u
		return Run(context.Background(), c)
	}

	t.Run("where the user can go", func(t *testing.T) {
		os.Chmod(base, 0o711)
		want := filepath.Join(base, "a", "b")
		for range 2 { // made, then found
			got, err := Home(want, u)
			if err != nil || got != want {
				t.Fatalf("%s, %v", got, err)
			}
			if err := writes(got); err != nil {
				t.Error(err)
			}
			if info, err := os.Stat(got); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
		}
	})
	t.Run("where it can't", func(t *testing.T) {
		closed := filepath.Join(base, "closed") // as /root is
		if err := os.Mkdir(closed, 0o700); err != nil {
			t.Fatal(err)
		}
		first, err := Home(filepath.Join(closed, "pg"), u)
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(first)
		if strings.HasPrefix(first, base) {
			t.Fatalf("%s can't be entered", first)
		}
		if err := writes(first); err != nil {
			t.Error(err)
		}
		again, err := Home(filepath.Join(closed, "pg"), u)
		other, err2 := Home(filepath.Join(closed, "x", "pg"), u)
		defer os.RemoveAll(other)
		if err != nil || err2 != nil || again != first || other == first {
			t.Errorf("%s, then %s (%v), and %s for another (%v)", first, again, err, other, err2)
		}
	})
	t.Run("of somebody else", func(t *testing.T) {
		dir := filepath.Join(base, "theirs")
		os.Mkdir(dir, 0o700)
		os.Chown(dir, 12345, 12345)
		if _, err := Home(dir, u); err == nil || !strings.Contains(err.Error(), "belongs to user id 12345") {
			t.Error(err)
		}
	})
	t.Run("of root, with files", func(t *testing.T) {
		dir := filepath.Join(base, "roots")
		os.Mkdir(dir, 0o755)
		os.WriteFile(filepath.Join(dir, "precious"), nil, 0o600)
		if _, err := Home(dir, u); err == nil || !strings.Contains(err.Error(), "belongs to user id 0") {
			t.Error(err)
		}
	})
}

func TestCanRead(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if !(*User)(nil).CanRead(file) {
		t.Error("this process can read it")
	}
	stranger := &User{Name: "stranger", UID: 4242, GID: 4242}
	if stranger.CanRead(file) { // t.TempDir lies in a folder of mode 0700
		t.Error("the folder is closed")
	}
	if !stranger.CanRead("/") || !stranger.CanRead("/bin/sh") || stranger.CanRead("/etc/shadow") || stranger.CanRead("/nowhere") {
		t.Error("the system's own files")
	}
}
