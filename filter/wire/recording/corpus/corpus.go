// Package corpus gives tests the recorded provider traffic that lies beside the
// repository. Nothing of it is part of the project: where it is missing, tests
// skip and say so.
package corpus

import (
	"bufio"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"keel/filter/wire/recording"
)

// Each calls f with every exchange that was recorded from a real provider, in
// the order of the files. Those that the recorder suspects to be written by
// hand are left out. It skips the test where there is no corpus.
func Each(t testing.TB, f func(*recording.Exchange)) {
	t.Helper()
	files := Files(t)
	for _, name := range files {
		if err := read(name, f); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

// Files are the corpus's files. It skips the test where there are none.
func Files(t testing.TB) []string {
	t.Helper()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			t.Fatal("no go.mod above the test")
		}
	}
	files, _ := filepath.Glob(filepath.Join(root, "../shared/corpus/*.jsonl.gz"))
	if len(files) == 0 {
		t.Skip("no recorded traffic at ../shared/corpus beside the repository")
	}
	return files
}

func read(name string, f func(*recording.Exchange)) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(bufio.NewReader(file))
	if err != nil {
		return err
	}
	reader := recording.NewReader(unzipped)
	for {
		switch x, err := reader.Next(); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case !x.Synthetic:
			f(x)
		}
	}
}
