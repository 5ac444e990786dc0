package budget

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keel/pricing/tokens"
)

// healthRoute has targets p/a, p/b and p/c.
var healthRoute = &Route{Meta: Meta{Org: DefaultOrg, Name: "r"}, Targets: []Target{{Provider: "p", Model: "a"}, {Provider: "p", Model: "b"}, {Provider: "p", Model: "c"}}}

func conditionOf(h *Health, model string, now time.Time) condition {
	i := slices.IndexFunc(healthRoute.Targets, func(t Target) bool { return t.Model == model })
	return h.conditions(nil, healthRoute, now)[i]
}

func TestHealth(t *testing.T) {
	t.Parallel()
	now := testTime
	h, other := NewHealth(), NewHealth()
	sick := func(h *Health, after time.Duration) bool { return conditionOf(h, "a", now.Add(after)).sick }
	h.Saw("p", "a", false, false, 0, now)
	h.Saw("p", "a", false, false, 0, now)
	if sick(h, time.Second) {
		t.Error("two failures a while ago make a target sick")
	}
	h.Saw("p", "a", false, false, 0, now)
	if saw := conditionOf(h, "a", now).saw; !sick(h, 0) || saw != "3 of 3 recent attempts failed" {
		t.Errorf("three failures do not make it sick: %q", saw)
	}
	if !sick(h, 11*time.Second) || sick(h, 12*time.Second) {
		t.Error("three failures are not forgotten after 12 s")
	}
	for range 4 {
		h.Saw("p", "a", true, false, 300*time.Millisecond, now)
	}
	if sick(h, 0) {
		t.Error("sick although most attempts went well")
	}
	own := h.Own(now)
	if len(own) != 1 || own[0].Good != 4 || own[0].Bad != 3 || own[0].Paces.Recent[0].Answers != 4 || own[0].Paces.Usual[1].Answers != 0 || fmt.Sprintf("%.3f", own[0].Paces.Usual[0].seconds()) != "0.300" {
		t.Errorf("own: %+v", own)
	}
	// What others saw counts as well, and only once however often they say so.
	for range 2 {
		other.Heard([]TargetHealth{{Provider: "p", Model: "a", At: now, Bad: 2}, {Provider: "p", Model: "a", At: now.Add(-20 * time.Second), Bad: 2}}, now)
	}
	if saw := conditionOf(other, "a", now).saw; saw != "3 of 3 recent attempts failed" {
		t.Errorf("by hearsay: %q", saw)
	}
	if own := h.Own(now.Add(10 * time.Minute)); len(own) != 1 {
		t.Errorf("what is usual is forgotten after ten minutes: %+v", own)
	}
	if own := h.Own(now.Add(12 * time.Hour)); len(own) != 0 {
		t.Errorf("not forgotten: %+v", own)
	}
	var none *Health
	if c := conditionOf(none, "a", now); c != (condition{}) {
		t.Error("sick by nobody's word")
	}
}

func TestHealthOfAttempts(t *testing.T) {
	t.Parallel()
	h := NewHealth()
	attempts := []Attempt{
		{Provider: "p", Model: "m", Ended: AttemptFailed, Status: 503, FirstByte: time.Second}, {Provider: "p", Model: "m", Ended: AttemptLost},
		{Provider: "p", Model: "m", Ended: AttemptFailed, Status: 400, FirstByte: time.Second}, {Provider: "q", Model: "m", Ended: AttemptAnswered, Status: 200, FirstByte: time.Second},
	}
	h.SawAttempts(append(attempts, Attempt{Provider: "q", Model: "m", Ended: AttemptRefused}), true, testTime)
	h.SawAttempts(attempts, true, testTime)
	own := h.Own(testTime)
	if len(own) != 2 || own[0].Bad != 4 || own[0].Good != 2 || own[1].Good != 2 || own[1].Bad != 0 {
		t.Errorf("%+v", own)
	}
	if errors, answers := own[0].Paces, own[1].Paces; errors != (Paces{}) || answers.Recent[1].Answers != 2 || answers.Recent[0].Answers != 0 {
		t.Errorf("paces of errors %+v, of answers %+v", errors, answers)
	}
}

// Latency decides from decayed figures: never from one answer, and with a different measure for getting well than for getting slow.
func TestPace(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	type step struct {
		model    string
		answers  int
		took     time.Duration
		every    time.Duration // between answers
		wait     time.Duration // afterwards
		streamed bool
	}
	usual := []step{{"a", 30, 400 * ms, time.Second, 0, false}}
	for _, tt := range []struct {
		name  string
		steps []step
		slow  bool
		saw   string
	}{
		{"as usual", usual, false, ""},
		{"one answer takes five minutes", append(usual, step{"a", 1, 5 * time.Minute, 0, 0, false}), false, ""},
		{"one of four does, after a pause", append(usual, step{"a", 0, 0, 0, 10 * time.Minute, false}, step{"a", 1, 5 * time.Minute, 0, 0, false}, step{"a", 3, 400 * ms, 0, 0, false}), false, ""},
		{"all take six times as long", append(usual, step{"a", 40, 2400 * ms, 4 * time.Second, 0, false}), true, "usually after 0.42"},
		{"all take three times as long", append(usual, step{"a", 20, 1200 * ms, 4 * time.Second, 0, false}), false, ""},
		{"too few to tell", append(usual, step{"a", 0, 0, 0, 10 * time.Minute, false}, step{"a", 3, 4 * time.Second, 0, 0, false}), false, ""},
		{"just enough", append(usual, step{"a", 0, 0, 0, 10 * time.Minute, false}, step{"a", 4, 4 * time.Second, 0, 0, false}), true, "answers begin after 3.2 s, usually after 0.4"},
		{"twenty times of next to nothing", []step{{"a", 30, 10 * ms, time.Second, 0, false}, {"a", 20, 200 * ms, 4 * time.Second, 0, false}}, false, ""},
		{"from next to nothing to seconds", []step{{"a", 30, 10 * ms, time.Second, 0, false}, {"a", 40, 4 * time.Second, 4 * time.Second, 0, false}}, true, "usually after 0.2"},
		{"what is usual is not known", []step{{"a", 6, 400 * ms, time.Second, 0, false}, {"a", 0, 0, 0, 2 * time.Minute, false}, {"a", 6, 4 * time.Second, 0, 0, false}}, false, ""},
		{"streamed answers are usually quick, others take as long as ever", []step{{"a", 30, 400 * ms, time.Second, 0, true}, {"a", 30, 8 * time.Second, time.Second, 0, false}}, false, ""},
		{"streamed answers become slow", []step{{"a", 30, 400 * ms, time.Second, 0, true}, {"a", 30, 8 * time.Second, time.Second, 0, false}, {"a", 20, 4 * time.Second, 4 * time.Second, 0, true}}, true, "usually after 0.4"},
		{"slow from the beginning beside peers", []step{{"b", 20, 300 * ms, time.Second, 0, false}, {"c", 20, 500 * ms, time.Second, 0, false}, {"a", 20, 6 * time.Second, time.Second, 0, false}}, true, "answers begin after 6 s, those of its peers after 0.5 s"},
		{"four times as slow as peers", []step{{"b", 20, 1000 * ms, time.Second, 0, false}, {"a", 20, 4 * time.Second, time.Second, 0, false}}, false, ""},
		{"peers that nobody knows", []step{{"b", 3, 300 * ms, time.Second, 0, false}, {"a", 20, 6 * time.Second, time.Second, 0, false}}, false, ""},
		{"forgotten, and tried again", append(usual, step{"a", 20, 4 * time.Second, 4 * time.Second, 50 * time.Second, false}), true, "usually"},
		{"forgotten, and tried again, later", append(usual, step{"a", 20, 4 * time.Second, 4 * time.Second, 2 * time.Minute, false}), false, ""},
		{"three times as long again is not well", append(usual, step{"a", 20, 4 * time.Second, 4 * time.Second, 0, false}, step{"a", 20, 1600 * ms, 4 * time.Second, 0, false}), true, "usually"},
		{"as usual again", append(usual, step{"a", 20, 4 * time.Second, 4 * time.Second, 0, false}, step{"a", 20, 500 * ms, 4 * time.Second, 0, false}), false, ""},
		{"slow for hours is usual", append(usual, step{"a", 2000, 4 * time.Second, 20 * time.Second, 0, false}), false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := NewHealth()
				for _, s := range tt.steps {
					for range s.answers {
						h.Saw("p", s.model, true, s.streamed, s.took, time.Now())
						conditionOf(h, "a", time.Now()) // as calls ask
						time.Sleep(s.every)
					}
					time.Sleep(s.wait)
				}
				if c := conditionOf(h, "a", time.Now()); c.slow != tt.slow || !strings.Contains(c.saw, tt.saw) || c.sick {
					t.Errorf("%+v", c)
				}
			})
		})
	}
}

// What is usual, and what is not, is told by all replicas together: no one of them has seen enough.
func TestPaceIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var replicas [3]*Health
		for i := range replicas {
			replicas[i] = NewHealth()
		}
		saw := func(took time.Duration) {
			for _, h := range replicas {
				h.Saw("p", "a", true, true, took, time.Now())
			}
			time.Sleep(time.Second)
			for i, h := range replicas {
				var others []TargetHealth
				for n, other := range replicas {
					if n != i {
						others = append(others, other.Own(time.Now())...)
					}
				}
				h.Heard(others, time.Now())
			}
		}
		for range 5 {
			saw(500 * time.Millisecond)
		}
		time.Sleep(5 * time.Minute)
		for n, slow := range []bool{false, true} {
			saw(5 * time.Second)
			for i, h := range replicas {
				if c := conditionOf(h, "a", time.Now()); c.slow != slow {
					t.Errorf("replica %d after %d slow answers of each: %+v", i, n+1, c)
				}
			}
		}
	})
}

// An unhealthy cheap target is not chosen, and a sick expensive one is not clung to.
func TestRouteByHealth(t *testing.T) {
	t.Parallel()
	const large, mini, nano = "gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano"
	for _, tt := range []struct {
		name, mode string
		slow, sick []string
		want, saw  string
	}{
		{"all are well", "prefer-cheap", nil, nil, mini, ""},
		{"the cheap one is slow", "prefer-cheap", []string{mini}, nil, large, "gpt-4.1-mini 0.0005628 USD (answers begin after 4 s, usually after 0.5"},
		{"the cheap one fails", "prefer-cheap", nil, []string{mini}, large, "(3 of 3 recent attempts failed)"},
		{"the expensive one is slow", "prefer-cheap", []string{large}, nil, mini, "gpt-4.1 0.002814 USD (answers begin"},
		{"the expensive one fails, the cheap one is slow", "prefer-cheap", []string{mini}, []string{large}, mini, ""},
		{"both are slow", "prefer-cheap", []string{large, mini}, nil, mini, ""},
		{"the budget wins over a slow one", "enforce", []string{nano}, nil, nano, "gpt-4.1-nano 0.0001407 USD (answers begin"},
		{"observed", "observe", []string{mini}, nil, large, "gpt-4.1-mini 0.0005628 USD (answers begin"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h, cfg := NewHealth(), compiled(t, testPrices+fmt.Sprintf(testRoute, tt.mode))
			for _, model := range tt.slow {
				for i := range 40 {
					h.Saw("openai", model, true, false, 500*time.Millisecond, testTime.Add(time.Duration(i-100)*10*time.Second))
				}
				for range 10 {
					h.Saw("openai", model, true, false, 4*time.Second, testTime)
				}
			}
			for _, model := range tt.sick {
				for range 3 {
					h.Saw("openai", model, false, false, 0, testTime)
				}
			}
			d := (&Decider{Ledger: newMemoryLedger(), Estimator: tokens.New(), Health: h}).Decide(t.Context(), cfg, testCall())
			if d.RoutedModel != tt.want {
				t.Errorf("went to %s, want %s", d.RoutedModel, tt.want)
			}
			i := slices.IndexFunc(d.Rules, func(r Rule) bool { return r.Kind == KindRoute })
			if i < 0 || !strings.Contains(d.Rules[i].Saw, tt.saw) {
				t.Errorf("the record does not say %q: %+v", tt.saw, d.Rules)
			}
		})
	}
}

// BenchmarkConditions is what a route of five targets asks of the health of all, as this replica and others saw them.
func BenchmarkConditions(b *testing.B) {
	h, route := NewHealth(), &Route{Meta: Meta{Org: DefaultOrg, Name: "r"}}
	now := time.Now()
	for _, model := range []string{"a", "b", "c", "d", "e"} {
		route.Targets = append(route.Targets, Target{Provider: "openai", Model: model})
		for range 20 {
			h.Saw("openai", model, true, true, 400*time.Millisecond, now)
		}
	}
	h.Heard(h.Own(now), now)
	b.ReportAllocs()
	for b.Loop() {
		var room [8]condition
		if c := h.conditions(room[:0], route, now); len(c) != 5 || c[0].slow {
			b.Fatal(c)
		}
	}
}
