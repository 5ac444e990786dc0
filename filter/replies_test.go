package filter

import (
	"context"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/metadata"
)

// What the replies for a call ask of Envoy, all of which takes it time: nothing twice, and nothing that nobody reads.
//
//	pending, decision_id, org  the access log: whose call it was, and whether it was decided before Envoy went on without Keel
//	call                       the filter in the cluster, and the access log, of a call that ended before its answer
//	asked, x-keel-…            mode light: the access log, and the headers of the answer
func TestReplies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		phase string
		want  []string
	}{
		{"router", []string{
			"removes x-keel-team x-keel-target accept-encoding; says decision_id org pending=true",
			"sets x-keel-target; says call pending=; finds the route",
			"sets x-keel-decision-id x-keel-model x-keel-estimated-cost-usd; asks for BUFFERED",
			"sets x-keel-cost-usd",
		}},
		{phaseLight, []string{
			"removes x-keel-team x-keel-target accept-encoding; says asked decision_id org pending=true",
			"sets x-keel-target; says asked call pending= x-keel-decision-id x-keel-estimated-cost-usd x-keel-model; finds the route",
		}},
	} {
		server, _ := newServer(t)
		call := chatCall(`{"model": "gpt-4o-mini", "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}`)
		call[0].Request.(*extprocv3.ProcessingRequest_RequestHeaders).RequestHeaders = headers(":method", "POST", ":path", "/v1/chat/completions", "x-keel-team", "a", "x-keel-target", "b", "accept-encoding", "gzip")
		call[2].Request.(*extprocv3.ProcessingRequest_ResponseHeaders).ResponseHeaders = headers(":status", "200", "content-type", "application/json", "content-length", "100")
		stream := &phasedStream{fakeStream{in: call[:len(tt.want)], end: io.EOF}, tt.phase}
		server.Process(stream)
		var got []string
		for _, m := range stream.out {
			got = append(got, asks(m))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s:\n%s\nwant\n%s", tt.phase, strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
		}
	}
}

// phasedStream is of a filter that says which one it is.
type phasedStream struct {
	fakeStream
	phase string
}

func (s *phasedStream) Context() context.Context {
	return metadata.NewIncomingContext(context.Background(), metadata.Pairs(envoyPhase, s.phase))
}

// asks is what a reply asks of Envoy.
func asks(m *extprocv3.ProcessingResponse) string {
	common := m.GetRequestHeaders().GetResponse()
	for _, c := range []*extprocv3.CommonResponse{m.GetRequestBody().GetResponse(), m.GetResponseHeaders().GetResponse(), m.GetResponseBody().GetResponse()} {
		if c != nil {
			common = c
		}
	}
	var all []string
	add := func(what string, names []string) {
		if len(names) > 0 {
			all = append(all, what+" "+strings.Join(names, " "))
		}
	}
	var set []string
	for _, h := range common.GetHeaderMutation().GetSetHeaders() {
		set = append(set, h.Header.Key)
	}
	add("sets", set)
	add("removes", common.GetHeaderMutation().GetRemoveHeaders())
	fields := m.GetDynamicMetadata().GetFields()[metadataSpace].GetStructValue().GetFields()
	says := slices.Sorted(maps.Keys(fields))
	for i, key := range says {
		if key == metadataPending {
			says[i] += "=" + fields[key].GetStringValue()
		}
	}
	add("says", says)
	if common.GetBodyMutation() != nil {
		all = append(all, "replaces the body")
	}
	if common.GetClearRouteCache() {
		all = append(all, "finds the route")
	}
	if m.ModeOverride != nil {
		add("asks for", []string{m.ModeOverride.ResponseBodyMode.String()})
	}
	return strings.Join(all, "; ")
}
