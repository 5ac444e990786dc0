package pricing

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// unpricedModels are names with usage in the recorded traffic and no price, and why.
var unpricedModels = map[string]string{
	"babbage:2023-07-21-v2": "retired in 2024, unknown upstream",
	"davinci:2023-07-21-v2": "retired in 2024, unknown upstream",
}

// TestCorpusModels: what OpenAI, Anthropic and Google reported as the model of a
// metered answer has a price.
func TestCorpusModels(t *testing.T) {
	t.Parallel()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			t.Fatal("no go.mod above the test")
		}
		root = filepath.Dir(root)
	}
	files, _ := filepath.Glob(filepath.Join(root, "../shared/corpus/*.jsonl.gz"))
	if len(files) == 0 {
		t.Skip("no recorded traffic at ../shared/corpus beside the repository")
	}
	names := map[[2]string]bool{}
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		unzipped, err := gzip.NewReader(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(unzipped)
		lines.Buffer(nil, 4<<20)
		for lines.Scan() {
			var r struct {
				Provider  string          `json:"provider"`
				Model     string          `json:"model_reported"`
				Status    int             `json:"status"`
				Synthetic bool            `json:"suspect_synthetic"`
				Usage     json.RawMessage `json:"usage_expected"`
			}
			if json.Unmarshal(lines.Bytes(), &r) != nil || r.Model == "" || r.Synthetic || r.Status != 200 || len(r.Usage) == 0 || string(r.Usage) == "null" {
				continue
			}
			switch r.Provider {
			case "openai", "anthropic", "google", "vertex":
				names[[2]string{r.Provider, r.Model}] = true
			}
		}
		if err := lines.Err(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	missing := map[string]bool{}
	for name := range names {
		_, ok := Catalog().Rates(name[0], name[1], Terms{At: at("2026-11-01")})
		if reason := unpricedModels[name[1]]; ok == (reason != "") {
			t.Errorf("%v: priced %t, but expected otherwise (%s)", name, ok, reason)
		}
		if !ok {
			missing[name[1]] = true
		}
	}
	t.Logf("%d model names, %d without a price", len(names), len(missing))
	for name := range unpricedModels {
		if !missing[name] {
			t.Errorf("%s stands in the list of exceptions and is not one", name)
		}
	}
	if len(names) < 50 {
		t.Errorf("only %d model names were seen", len(names))
	}
}
