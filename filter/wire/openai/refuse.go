package openai

import (
	"keel/filter/wire"
	"keel/filter/wire/walk"
)

// refuse renders a refusal as OpenAI renders an error. The official clients
// choose the exception by the status; type is what people match on: they know
// insufficient_quota as "out of money", not as "too fast".
func refuse(r wire.Refusal) (string, []byte) {
	kind := "invalid_request_error"
	switch {
	case r.Status == 401:
		kind = "authentication_error"
	case r.Status == 403:
		kind = "permission_error"
	case r.Status == 429:
		kind = "insufficient_quota"
	case r.Status >= 500:
		kind = "server_error"
	}
	keel := walk.Member(nil, "decision_id", walk.Quote(r.DecisionID))
	if len(r.Details) > 0 {
		keel = walk.Member(keel, "details", walk.Strings(r.Details))
	}
	e := walk.Member(nil, "message", walk.Quote(r.Message))
	e = walk.Member(e, "type", walk.Quote(kind))
	e = walk.Member(e, "param", []byte("null"))
	e = walk.Member(e, "code", walk.Quote(r.Code))
	e = walk.Member(e, "keel", walk.Object(keel))
	return "application/json", append(walk.Object(walk.Member(nil, "error", walk.Object(e))), '\n')
}
