//go:build linux

package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// corpusStride is how many recorded calls there are for one that a mode is tried with, unless KEEL_CORPUS=all.
const corpusStride = 3

// cantRead are why a mode whose answers do not pass Keel estimates what full mode meters, as the record says it.
var cantRead = []struct{ why, says string }{
	{"compressed", "came compressed"},
	{"a stream not asked for its usage", "was not asked for its usage"},
	{"a stream of JSON", "Envoy found no usage in the answer"},
	{"hosted tools", "calls of hosted tools can't be read"},
	{"iterations", "the usage of each iteration can't be read"},
	{"modalities", "the modalities of the usage can't be read"},
}

// TestCorpusModes sends the recorded traffic through each of the other modes and through full mode beside it. What a mode says
// the provider metered is what the provider reported, at the same cost; what it can't, it says.
func TestCorpusModes(t *testing.T) {
	t.Parallel()
	exchanges := readCorpus(t)
	if os.Getenv("KEEL_CORPUS") != "all" {
		for i := range (len(exchanges) + corpusStride - 1) / corpusStride {
			exchanges[i] = exchanges[i*corpusStride]
		}
		exchanges = exchanges[:(len(exchanges)+corpusStride-1)/corpusStride]
	}
	upstream := &replay{byID: make(map[string]*exchange, len(exchanges))}
	for _, x := range exchanges {
		upstream.byID[x.ID] = x
	}
	for _, mode := range loggedModes {
		t.Run(mode, func(t *testing.T) {
			s := attach(t, mode, upstream, "")
			whole := httptest.NewServer(upstream)
			t.Cleanup(whole.Close)
			full := &stack{url: s.envoy(t, "full", whole.URL), dsn: s.cluster.dsn}
			replayModes(t, s, full, exchanges)
			if !t.Failed() {
				replayCut(t, s, full, exchanges)
			}
		})
	}
}

// replayCut has the provider hang up in the middle of recorded streams, and says how far the estimates of a mode are from those of
// full mode, which has seen the text.
func replayCut(t *testing.T, s *attached, full *stack, exchanges []*exchange) {
	var ids []pair
	var mu sync.Mutex
	work := make(chan *exchange)
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for x := range work {
				p := pair{s.cut(t, x), full.cut(t, x)}
				mu.Lock()
				ids = append(ids, p)
				mu.Unlock()
			}
		})
	}
	for _, x := range exchanges {
		if x.Stream && x.Framing == "sse" && x.Status == http.StatusOK && x.encoding() == "" && len(x.ResponseBody) > 2000 {
			work <- x
		}
	}
	close(work)
	workers.Wait()
	var ratios []float64
	var over, under, exact int64
	for _, p := range ids {
		if p.mode == "" || p.full == "" { // the answer did not begin
			continue
		}
		got, want := s.record(t, p.mode), s.record(t, p.full)
		got.want(t, record{"outcome": "aborted", "metered": want["metered"]})
		mode, whole := nano(t, orZero(got["actual_cost_usd"])), nano(t, orZero(want["actual_cost_usd"]))
		if exact += whole; mode >= whole {
			over += mode - whole
		} else {
			under += whole - mode
		}
		if whole > 0 {
			ratios = append(ratios, float64(mode)/float64(whole))
		}
	}
	if len(ratios) == 0 {
		t.Fatal("nothing was cut")
	}
	slices.Sort(ratios)
	at := func(percent int) float64 { return ratios[(len(ratios)-1)*percent/100] }
	t.Logf("%d streams cut half way: their cost ÷ that of full mode is %.2f at the median, from %.2f (p10) to %.2f (p90); in all %s USD above and %s below %s USD",
		len(ids), at(50), at(10), at(90), usd(over), usd(under), usd(exact))
}

// cut makes a recorded call whose answer ends half way.
func (s *stack) cut(t *testing.T, x *exchange) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), x.Method, s.url+x.Path, strings.NewReader(x.RequestBody))
	if err != nil {
		t.Fatal(err)
	}
	request.Host = x.Host
	request.Header.Set("x-corpus-id", x.ID)
	request.Header.Set("x-corpus-percent", "50")
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	io.Copy(io.Discard, response.Body)
	return response.Header.Get("x-keel-decision-id")
}

// pair is what two modes made of one call.
type pair struct{ mode, full string }

func replayModes(t *testing.T, s *attached, full *stack, exchanges []*exchange) {
	decisions := make(map[*exchange]pair, len(exchanges))
	var mu sync.Mutex
	work := make(chan *exchange)
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for x := range work {
				var ids [2]string
				for i, via := range []*stack{s.stack, full} {
					got := via.do(t, x.Method, x.Path, strings.NewReader(x.RequestBody), "host: "+x.Host, "x-corpus-id: "+x.ID)
					if got.status != x.Status {
						t.Errorf("%s: status %d, recorded %d: %s", x.ID, got.status, x.Status, tail(got.body, 300))
					}
					ids[i] = got.decision()
				}
				mu.Lock()
				decisions[x] = pair{ids[0], ids[1]}
				mu.Unlock()
			}
		})
	}
	for _, x := range exchanges {
		work <- x
	}
	close(work)
	workers.Wait()
	if t.Failed() {
		return
	}
	records := s.allClosed(t, 2*len(exchanges))
	var reported, metered int
	var estimated, exact int64 // nano-dollars, where the mode estimates and full mode knows
	reasons := make(map[string]int)
	for x, ids := range decisions {
		got, want := records[ids.mode], records[ids.full]
		if got == nil || want == nil {
			if got != nil || want != nil || x.Status < 400 {
				t.Errorf("%s: records %v and %v", x.ID, got, want)
			}
			continue
		}
		usage := x.usage(t)
		if usage == nil || want["metered"] != "provider" {
			if got["metered"] == "provider" {
				t.Errorf("%s: metered by provider, which reported nothing: %v", x.ID, got)
			}
			continue
		}
		reported++
		if got["metered"] != "provider" {
			reasons[reasonOf(t, x, got)]++
			estimated += nano(t, orZero(got["actual_cost_usd"]))
			exact += nano(t, orZero(want["actual_cost_usd"]))
			continue
		}
		metered++
		for column, n := range usage {
			if got[column] != strconv.FormatInt(n, 10) {
				t.Errorf("%s (%s %s): %s = %s, the provider said %d: %s", x.ID, x.Provider, x.API, column, got[column], n, x.Usage)
			}
		}
		for _, column := range []string{"actual_cost_usd", "outcome", "model_routed", "http_status", "attempts"} {
			if got[column] != want[column] {
				t.Errorf("%s (%s %s): %s = %s, full mode has %s: %s", x.ID, x.Provider, x.API, column, got[column], want[column], x.Usage)
			}
		}
	}
	t.Logf("%d exchanges replayed; of %d with usage %d are metered as full mode does, and %d estimated: %v; those cost %s USD, and %s in full mode",
		len(exchanges), reported, metered, reported-metered, reasons, usd(estimated), usd(exact))
	if metered == 0 {
		t.Error("nothing was compared")
	}
}

func orZero(amount string) string {
	if amount == "" {
		return "0"
	}
	return amount
}

var digits = regexp.MustCompile(`\d+`)

// reasonOf is why a call was estimated, which has to be one of those that the documentation names.
func reasonOf(t *testing.T, x *exchange, r record) string {
	for _, c := range cantRead {
		if strings.Contains(r["detail"], c.says) {
			if c.why == "a stream of JSON" && x.Framing != "json-array" {
				t.Errorf("%s (%s %s): no usage was found: %v: %s", x.ID, x.Provider, x.API, r, x.Usage)
			}
			return c.why
		}
	}
	t.Errorf("%s (%s %s): estimated, and does not say why: %v: %s", x.ID, x.Provider, x.API, r, x.Usage)
	return digits.ReplaceAllString(r["detail"], "N")
}
