package filter

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestPatience holds a patience to what context.WithTimeout does, whoever asks it what and when.
func TestPatience(t *testing.T) {
	t.Parallel()
	for name, asked := range map[string]func(context.Context){
		"nothing": func(context.Context) {},
		"done":    func(ctx context.Context) { ctx.Done() },
		"err":     func(ctx context.Context) { _ = ctx.Err() },
		"value":   func(ctx context.Context) { ctx.Value("") },
		"child": func(ctx context.Context) {
			child, cancel := context.WithCancel(ctx)
			defer cancel()
			if _, ok := child.Deadline(); !ok {
				t.Error("a child has no deadline")
			}
		},
	} {
		for _, after := range []time.Duration{0, 999 * time.Millisecond, time.Second, time.Minute} {
			for _, endsFirst := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					p := patient(time.Second)
					defer p.end()
					want, cancel := context.WithTimeout(context.Background(), time.Second)
					defer cancel()
					at, ok := p.Deadline()
					if wantAt, _ := want.Deadline(); !ok || !at.Equal(wantAt) {
						t.Errorf("%s: deadline %v, want %v", name, at, wantAt)
					}
					asked(p)
					if endsFirst {
						p.end()
						cancel()
					}
					time.Sleep(after)
					synctest.Wait()
					if got := p.Err(); !errors.Is(got, want.Err()) {
						t.Errorf("%s, %v later, ended %v: %v, want %v", name, after, endsFirst, got, want.Err())
					}
					if got := closed(p.Done()); got != closed(want.Done()) {
						t.Errorf("%s, %v later, ended %v: done %v", name, after, endsFirst, got)
					}
					child, cancelChild := context.WithTimeout(p, time.Hour)
					defer cancelChild()
					synctest.Wait()
					if !errors.Is(child.Err(), want.Err()) {
						t.Errorf("%s, %v later, ended %v: a child says %v, want %v", name, after, endsFirst, child.Err(), want.Err())
					}
				})
			}
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
