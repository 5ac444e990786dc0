package budget

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"keel/budget/policy"
	"keel/pricing"
)

// TestPolicyIndex asks every policy, and holds the index to what they say: none that matches may be missed, and those that
// it names come once and in their order.
func TestPolicyIndex(t *testing.T) {
	t.Parallel()
	labels := rapid.SampledFrom([]string{"team", "user", "app"})
	values := rapid.SampledFrom([]string{"", "a", "b", "ab", "c"})
	var condition func(depth int) *rapid.Generator[string]
	condition = func(depth int) *rapid.Generator[string] {
		return rapid.Custom(func(t *rapid.T) string {
			label, a, b := labels.Draw(t, "label"), values.Draw(t, "a"), values.Draw(t, "b")
			kinds := 9
			if depth == 0 {
				kinds = 6
			}
			switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
			case 0:
				return fmt.Sprintf("subject.%s == %q", label, a)
			case 1:
				return fmt.Sprintf("%q == subject[%q]", a, label)
			case 2:
				return fmt.Sprintf("subject.%s in [%q, %q, %q]", label, a, b, a)
			case 3:
				return fmt.Sprintf("subject.%s.startsWith(%q)", label, a)
			case 4:
				return fmt.Sprintf("subject.%s != %q", label, a)
			case 5:
				return "request.choices < 2"
			case 6:
				return "!(" + condition(depth-1).Draw(t, "not") + ")"
			case 7:
				return "(" + condition(depth-1).Draw(t, "left") + " || " + condition(depth-1).Draw(t, "right") + ")"
			}
			return "(" + condition(depth-1).Draw(t, "left") + " && " + condition(depth-1).Draw(t, "right") + ")"
		})
	}
	asked, needed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		var docs Documents
		for i, when := range rapid.SliceOfN(condition(2), 1, 12).Draw(t, "conditions") {
			docs.Policies = append(docs.Policies, Policy{Meta: Meta{Name: fmt.Sprintf("p%02d", i), Version: 1}, When: when, Do: PolicyAction{Warn: "x"}})
		}
		cfg, err := Compile(docs, pricing.Catalog())
		if err != nil {
			t.Fatal(err)
		}
		org := cfg.org(DefaultOrg)
		for range 10 {
			subject := rapid.MapOf(labels, values).Draw(t, "subject")
			found := org.when.candidates(nil, subject)
			if !slices.IsSorted(found) || len(slices.Compact(slices.Clone(found))) != len(found) {
				t.Fatalf("candidates %v", found)
			}
			in := &policy.Input{Subject: subject, Request: policy.Request{Choices: 1}}
			for i, p := range org.policies {
				matched, err := p.program.Match(in)
				if err != nil {
					t.Fatal(err)
				}
				if matched && !slices.Contains(found, int32(i)) {
					t.Fatalf("%s matches %v and is not among %v", p.When, subject, found)
				}
			}
			asked += len(org.policies)
			needed += len(found)
		}
	})
	if needed*4 > asked*3 {
		t.Errorf("of %d policies %d had to be asked: the index finds nothing", asked, needed)
	}
}
