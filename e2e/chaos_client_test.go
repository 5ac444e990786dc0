//go:build linux

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"
)

const chatPath = "/v1/chat/completions"

// messageTimeout is what Envoy waits for one answer of the processor (package envoy).
const messageTimeout = 5 * time.Second

// asked is a call that a processor was asked about. It speaks to one processor as Envoy does for one call. Runs in which
// replicas die every second use it in Envoy's place: it is light, it knows
// the very moment at which a closeout was acknowledged, and an Envoy adds no
// fault of its own to these. The burst goes through real Envoys, too.
type asked struct {
	stream   extprocv3.ExternalProcessor_ProcessClient
	cancel   context.CancelFunc
	watchdog *time.Timer

	decision string                       // x-keel-decision-id, from the dynamic metadata
	denied   *extprocv3.ImmediateResponse // nil when the call may go out
	body     []byte                       // to send upstream
	cost     string                       // x-keel-cost-usd, "" without
}

// ask sends the request of a call. A nil error is a decision: denied, or not.
func ask(ctx context.Context, processor *grpc.ClientConn, body []byte, headers ...string) (_ *asked, err error) {
	ctx, cancel := context.WithCancel(ctx)
	x := &asked{cancel: cancel, watchdog: time.AfterFunc(messageTimeout, cancel), body: body}
	defer func() {
		if err != nil {
			x.end()
		}
	}()
	if x.stream, err = extprocv3.NewExternalProcessorClient(processor).Process(ctx); err != nil {
		return nil, err
	}
	pairs := []string{":method: POST", ":path: " + chatPath, ":authority: gateway.test", ":scheme: http", "content-type: application/json"}
	answer, err := x.turn(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{
		RequestHeaders: &extprocv3.HttpHeaders{Headers: headerMap(append(pairs, headers...))},
	}})
	if err != nil {
		return nil, err
	}
	x.decision = answer.GetDynamicMetadata().GetFields()["keel"].GetStructValue().GetFields()["decision_id"].GetStringValue()
	if x.denied = answer.GetImmediateResponse(); x.denied != nil {
		return x, nil
	}
	answer, err = x.turn(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestBody{
		RequestBody: &extprocv3.HttpBody{Body: body, EndOfStream: true},
	}})
	if err != nil {
		return nil, err
	}
	if x.denied = answer.GetImmediateResponse(); x.denied != nil {
		return x, nil
	}
	common := answer.GetRequestBody().GetResponse()
	if common == nil {
		return nil, fmt.Errorf("the processor answered a request body with %T", answer.Response)
	}
	if changed := common.GetBodyMutation(); changed != nil {
		x.body = changed.GetBody()
	}
	return x, nil
}

// status is that of a denial, 0 when the call may go out.
func (x *asked) status() int {
	if x.denied == nil {
		return 0
	}
	return int(x.denied.GetStatus().GetCode())
}

// respond passes the provider's answer through the processor. A nil error means
// that the processor answered its end: the closeout is acknowledged.
func (x *asked) respond(r *http.Response) error {
	pairs := []string{":status: " + strconv.Itoa(r.StatusCode)}
	for _, name := range []string{"content-type", "content-length"} {
		if v := r.Header.Get(name); v != "" {
			pairs = append(pairs, name+": "+v)
		}
	}
	details, err := structpb.NewStruct(map[string]any{"response.code_details": "via_upstream", "upstream.request_attempt_count": 1})
	if err != nil {
		return err
	}
	answer, err := x.turn(&extprocv3.ProcessingRequest{
		Request:    &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{Headers: headerMap(pairs)}},
		Attributes: map[string]*structpb.Struct{"envoy.filters.http.ext_proc": details},
	})
	if err != nil {
		return err
	}
	if answer.GetModeOverride() != nil { // it wants the body in one piece
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		return x.responseBody(body, true)
	}
	chunk := make([]byte, 16<<10)
	for {
		n, err := r.Body.Read(chunk)
		if err != nil && err != io.EOF {
			return err
		}
		if failed := x.responseBody(bytes.Clone(chunk[:n]), err == io.EOF); failed != nil || err == io.EOF {
			return failed
		}
	}
}

func (x *asked) responseBody(chunk []byte, end bool) error {
	answer, err := x.turn(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{
		ResponseBody: &extprocv3.HttpBody{Body: chunk, EndOfStream: end},
	}})
	if err != nil {
		return err
	}
	for _, h := range answer.GetResponseBody().GetResponse().GetHeaderMutation().GetSetHeaders() {
		if h.GetHeader().GetKey() == "x-keel-cost-usd" {
			x.cost = string(h.GetHeader().GetRawValue())
		}
	}
	return nil
}

// turn is one message and its answer.
func (x *asked) turn(m *extprocv3.ProcessingRequest) (*extprocv3.ProcessingResponse, error) {
	x.watchdog.Reset(messageTimeout)
	if err := x.stream.Send(m); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	answer, err := x.stream.Recv() // tells why Send met the end
	x.watchdog.Stop()
	return answer, err
}

// end ends the stream as Envoy does when it is done with a call, or when the client has left.
func (x *asked) end() {
	x.watchdog.Stop()
	x.cancel()
}

func headerMap(pairs []string) *corev3.HeaderMap {
	m := &corev3.HeaderMap{}
	for _, pair := range pairs {
		i := strings.Index(pair[1:], ": ") + 1 // a name may begin with a colon
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: pair[:i], RawValue: []byte(pair[i+2:])})
	}
	return m
}
