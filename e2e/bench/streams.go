package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// limitStreams is how many open calls the limit on memory is of.
	limitStreams = 5000

	streamGap  = 5 * time.Second // between the chunks of a call: it lasts longer than the measurement
	streamHold = 6 * time.Second // how long all are open
)

// streamFigures are of a replica with many open SSE calls.
type streamFigures struct {
	open          int64 // as Keel counts them
	before, most  int64 // bytes, resident
	gateway       int64 // bytes, resident, at the end
	opening, held time.Duration
	heldCPU       time.Duration // of the replica, while all are open
}

// perCall is what one open call costs in bytes.
func (f streamFigures) perCall() int64 { return (f.most - f.before) / max(1, f.open) }

var openCalls = regexp.MustCompile(`^keel_open_calls$`)

// openStreams opens n calls of a fresh replica, holds them and looks at its memory.
// Then it cuts them all, as an application that dies would. While they are open, others may look, too.
func (r *runner) openStreams(ctx context.Context, name string, n int, look ...func(admin string) error) (_ *streamFigures, err error) {
	if err := r.end(name); err != nil {
		return nil, err
	}
	t, err := r.start(ctx, name)
	if err != nil {
		return nil, err
	}
	c := cell{Bytes: 1 << 10, SSE: true, Clients: 16}
	l := r.load(t, c)
	l.sse = true
	if _, err := l.run(ctx, warmUp); err != nil { // opens connections, leases slices
		return nil, err
	}
	before, err := t.processor()
	if err != nil {
		return nil, err
	}
	f := &streamFigures{before: before.resident}
	l.head += fmt.Sprintf("%s: %d\r\n", gapHeader, streamGap.Milliseconds())
	clients := make([]client, n)
	defer func() {
		for i := range clients {
			clients[i].close()
		}
	}()
	fmt.Fprintf(r.progress, "bench: opening %d SSE calls of %s\n", n, name)
	began := time.Now()
	var opening errgroup.Group
	opening.SetLimit(c.Clients)
	for i := range clients {
		clients[i].load = l
		opening.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return clients[i].open(ctx)
		})
	}
	if err := opening.Wait(); err != nil {
		return nil, fmt.Errorf("opening %d SSE calls: %w", n, err)
	}
	f.opening = time.Since(began)
	start, err := t.processor()
	if err != nil {
		return nil, err
	}
	for began = time.Now(); time.Since(began) < streamHold; {
		now, err := t.processor()
		if err != nil {
			return nil, err
		}
		f.most = max(f.most, now.resident)
		f.heldCPU = now.own - start.own
		f.held = time.Since(began)
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(250 * time.Millisecond):
		}
	}
	page, err := get(ctx, "http://"+t.admin+"/metrics")
	if err != nil {
		return nil, err
	}
	open, _ := sumOf(page, openCalls)
	f.open = int64(open)
	if f.open < int64(n) {
		return nil, fmt.Errorf("%d calls are open by Keel's count, and %d were opened", f.open, n)
	}
	for _, look := range look {
		if err := look(t.admin); err != nil {
			return nil, err
		}
	}
	if g, err := t.gateway(); err == nil {
		f.gateway = g.resident
	}
	fmt.Fprintf(r.progress, "bench: %d SSE calls are open: %d MB, %d before, %d bytes a call\n", f.open, f.most/1e6, f.before/1e6, f.perCall())
	return f, nil
}

// open sends a call and leaves its answer coming.
func (c *client) open(ctx context.Context) error {
	response, err := c.send(ctx, c.bodies.request(nil, c.head))
	if err != nil {
		return err
	}
	if response.StatusCode != 200 {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 500))
		return fmt.Errorf("answered %s: %s", response.Status, text)
	}
	return nil
}
