package filter

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	accesslogdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"keel/budget"
)

// passing is what Envoy sends of a call in mode observe: its request in pieces.
func passing(body string, pieces int, rest ...*extprocv3.ProcessingRequest) []*extprocv3.ProcessingRequest {
	all := chatCall(body)[:1]
	for n := range pieces {
		from, to := len(body)*n/pieces, len(body)*(n+1)/pieces
		all = append(all, &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: []byte(body[from:to]), EndOfStream: n == pieces-1}}})
	}
	all = append(all, rest...)
	for _, m := range all {
		m.ObservabilityMode = true
	}
	return all
}

// A call that passes is never answered, and on record however its stream goes.
func TestPassive(t *testing.T) {
	t.Parallel()
	const body = `{"model": "gpt-4o-mini", "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}`
	answer := chatCall(body)[2:]
	whole := passing(body, 3, answer...)
	long := &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: bytes.Repeat([]byte(" "), maxObservedRequest)}}}
	trailers := &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestTrailers{}}
	unended := passing(body, 1, append([]*extprocv3.ProcessingRequest{trailers}, answer...)...)
	unended[1].GetRequestBody().EndOfStream = false
	for _, tt := range []struct {
		name     string
		messages []*extprocv3.ProcessingRequest
		want     string // outcome and metered; "" for no record
		clean    bool   // the stream is ended by Keel, well
	}{
		{"whole", whole, "complete provider", true},
		{"in one piece", passing(body, 1, answer...), "complete provider", true},
		{"with request trailers", unended, "complete provider", true},
		{"cut in the request", whole[:2], "", false},
		{"cut before the answer", whole[:4], "aborted estimated", false},
		{"cut in the answer", whole[:5], "aborted estimated", false},
		{"broken", passing(body[:20], 1, answer...), "unmetered none", true},
		{"empty", passing("", 1, answer...), "unmetered none", true},
		{"too long", passing(body, 1, answer...), "unmetered none", true},
		{"answered early", append(whole[:2:2], answer...), "unmetered none", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server, ledger := newServer(t)
			messages := tt.messages
			if tt.name == "too long" {
				messages = append([]*extprocv3.ProcessingRequest{messages[0], long}, messages[1:]...)
			}
			for _, m := range messages {
				m.ObservabilityMode = true
			}
			stream := &fakeStream{in: messages, end: io.EOF}
			if err := server.Process(stream); (err == nil) != tt.clean {
				t.Errorf("Process returned %v", err)
			}
			if len(stream.out) > 0 {
				t.Errorf("%d answers", len(stream.out))
			}
			got := ""
			for _, c := range ledger.closeouts {
				got += string(c.Outcome) + " " + string(c.Metered)
			}
			if got != tt.want {
				t.Errorf("closed out as %q, want %q", got, tt.want)
			}
			for _, d := range append(ledger.permitted, ledger.recorded...) {
				if d.Action != budget.Allow {
					t.Errorf("action %s", d.Action)
				}
			}
		})
	}
}

// What a defect does to a call that passes, it does to its record alone.
func TestPassiveSurvivesAPanic(t *testing.T) {
	t.Parallel()
	server, ledger := newServer(t)
	ledger.panics = true
	stream := &fakeStream{in: passing(`{"model": "gpt-4o-mini", "messages": []}`, 1), end: io.EOF}
	if err := server.Process(stream); err == nil || len(stream.out) > 0 {
		t.Errorf("%v, %d answers", err, len(stream.out))
	}
}

func TestPassingID(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 26, 20, 30, 31, 956239001, time.UTC)
	id, ok := passingID("e79b9735", at)
	if !ok || id.Version() != 7 || id.Variant() != uuid.RFC4122 {
		t.Fatalf("%v, %t", id, ok)
	}
	if seconds, nanos := id.Time().UnixTime(); time.Unix(seconds, nanos).UnixMilli() != at.UnixMilli() {
		t.Errorf("the id is of %v", time.Unix(seconds, nanos))
	}
	if again, _ := passingID("e79b9735", at); again != id {
		t.Error("not the same for the access log")
	}
	for _, other := range []struct {
		request string
		at      time.Time
	}{{"e79b9736", at}, {"e79b9735", at.Add(time.Nanosecond)}} {
		if another, _ := passingID(other.request, other.at); another == id {
			t.Errorf("%v has the same id", other)
		}
	}
	if _, ok := passingID("", at); ok {
		t.Error("an id without a request id")
	}
	if _, ok := passingID("x", time.Time{}); ok {
		t.Error("an id without a time")
	}
}

// Calls of the access log that no replica has a decision for after a while are recorded, once.
func TestFindMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, ledger := newServer(t)
		known := map[uuid.UUID]bool{}
		var back atomic.Bool
		server.missedAfter = time.Minute
		server.undecided = func(_ context.Context, ids []uuid.UUID) (missed []uuid.UUID, err error) {
			if !back.Load() {
				return nil, errors.New("the database is away")
			}
			for _, id := range ids {
				if !known[id] {
					missed = append(missed, id)
				}
			}
			return missed, nil
		}
		recorded := func() int {
			synctest.Wait()
			ledger.mu.Lock()
			defer ledger.mu.Unlock()
			return min(len(ledger.recorded), len(ledger.closeouts))
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for n, details := range []string{"via_upstream", "via_upstream", "downstream_remote_disconnect", "request_payload_too_large"} {
			entry := logEntry(t, 200, details, nil)
			entry.CommonProperties.StreamId = strings.Repeat("x", n+1)
			entry.CommonProperties.StartTime = timestamppb.New(time.Now())
			if n == 3 { // Envoy's own answer
				entry.CommonProperties.UpstreamRequestAttemptCount = 0
			}
			if n == 0 {
				id, _ := passingID(entry.CommonProperties.StreamId, time.Now())
				known[id] = true
			}
			server.notePassing(lineOf(t, entry))
			entry.CommonProperties.AccessLogType = accesslogdatav3.AccessLogType_DownstreamPeriodic
			server.notePassing(lineOf(t, entry))
		}
		go server.FindMissed(ctx)
		time.Sleep(55 * time.Second)
		if recorded() != 0 {
			t.Error("not given time")
		}
		time.Sleep(10 * time.Second)
		back.Store(true)
		time.Sleep(5 * time.Second)
		if n := recorded(); n != 2 {
			t.Errorf("%d recorded, want 2", n)
		}
		time.Sleep(5 * time.Minute)
		if n := recorded(); n != 2 {
			t.Errorf("%d recorded later, want 2", n)
		}
		cancel()
		synctest.Wait()
	})
}
