package anthropic

import (
	"fmt"
	"testing"

	"keel/filter/wire"
)

func TestRefuse(t *testing.T) {
	t.Parallel()
	for status, kind := range map[int]string{400: "invalid_request_error", 403: "permission_error", 429: "rate_limit_error", 503: "overloaded_error", 500: "api_error"} {
		contentType, body := messages.Refuse(wire.Refusal{Status: status, Code: "budget_exceeded", Message: `say "no"`, DecisionID: "d1", Details: map[string]string{"budget": "b"}})
		want := fmt.Sprintf(`{"type":"error","error":{"type":%q,"message":"say \"no\""},"request_id":"d1","keel":{"code":"budget_exceeded","decision_id":"d1","details":{"budget":"b"}}}`, kind)
		if contentType != "application/json" || string(body) != want {
			t.Errorf("%d: %s %s, want %s", status, contentType, body, want)
		}
	}
}
