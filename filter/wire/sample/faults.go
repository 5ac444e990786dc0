package sample

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// faults is what the x-sample-* headers of a request ask for.
type faults struct {
	delay, chunkDelay   time.Duration
	status              int
	retryAfter          string
	failFirst           int64
	key                 string
	cutChunks, cutBytes int64 // -1: no cut
	omitUsage, echo     bool
	outputTokens        int64 // -1: not stated
	cachedTokens        int64
	encoding            string
}

func (f faults) cuts() bool { return f.cutChunks >= 0 || f.cutBytes >= 0 }

func parseFaults(h http.Header) (faults, error) {
	f := faults{cutChunks: -1, cutBytes: -1, outputTokens: -1}
	var firstErr error
	fail := func(name, value, want string) {
		if firstErr == nil {
			firstErr = fmt.Errorf("header x-sample-%s: %q is not %s", name, value, want)
		}
	}
	get := func(name string) string { return strings.TrimSpace(h.Get("x-sample-" + name)) }
	duration := func(name string, d *time.Duration) {
		if v := get(name); v != "" {
			var err error
			if *d, err = time.ParseDuration(v); err != nil || *d < 0 {
				fail(name, v, "a duration such as 250ms")
			}
		}
	}
	count := func(name string, n *int64) {
		if v := get(name); v != "" {
			var err error
			if *n, err = strconv.ParseInt(v, 10, 32); err != nil || *n < 0 {
				fail(name, v, "a count")
			}
		}
	}
	flag := func(name string, b *bool) {
		if v := get(name); v != "" {
			var err error
			if *b, err = strconv.ParseBool(v); err != nil {
				fail(name, v, "true or false")
			}
		}
	}
	duration("delay", &f.delay)
	duration("chunk-delay", &f.chunkDelay)
	count("fail-first", &f.failFirst)
	count("output-tokens", &f.outputTokens)
	count("cached-tokens", &f.cachedTokens)
	flag("omit-usage", &f.omitUsage)
	flag("body-echo", &f.echo)
	f.key = get("key")
	f.retryAfter = get("retry-after")
	if v := get("status"); v != "" {
		var err error
		if f.status, err = strconv.Atoi(v); err != nil || f.status < 400 || f.status > 599 {
			fail("status", v, "a status from 400 to 599")
		}
	}
	if v := get("cut-after"); v != "" {
		number, unit := strings.CutSuffix(v, "b")
		n, err := strconv.ParseInt(number, 10, 32)
		switch {
		case err != nil || n < 0:
			fail("cut-after", v, "a count of chunks (3) or bytes (120b)")
		case unit:
			f.cutBytes = n
		default:
			f.cutChunks = n
		}
	}
	switch f.encoding = get("encoding"); f.encoding {
	case "", "gzip", "br", "zstd", "deflate":
	default:
		fail("encoding", f.encoding, "gzip, br, zstd or deflate")
	}
	return f, firstErr
}

// maxKeys bounds the memory that x-sample-key can take.
const maxKeys = 10000

// attempts counts the attempts by x-sample-key.
type attempts struct {
	mu sync.Mutex
	n  map[string]int64
}

// next counts one attempt and returns its number, from 1.
func (a *attempts) next(key string) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.n == nil || len(a.n) >= maxKeys {
		a.n = make(map[string]int64)
	}
	a.n[key]++
	return a.n[key]
}
