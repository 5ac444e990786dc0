package tokens

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// TestNamedFamilies asks for more names than are remembered, from several goroutines.
func TestNamedFamilies(t *testing.T) {
	t.Parallel()
	var table namedFamilies
	var providers = []string{"openai", "azure", "anthropic", "vertex", "openrouter", ""}
	var wait sync.WaitGroup
	for worker := range 4 {
		wait.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 1))
			for range 20_000 {
				provider, model := providers[r.IntN(len(providers))], models[r.IntN(len(models))].word+fmt.Sprint("-", r.IntN(3))
				if r.IntN(10) == 0 {
					model = strings.Repeat("x-", r.IntN(maxNamed)) + model
				}
				if got, want := table.of(provider, model), findFamily(provider, model); got != want {
					t.Errorf("%s/%s is of family %q, want %q", provider, model, got.name, want.name)
					return
				}
			}
		})
	}
	wait.Wait()
	kept := 0
	for i := range table {
		if n := table[i].Load(); n != nil {
			kept++
			if len(n.provider)+len(n.model) > maxNamed {
				t.Errorf("a name of %d bytes is kept", len(n.model))
			}
		}
	}
	if kept < len(table)/2 {
		t.Errorf("%d of %d places are taken", kept, len(table))
	}
}

// A place that another name has taken says nothing.
func TestNamedFamilyOfAnother(t *testing.T) {
	t.Parallel()
	for _, other := range []named{{"vertex", "gemini-2.5-flash", nil}, {"google", "gpt-4o", nil}} {
		var table namedFamilies
		for i := range table {
			table[i].Store(&named{other.provider, other.model, findFamily(other.provider, other.model)})
		}
		if got := table.of("google", "gemini-2.5-flash").name; got != "gemini-2.5" {
			t.Errorf("it is of family %q where %s/%s was", got, other.provider, other.model)
		}
	}
}
