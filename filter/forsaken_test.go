package filter

import (
	"testing"
	"time"

	"github.com/google/uuid"
)

// A check is found once, by the key that it alone has, for a while; and memory for them is bounded.
func TestForsaken(t *testing.T) {
	t.Parallel()
	var f forsaken
	now := time.Now()
	key := func(n int) requestKey { return requestKey{"same", int64(n)} }
	a, b := checkedCall{uuid.Must(uuid.NewV7()), "a"}, checkedCall{uuid.Must(uuid.NewV7()), "b"}
	f.remember(key(1), a, now)
	f.remember(key(2), b, now)
	if got, ok := f.take(key(1)); !ok || got != a {
		t.Errorf("%v, %v", got, ok)
	}
	if got, ok := f.take(key(1)); ok {
		t.Errorf("twice: %v", got)
	}
	f.remember(key(2), a, now)
	for range 2 {
		if got, ok := f.take(key(2)); ok {
			t.Errorf("two calls have that key: %v", got)
		}
	}
	f.remember(key(2), a, now)
	if got, ok := f.take(key(2)); ok {
		t.Errorf("three calls have that key: %v", got)
	}
	f.remember(key(3), a, now)
	f.remember(key(4), b, now.Add(forsakenFor+time.Second))
	if got, ok := f.take(key(3)); ok {
		t.Errorf("it is old: %v", got)
	}
	if _, ok := f.take(key(4)); !ok || len(f.calls) != 0 {
		t.Errorf("%d are remembered", len(f.calls))
	}
	for n := range forsakenMost + 10 {
		f.remember(key(10+n), a, now.Add(time.Hour))
	}
	if len(f.calls) != forsakenMost || len(f.queue) != forsakenMost {
		t.Errorf("%d are remembered, %d in the queue", len(f.calls), len(f.queue))
	}
}
