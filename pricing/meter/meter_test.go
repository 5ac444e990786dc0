package meter

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"
)

func TestNames(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for k := range Kind(NumKinds) {
		name := k.String()
		if back, err := ParseKind(name); err != nil || back != k || seen[name] {
			t.Errorf("meter %d is named %q, which reads as %d, %v", k, name, back, err)
		}
		seen[name] = true
	}
	if _, err := ParseKind("tokens"); err == nil {
		t.Error("tokens is a meter")
	}
	if got := Kind(200).String(); got != "meter(200)" {
		t.Errorf("a meter that is none is named %q", got)
	}
	if _, err := Kind(200).MarshalText(); err == nil {
		t.Error("a meter that is none is written")
	}
}

// TestSums: the sums and the other meters cover every token once.
func TestSums(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var u Usage
		var tokens int64
		for k := range Kind(NumKinds) {
			u[k] = rapid.Int64Range(0, 1<<40).Draw(t, k.String())
			if k < WebSearch {
				tokens += u[k]
			}
		}
		if got := u.InputTokens() + u.OutputTokens(); got != tokens {
			t.Fatalf("input and output are %d of %d tokens", got, tokens)
		}
		if u.CachedInputTokens()+u.CacheWriteTokens() > u.InputTokens() || u.ReasoningTokens() > u.OutputTokens() {
			t.Fatal("a part is more than its whole")
		}
		text, err := json.Marshal(u)
		var back Usage
		if err == nil {
			err = json.Unmarshal(text, &back)
		}
		if err != nil || back != u {
			t.Fatalf("%v -> %s -> %v, %v", u, text, back, err)
		}
	})
}

func TestUsageJSON(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(&Usage{Input: 5, CacheWrite1h: 2})
	if want := `{"cache_write_1h":2,"input":5}`; err != nil || string(text) != want {
		t.Errorf("usage = %s, %v; want %s", text, err, want)
	}
	for _, bad := range []string{`{"input":-1}`, `{"tokens":1}`, `{"input":1.5}`, `[1]`} {
		u := Usage{Output: 1}
		if err := json.Unmarshal([]byte(bad), &u); err == nil || u != (Usage{Output: 1}) {
			t.Errorf("%s is read as %v, %v", bad, u, err)
		}
	}
	var zero *Usage
	if err := json.Unmarshal([]byte("null"), &zero); err != nil || zero != nil {
		t.Errorf("null is read as %v, %v", zero, err)
	}
}
