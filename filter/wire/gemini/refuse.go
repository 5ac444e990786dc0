package gemini

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"

	"keel/filter/wire"
)

// Refuse implements wire.Codec: a google.rpc.Status with an ErrorInfo that
// carries Keel's own facts. https://cloud.google.com/apis/design/errors
func (*codec) Refuse(r wire.Refusal) (contentType string, body []byte) {
	type errorInfo struct {
		Type     string            `json:"@type"`
		Reason   string            `json:"reason"`
		Domain   string            `json:"domain"`
		Metadata map[string]string `json:"metadata"`
	}
	type status struct {
		Code    int         `json:"code"`
		Message string      `json:"message"`
		Status  string      `json:"status"`
		Details []errorInfo `json:"details"`
	}
	metadata := make(map[string]string, len(r.Details)+1)
	maps.Copy(metadata, r.Details)
	metadata["decision_id"] = r.DecisionID
	body, err := json.Marshal(map[string]status{"error": {r.Status, r.Message, rpcStatus(r.Status), []errorInfo{{
		Type: "type.googleapis.com/google.rpc.ErrorInfo", Reason: strings.ToUpper(r.Code), Domain: "keel", Metadata: metadata,
	}}}})
	if err != nil {
		panic("gemini: a refusal of strings has a JSON form: " + err.Error())
	}
	return "application/json; charset=UTF-8", body
}

func rpcStatus(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "UNAUTHENTICATED"
	case http.StatusForbidden:
		return "PERMISSION_DENIED"
	case http.StatusNotFound:
		return "NOT_FOUND"
	case http.StatusTooManyRequests:
		return "RESOURCE_EXHAUSTED"
	case http.StatusServiceUnavailable:
		return "UNAVAILABLE"
	case http.StatusGatewayTimeout:
		return "DEADLINE_EXCEEDED"
	}
	if status >= 500 {
		return "INTERNAL"
	}
	return "INVALID_ARGUMENT"
}
