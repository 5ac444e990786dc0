package anthropic

import (
	"encoding/json"
	"net/http"

	"keel/filter/wire"
)

// Refuse implements wire.Codec: the error object of the API, whose type the
// client libraries turn into their exceptions, with Keel's own facts beside it.
// https://platform.claude.com/docs/en/api/errors
func (*codec) Refuse(r wire.Refusal) (contentType string, body []byte) {
	type apiError struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	}
	type keel struct {
		Code       string            `json:"code"`
		DecisionID string            `json:"decision_id"`
		Details    map[string]string `json:"details,omitempty"`
	}
	body, err := json.Marshal(struct {
		Type      string   `json:"type"`
		Error     apiError `json:"error"`
		RequestID string   `json:"request_id"`
		Keel      keel     `json:"keel"`
	}{"error", apiError{errorType(r.Status), r.Message}, r.DecisionID, keel{r.Code, r.DecisionID, r.Details}})
	if err != nil {
		panic("anthropic: a refusal of strings has a JSON form: " + err.Error())
	}
	return "application/json", body
}

func errorType(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusForbidden:
		return "permission_error"
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case http.StatusTooManyRequests:
		return "rate_limit_error"
	case http.StatusServiceUnavailable:
		return "overloaded_error"
	}
	if status >= 500 {
		return "api_error"
	}
	return "invalid_request_error"
}
