package source

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keel/pricing"
)

var update = flag.Bool("update", false, "write the golden files")

// TestImport reads a sample of each format; the golden file says what becomes of it.
func TestImport(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"genai", "litellm"} {
		text, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		in, err := Import(bytes.NewReader(text), "")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		golden(t, name+".golden", described(t, in))
		if _, err := pricing.Catalog().With(in.Prices); err != nil {
			t.Errorf("%s: no book takes it: %v", name, err)
		}
		again, err := Import(bytes.NewReader(text), "")
		if err != nil || cmp.Diff(in, again) != "" {
			t.Errorf("%s is read otherwise the second time, %v", name, err)
		}
	}
}

func described(t *testing.T, in *Imported) string {
	var b strings.Builder
	if err := WriteText(&b, Diff(nil, in.Prices)); err != nil {
		t.Fatal(err)
	}
	for _, s := range in.Skipped {
		fmt.Fprintln(&b, "skipped", s)
	}
	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestImportRefuses(t *testing.T) {
	t.Parallel()
	for message, text := range map[string]string{
		"neither a JSON array": "prices: 1",
		"as litellm":           `{"m": 1}`,
		"as genai-prices":      `[1]`,
	} {
		if _, err := Import(strings.NewReader(text), ""); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%s: error %v does not say %q", text, err, message)
		}
	}
	if _, err := Import(strings.NewReader("[]"), "csv"); err == nil || !strings.Contains(err.Error(), "genai-prices litellm") {
		t.Errorf("an unknown format: %v", err)
	}
}

// TestExact: a rate is what the file spells; finer than a pico-dollar goes up, and floating-point noise off.
func TestExact(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		number string
		units  int64
		want   string // dollars per unit; "" for an error
	}{
		{"1.25e-06", 1, "0.00000125"}, {"1.25", million, "0.00000125"}, {"0.30000000000000004", million, "0.0000003"}, {"0.0416666666666667", million, "0.000000041667"},
		{"3e-13", 1, "0.000000000001"}, {"10", thousand, "0.01"}, {"0.36", hour, "0.0001"}, {"0.111", hour, "0.000030833334"}, {"0", 1, "0"},
		{"-1", 1, ""}, {"1e999999999", 1, ""}, {"1e64", 1, ""}, {"1E+1", 1, "10"}, {strings.Repeat("9", 80), 1, ""},
	} {
		dollars, err := exact(test.number)
		var got pricing.PicoUSD
		if err == nil {
			got, err = perUnit(dollars, test.units)
		}
		if (err != nil) != (test.want == "") || err == nil && got.PerUnit() != test.want {
			t.Errorf("%s by %d = %s, %v; want %q", test.number, test.units, got.PerUnit(), err, test.want)
		}
	}
}

// TestLiteLLMFile reads LiteLLM's whole list, where somebody has it.
func TestLiteLLMFile(t *testing.T) {
	t.Parallel()
	const name = "KEEL_TEST_LITELLM_PRICES"
	path := os.Getenv(name)
	if path == "" {
		t.Skipf("%s does not name a model_prices_and_context_window.json", name)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	in, err := Import(file, "")
	if err != nil {
		t.Fatal(err)
	}
	whole := 0
	for _, s := range in.Skipped {
		if s.Whole && s.Reason == "unknown key" {
			whole++
			t.Log(s)
		}
	}
	if len(in.Prices) < 4000 || whole > 20 {
		t.Errorf("%d prices, %d models without one because of an unknown key", len(in.Prices), whole)
	}
	book, err := pricing.Catalog().With(in.Prices)
	if err != nil {
		t.Fatal(err)
	}
	if changes := Against(book, in.Prices, day("2026-11-20")); len(changes) > 0 {
		t.Errorf("a book of the list differs from it in %d rates, the first %+v", len(changes), changes[0])
	}
}

func FuzzImport(f *testing.F) {
	for _, name := range []string{"genai", "litellm"} {
		text, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`[{"id":"p","models":[{"id":"m","match":{"or":[]},"prices":[]}]}]`))
	f.Add([]byte(`{"a/b/c*":{"litellm_provider":"azure","input_cost_per_token":1e-6}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		in, err := Import(bytes.NewReader(text), "")
		if err != nil {
			return
		}
		if _, err := pricing.Catalog().With(in.Prices); err != nil {
			t.Errorf("no book takes what was read: %v", err)
		}
	})
}
