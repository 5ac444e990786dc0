package gemini

import (
	"strings"
	"testing"

	"keel/filter/wire"
)

func TestRefuse(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{
		400: `INVALID_ARGUMENT`, 403: `PERMISSION_DENIED`, 429: `RESOURCE_EXHAUSTED`, 503: `UNAVAILABLE`, 500: `INTERNAL`,
	} {
		contentType, body := (&codec{}).Refuse(wire.Refusal{Status: status, Code: "budget_exceeded", Message: `say "no"`, DecisionID: "d1", Details: map[string]string{"budget": "b"}})
		if contentType != "application/json; charset=UTF-8" || !strings.Contains(string(body), `"status":"`+want+`"`) {
			t.Errorf("%d: %s %s", status, contentType, body)
		}
	}
	_, body := (&codec{}).Refuse(wire.Refusal{Status: 429, Code: "budget_exceeded", Message: `say "no"`, DecisionID: "d1", Details: map[string]string{"budget": "b"}})
	const want = `{"error":{"code":429,"message":"say \"no\"","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"BUDGET_EXCEEDED","domain":"keel","metadata":{"budget":"b","decision_id":"d1"}}]}}`
	if string(body) != want {
		t.Errorf("%s, want %s", body, want)
	}
}
