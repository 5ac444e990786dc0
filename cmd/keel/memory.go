package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Go collects garbage when the heap has grown by as much as was live, stacks included: a processor would take twice what
// it needs. That is well spent on what calls allocate while they are decided. It is not on calls that are open and
// wait, of which there may be thousands, which allocate nothing. So they are left out of the share, and what they keep comes out of the
// room that a processor with few of them has: a collection costs the same whether there is much garbage or little, and with twice as much room as
// is live there are half of them. What is collected is the same.
const (
	streamBytes = 9 << 10                // an open stream keeps about this much on the heap,
	streamStack = 4 << 10                // and a stack
	easyRoom    = 48 << 20               // for garbage and open streams together
	leastRoom   = 16 << 20               // for garbage: a small heap is not collected all the time
	steerEvery  = 250 * time.Millisecond // a thousand calls may be opened in a second
)

// room is how much garbage there may be before it is collected: as much as is live, but for what open streams keep, or what they leave of easyRoom.
func room(live, streams int64) int64 {
	return max(leastRoom, live-streams*streamBytes, easyRoom-streams*(streamBytes+streamStack))
}

// steerCollector has the collector follow room until ctx ends, unless the operator set GOGC.
func steerCollector(ctx context.Context, streams func() int64) {
	if os.Getenv("GOGC") != "" {
		return
	}
	ticker := time.NewTicker(steerEvery)
	defer ticker.Stop()
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	set := 100
	defer func() { debug.SetGCPercent(100) }()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		metrics.Read(samples)
		live, others := int64(samples[0].Value.Uint64()), int64(samples[1].Value.Uint64()+samples[2].Value.Uint64())
		if percent := percentFor(live, others, streams()); percent < set*9/10 || percent > set*11/10 {
			debug.SetGCPercent(percent)
			set = percent
		}
	}
}

// percentFor is GOGC for a heap of which so much is live, beside so much else that the collector looks at. See runtime/debug.SetGCPercent
// and the guide to the collector (go.dev/doc/gc-guide): the heap may grow by GOGC percent of both.
func percentFor(live, others, streams int64) int {
	return int(max(10, min(400, room(live, streams)*100/max(1, live+others))))
}
