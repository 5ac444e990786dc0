package main

import (
	"fmt"
	"io"
	"time"
)

// write is a cell as a Markdown table: of each figure the median of the rounds.
func (m *measured) write(w io.Writer) {
	fmt.Fprintf(w, "\n### %s\n\n", m.cell)
	fmt.Fprintln(w, "| variant | p50 ms | p90 ms | p99 ms | requests/s | CPU gateway µs | CPU processor µs | both | Postgres µs | messages | waited % | RSS gateway MB | RSS processor MB | rounds, requests |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, name := range m.order {
		rounds := m.rounds[name]
		if len(rounds) == 0 {
			continue
		}
		duration := func(of func(figures) time.Duration) time.Duration { return middle(rounds, of) }
		requests := 0
		for _, f := range rounds {
			requests += f.Requests
		}
		megabytes := func(of func(figures) int64) string { return fmt.Sprintf("%d", middle(rounds, of)/1e6) }
		fmt.Fprintf(w, "| %s | %s | %s | %s | %.0f | %s | %s | %s | %s | %.1f | %.1f | %s | %s | %d, %d |\n", name,
			milliseconds(duration(func(f figures) time.Duration { return f.P50 })),
			milliseconds(duration(func(f figures) time.Duration { return f.P90 })),
			milliseconds(duration(func(f figures) time.Duration { return f.P99 })),
			middle(rounds, figures.perSecond),
			microseconds(duration(func(f figures) time.Duration { return f.each(f.Gateway) })),
			microseconds(duration(func(f figures) time.Duration { return f.each(f.Processor) })),
			microseconds(duration(figures.cpu)),
			microseconds(duration(func(f figures) time.Duration { return f.each(f.Postgres) })),
			middle(rounds, func(f figures) float64 { return float64(f.Messages) / float64(max(1, f.Requests)) }),
			middle(rounds, func(f figures) float64 { return 100 * float64(f.Waited) / float64(max(1, f.Requests)) }),
			megabytes(func(f figures) int64 { return f.GatewayRSS }), megabytes(func(f figures) int64 { return f.ProcessorRSS }),
			len(rounds), requests)
	}
}
