//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mutantsExist says whether the ledger honours KEEL_TEST_MUTANT in a build with the tag mutants.
const mutantsExist = true

// Whatever dies under load, and however often: what was acknowledged is on
// record once and right, no budget is overspent, and all of it can be used in the end.
func TestChaos(t *testing.T) {
	t.Parallel()
	run := chaosRun{binary: keel, duration: chaosTime(t, time.Minute, 1), seed: seed(t)}
	if os.Getenv("KEEL_CHAOS") != "" && !strings.Contains(os.Getenv("KEEL_CHAOS_WITHOUT"), "skew") || os.Getenv("KEEL_CHAOS_SKEW") != "" {
		run.skewed = skewedKeel(t)
	} else {
		t.Log("NOT TESTED here: wrong clocks, whose binary takes minutes to build; KEEL_CHAOS_SKEW=1 does")
	}
	v, f := run.do(t)
	v.report(t)
	if t.Logf("%d COMMITs were done and not answered", f.commitCuts); f.commitCuts == 0 && f.count["commit cut"] > 0 {
		t.Error("no COMMIT was cut from its answer: the proxy does not see them")
	}
	for _, kind := range []string{"kill", "term", "stop", "cut", "commit cut", "sync cut", "partition", "edit"} {
		if f.count[kind] == 0 && f.allows(kind) && run.duration >= time.Minute {
			t.Errorf("the run had no fault %q: it proves less than it says", kind)
		}
	}
}

// A ledger that is broken on purpose fails the checks of TestChaos, so they can fail.
func TestChaosMutants(t *testing.T) {
	if !mutantsExist {
		t.Skip("the ledger has no mutants yet")
	}
	if testing.Short() {
		t.Skip("runs for a while: -short")
	}
	t.Parallel() // most of its time it waits for what does not come
	binary := filepath.Join(openDir(t), "keel-mutants")
	build := append(append([]string{"build", "-tags", "mutants"}, raceFlags...), "-o", binary, "keel/cmd/keel")
	if out, err := exec.Command("go", build...).CombinedOutput(); err != nil {
		t.Fatalf("go build -tags mutants: %v\n%s", err, out)
	}
	for _, mutant := range []string{"no-dedupe", "no-orphans", "subselect"} {
		t.Run(mutant, func(t *testing.T) {
			t.Parallel()
			v, _ := chaosRun{binary: binary, duration: 15 * time.Second, seed: seed(t), env: []string{"KEEL_TEST_MUTANT=" + mutant}}.do(t)
			if len(v.kinds) == 0 {
				t.Error("the checks of TestChaos find nothing wrong with this mutant")
				return
			}
			t.Logf("caught: %v: %s", v.kinds, v.problems[v.kinds[0]][0])
		})
	}
}
