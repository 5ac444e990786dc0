package anthropic

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// exchange is what the tests need of a recorded exchange.
type exchange struct {
	ID               string          `json:"id"`
	API              string          `json:"api"`
	Op               string          `json:"op"`
	Provider         string          `json:"provider"`
	Path             string          `json:"path"`
	Method           string          `json:"method"`
	RequestBody      string          `json:"request_body"`
	ResponseBody     string          `json:"response_body"`
	Status           int             `json:"status"`
	Framing          string          `json:"framing"`
	SuspectSynthetic bool            `json:"suspect_synthetic"`
	ModelReported    string          `json:"model_reported"`
	UsageExpected    json.RawMessage `json:"usage_expected"`
}

// corpus calls use for each recorded exchange of this API. The recordings are
// beside the repository, not in it.
func corpus(t *testing.T, use func(t *testing.T, x exchange)) {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "..", "shared", "corpus", "*.jsonl.gz"))
	if len(files) == 0 {
		t.Skip("no recorded traffic at ../shared/corpus beside the repository")
	}
	n := 0
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(z)
		lines.Buffer(nil, 4<<20)
		for lines.Scan() {
			var x exchange
			if err := json.Unmarshal(lines.Bytes(), &x); err != nil {
				t.Fatal(err)
			}
			if ours[x.API] && x.Op == "generate" && !x.SuspectSynthetic {
				n++
				use(t, x)
			}
		}
		if err := lines.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if n < 300 {
		t.Errorf("only %d exchanges were found", n)
	}
}
