package bedrock

import (
	"net/http"

	"keel/filter/wire"
	"keel/filter/wire/walk"
)

// Refuse implements wire.Codec. AWS' clients raise the exception that is named by
// the header x-amzn-errortype or, without one, by code in the body (AWS restJson1
// protocol, operation error serialization), and read its text from message.
func (*codec) Refuse(r wire.Refusal) (string, []byte) {
	facts := walk.Member(nil, "code", walk.Quote(r.Code))
	facts = walk.Member(facts, "decision_id", walk.Quote(r.DecisionID))
	if len(r.Details) > 0 {
		facts = walk.Member(facts, "details", walk.Strings(r.Details))
	}
	body := walk.Member(nil, "message", walk.Quote(r.Message))
	body = walk.Member(body, "code", walk.Quote(exception(r.Status)))
	body = walk.Member(body, "keel", walk.Object(facts))
	return "application/json", append(walk.Object(body), '\n')
}

// exception is what Bedrock's API model calls an error of a status.
func exception(status int) string {
	switch status {
	case http.StatusForbidden:
		return "AccessDeniedException"
	case http.StatusNotFound:
		return "ResourceNotFoundException"
	case http.StatusTooManyRequests:
		return "ThrottlingException"
	case http.StatusServiceUnavailable:
		return "ServiceUnavailableException"
	}
	if status >= http.StatusInternalServerError {
		return "InternalServerException"
	}
	return "ValidationException"
}
