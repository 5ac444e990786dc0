package filter

import (
	"net/http"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"keel/budget"
	"keel/filter/wire/constrain"
)

// constrainable says what is against a constraint on the request that body holds.
func (call *Call) constrainable(body []byte, c budget.Constraint) error {
	_, err := constrain.Apply(call.codec.API(), body, constraint(c))
	return err
}

// constraint says a constraint in the words of the formats.
func constraint(c budget.Constraint) constrain.Constraint {
	return constrain.Constraint{
		Choices: c.Choices, NoTools: c.Tools == budget.ToolsNone, NoHostedTools: c.Tools == budget.ToolsOwn,
		Effort: string(c.Effort), ServiceTier: c.ServiceTier,
	}
}

// unconstrained ends a call that was permitted and can't be let out as it was.
func (s *Server) unconstrained(call *Call, err error) *extprocv3.ProcessingResponse {
	s.log.Error("filter: a call could not be constrained as decided, and was not let out", "decision", call.id, "error", err)
	call.sent = false
	s.settle(call)
	call.decision.Denial = &budget.Denial{
		Status: http.StatusForbidden, Code: "policy_denied", Message: "the call could not be constrained as its policies say: " + err.Error() + " (decision " + call.id.String() + ")",
	}
	return s.answerDenial(call)
}
