package filter

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"keel/budget"
	"keel/filter/frame"
	"keel/filter/wire"
	"keel/filter/wire/apis"
	"keel/filter/wire/constrain"
)

// This file is what mode fast has beside mode authz. There ext_authz asks about every call, and can replace no body; a call whose
// body has to change passes one filter more, of ext_proc, which stands behind it and is left out for all others. The call is
// decided once, by the check. What the filter changes is made again from the decision that travels in the metadata, out of the body that
// Envoy holds anyway: carried along, the changed body would go to Envoy as text, back with two messages, and
// into the access log. The check makes it too, to know whether anything changes and whether it can be done, and its hash travels with the
// decision, so that what goes out is what was decided, to the byte, or nothing does.
//
// Until it is changed such a call has a target that no route leads to: whatever happens to the filter, it can't go out as it came.

// changeTarget is what x-keel-target of a call begins with that has to be changed first. No provider has such a name.
const changeTarget = "keel/"

// rewriting is all that a decision changes in a request.
type rewriting struct {
	wire.Edit
	Constraint *budget.Constraint
}

// rewritingOf is what is to be changed in a call that was decided.
func rewritingOf(call *Call) rewriting {
	d := call.decision
	w := rewriting{Edit: wire.Edit{
		MaxOutputTokens: d.MaxOutputTokens,
		ForceUsage:      call.request.Stream && !call.request.WantsUsage && (!call.logged || call.force),
	}, Constraint: d.Constraint}
	if d.RoutedModel != call.request.Model {
		w.Model = d.RoutedModel
	}
	return w
}

// of changes a request that was read from body. Where nothing changes it returns its arguments.
func (w rewriting) of(codec wire.Codec, request *wire.Request, path string, body []byte) (string, []byte, error) {
	path, changed := codec.Rewrite(request, path, body, w.Edit)
	if w.Constraint == nil {
		return path, changed, nil
	}
	changed, err := constrain.Apply(codec.API(), changed, constraint(*w.Constraint))
	return path, changed, err
}

// carriedChange is what the filter that changes a call has to know beside the decision.
type carriedChange struct {
	Model      string             `json:"model,omitempty"`
	MaxOutput  int64              `json:"max_output_tokens,omitempty"`
	ForceUsage bool               `json:"force_usage,omitempty"`
	Constraint *budget.Constraint `json:"constraint,omitempty"`
	Encoding   string             `json:"encoding,omitempty"` // of the body as it came
	Hash       string             `json:"sha256"`             // of the path and the body as they go out
}

func (c *carriedChange) rewriting() rewriting {
	return rewriting{wire.Edit{Model: c.Model, MaxOutputTokens: c.MaxOutput, ForceUsage: c.ForceUsage}, c.Constraint}
}

// hashOf names a request as it goes out.
func hashOf(path string, body []byte) string {
	h := sha256.New()
	h.Write([]byte(path))
	h.Write([]byte{0}) // no path has it
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}

// releaseChecked lets out a call that ext_authz asked about: as it came, or by way of the filter that changes it.
func (s *Server) releaseChecked(call *Call, body []byte) *extprocv3.ProcessingResponse {
	w := rewritingOf(call)
	path, changed, err := w.of(call.codec, call.request, call.path, body)
	if err == nil && !call.changer && (w.Model != "" || w.MaxOutputTokens > 0 || w.Constraint != nil) {
		err = errFixed // such a decision was not to be made, see Call.Changeable in package budget
	}
	if err != nil {
		return s.unconstrained(call, err)
	}
	call.request.UsageForced = w.ForceUsage
	mutation := toTarget(call)
	if path != call.path || !bytes.Equal(changed, body) {
		call.change = &carriedChange{
			Model: w.Model, MaxOutput: w.MaxOutputTokens, ForceUsage: w.ForceUsage, Constraint: w.Constraint,
			Encoding: call.encoding, Hash: hashOf(path, changed),
		}
		mutation.SetHeaders[0] = setHeader(headerTarget, changeTarget+targetOf(call.decision))
	}
	answer := requestBodyAnswer(&extprocv3.CommonResponse{HeaderMutation: mutation})
	answer.DynamicMetadata = carryCall(call)
	return answer
}

// change is a call in the filter that changes it: a stream of its own, which may come to another replica than the check.
type change struct {
	carriedCall
	id    uuid.UUID
	codec wire.Codec
}

// processChange changes one request. It never returns nil, as Process.
func (s *Server) processChange(stream extprocv3.ExternalProcessor_ProcessServer) (err error) {
	var c change
	defer func() {
		if p := recover(); p != nil {
			err = s.panicked("a change", c.id, p)
		}
	}()
	for {
		message, err := stream.Recv()
		if err != nil {
			return status.Error(codes.Unavailable, "keel: the change has ended")
		}
		answer, err := c.answer(message)
		if err != nil {
			s.log.Error("filter: a call could not be changed as decided, and was not let out", "decision", c.id, "error", err)
			return status.Error(codes.Unavailable, err.Error())
		}
		if err := stream.Send(answer); err != nil {
			return status.Error(codes.Unavailable, err.Error())
		}
	}
}

func (c *change) answer(message *extprocv3.ProcessingRequest) (*extprocv3.ProcessingResponse, error) {
	switch m := message.Request.(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		return requestHeadersAnswer(nil), c.read(message)
	case *extprocv3.ProcessingRequest_RequestBody:
		return c.of(m.RequestBody.Body)
	case *extprocv3.ProcessingRequest_RequestTrailers:
		return frame.RequestTrailersUnchanged, nil
	default:
		return nil, fmt.Errorf("keel: Envoy sent a message of kind %T to the filter that changes requests: has it another processing_mode than keel envoy config writes?", m)
	}
}

// read reads what the check decided.
func (c *change) read(message *extprocv3.ProcessingRequest) error {
	fields := message.GetMetadataContext().GetFilterMetadata()[authzSpace].GetFields()
	id, err := uuid.Parse(fields[metadataDecision].GetStringValue())
	if err == nil {
		err = c.carriedCall.read([]byte(fields[metadataCall].GetStringValue()))
	}
	if err != nil {
		return fmt.Errorf("keel: the decision in the metadata %s can't be read: %w; is that namespace among the filter's forwarding_namespaces, and no other ext_authz behind Keel's?", authzSpace, err)
	}
	codec, ok := apis.Match(c.Asked, c.Method, c.Path)
	if !ok {
		return fmt.Errorf("keel: %s %s is of no API that this version knows: is a newer replica running beside this one?", c.Method, c.Path)
	}
	if c.id, c.codec = id, codec; c.Change == nil {
		return fmt.Errorf("keel: nothing was decided to be changed in call %s: does a route's match or a filter set %s?", id, headerTarget)
	}
	return nil
}

// of changes the request that body holds as it was decided.
func (c *change) of(body []byte) (*extprocv3.ProcessingResponse, error) {
	if c.codec == nil {
		return nil, fmt.Errorf("keel: a request body came without its headers: the filter that changes requests needs request_header_mode SEND")
	}
	call := Call{path: c.Path, codec: c.codec, encoding: c.Change.Encoding}
	plain, err := call.read(body)
	if err != nil {
		return nil, fmt.Errorf("keel: call %s: %w", c.id, err)
	}
	defer call.request.Prompt.Release()
	path, changed, err := c.Change.rewriting().of(c.codec, call.request, c.Path, plain)
	if err != nil {
		return nil, fmt.Errorf("keel: call %s: %w", c.id, err)
	}
	if hashOf(path, changed) != c.Change.Hash {
		return nil, fmt.Errorf("keel: call %s would not be what was decided: does a filter between Keel's two change requests, or are two versions of Keel running that change them differently?", c.id)
	}
	mutation := &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{
		setHeader(headerTarget, c.Provider+"/"+c.Model), contentLength(changed),
	}}
	if path != c.Path {
		mutation.SetHeaders = append(mutation.SetHeaders, setHeader(":path", path))
	}
	if c.Change.Encoding != "" {
		mutation.RemoveHeaders = []string{"content-encoding"}
	}
	return requestBodyAnswer(&extprocv3.CommonResponse{HeaderMutation: mutation, BodyMutation: replaceBody(changed), ClearRouteCache: true}), nil
}
