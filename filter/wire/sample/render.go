package sample

import (
	"fmt"
	"net/http"

	"keel/filter/wire"
)

// render gives a draft the shape of its API.
func render(d draft) reply {
	switch d.api {
	case wire.OpenAIChat:
		return d.chat()
	case wire.OpenAIResponses:
		return d.responses()
	case wire.Anthropic:
		return d.anthropic()
	default:
		return d.gemini()
	}
}

const (
	typeJSON = "application/json"
	typeSSE  = "text/event-stream; charset=utf-8"
)

func whole(body string) reply { return reply{contentType: typeJSON, chunks: [][]byte{[]byte(body)}} }

// events collects the chunks of an event stream.
type events struct{ chunks [][]byte }

// data adds an event without a name.
func (e *events) data(format string, args ...any) {
	e.chunks = append(e.chunks, fmt.Appendf(nil, "data: "+format+"\n\n", args...))
}

// named adds an event whose name is also the type in its data.
func (e *events) named(name, format string, args ...any) {
	e.chunks = append(e.chunks, fmt.Appendf(nil, "event: "+name+"\ndata: {\"type\":\""+name+"\","+format+"}\n\n", args...))
}

func (e *events) reply() reply { return reply{contentType: typeSSE, chunks: e.chunks} }

// errorBody is an error in the shape of the API.
func errorBody(api wire.API, status int, message string, id uint64) []byte {
	kind := errorKinds[status]
	if kind == (errorKind{}) {
		kind = errorKinds[http.StatusInternalServerError]
		if status < 500 {
			kind = errorKinds[http.StatusBadRequest]
		}
	}
	var shape string
	switch api {
	case wire.Anthropic:
		shape = fmt.Sprintf(`{"type":"error","error":{"type":%q,"message":%s},"request_id":"req_%024x"}`, kind.anthropic, quote(message), id)
	case wire.GeminiGenerate:
		shape = fmt.Sprintf(`{"error":{"code":%d,"message":%s,"status":%q}}`, status, quote(message), kind.google)
	case wire.GeminiStream:
		shape = fmt.Sprintf(`[{"error":{"code":%d,"message":%s,"status":%q}}]`, status, quote(message), kind.google)
	default:
		code := "null"
		if status == http.StatusNotFound {
			code = `"model_not_found"`
		}
		shape = fmt.Sprintf(`{"error":{"message":%s,"type":%q,"param":null,"code":%s}}`, quote(message), kind.openai, code)
	}
	return []byte(shape)
}

type errorKind struct{ openai, anthropic, google string }

// errorKinds is how the three name the same failures.
var errorKinds = map[int]errorKind{
	400: {"invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"},
	401: {"invalid_request_error", "authentication_error", "UNAUTHENTICATED"},
	403: {"invalid_request_error", "permission_error", "PERMISSION_DENIED"},
	404: {"invalid_request_error", "not_found_error", "NOT_FOUND"},
	413: {"invalid_request_error", "request_too_large", "INVALID_ARGUMENT"},
	429: {"rate_limit_error", "rate_limit_error", "RESOURCE_EXHAUSTED"},
	500: {"server_error", "api_error", "INTERNAL"},
	503: {"server_error", "api_error", "UNAVAILABLE"},
	504: {"server_error", "timeout_error", "DEADLINE_EXCEEDED"},
	529: {"server_error", "overloaded_error", "UNAVAILABLE"},
}
