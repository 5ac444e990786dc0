package budget

import (
	"testing"
	"time"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	now := testTime
	h, other := NewHealth(), NewHealth()
	sick := func(h *Health, after time.Duration) bool {
		_, sick := h.Sick("p", "m", now.Add(after))
		return sick
	}
	h.Saw("p", "m", false, 0, now)
	h.Saw("p", "m", false, 0, now)
	if sick(h, time.Second) {
		t.Error("two failures a while ago make a target sick")
	}
	h.Saw("p", "m", false, 0, now)
	if saw, _ := h.Sick("p", "m", now); !sick(h, 0) || saw != "3 of 3 recent attempts failed" {
		t.Errorf("three failures do not make it sick: %q", saw)
	}
	if !sick(h, 11*time.Second) || sick(h, 12*time.Second) {
		t.Error("three failures are not forgotten after 12 s")
	}
	for range 3 {
		h.Saw("p", "m", true, 30*time.Millisecond, now)
	}
	h.Saw("p", "m", true, 30*time.Millisecond, now)
	if sick(h, 0) {
		t.Error("sick although most attempts went well")
	}
	if own := h.Own(now); len(own) != 1 || own[0].Latency != 30*time.Millisecond || own[0].Good != 4 || own[0].Bad != 3 {
		t.Errorf("own: %+v", own)
	}
	// What others saw counts as well, and only once however often they say so.
	other.Heard([]TargetHealth{{Provider: "p", Model: "m", At: now, Bad: 2}, {Provider: "p", Model: "m", At: now.Add(-20 * time.Second), Bad: 2}}, now)
	other.Heard([]TargetHealth{{Provider: "p", Model: "m", At: now, Bad: 2}, {Provider: "p", Model: "m", At: now.Add(-20 * time.Second), Bad: 2}}, now)
	if saw, _ := other.Sick("p", "m", now); saw != "3 of 3 recent attempts failed" {
		t.Errorf("by hearsay: %q", saw)
	}
	if own := h.Own(now.Add(10 * time.Minute)); len(own) != 0 {
		t.Errorf("not forgotten: %+v", own)
	}
	var none *Health
	if _, sick := none.Sick("p", "m", now); sick {
		t.Error("sick by nobody's word")
	}
}

func TestHealthOfAttempts(t *testing.T) {
	t.Parallel()
	h := NewHealth()
	attempts := []Attempt{
		{Provider: "p", Model: "m", Ended: AttemptFailed, Status: 503}, {Provider: "p", Model: "m", Ended: AttemptLost},
		{Provider: "p", Model: "m", Ended: AttemptFailed, Status: 400}, {Provider: "q", Model: "m", Ended: AttemptAnswered, Status: 200},
	}
	h.SawAttempts(append(attempts, Attempt{Provider: "q", Model: "m", Ended: AttemptRefused}), time.Second, testTime)
	h.SawAttempts(attempts, time.Second, testTime)
	own := h.Own(testTime)
	if len(own) != 2 || own[0].Bad != 4 || own[0].Good != 2 || own[1].Good != 2 || own[1].Bad != 0 {
		t.Errorf("%+v", own)
	}
}
