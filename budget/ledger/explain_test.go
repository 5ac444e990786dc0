package ledger

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/uuid"

	"keel/budget"
	"keel/budget/internal/jsonschema"
)

// Whatever becomes of a call, its explanation is as the published schema says, and has what was corrected.
func TestExplainSchema(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.budget("a", 1000, "month")
	j := l.journal()
	j.lease(thisMonth("a"), 100)
	open, denied, orphan, done := admitted(enforced(thisMonth("a"), 30)), admitted(), admitted(enforced(thisMonth("a"), 30)), admitted(enforced(thisMonth("a"), 30))
	denied.Action, denied.Denial = budget.Deny, &budget.Denial{Status: 429, Code: "budget_exceeded", Message: "no room", Details: map[string]string{"account": "user=ada"}}
	j.settle(decided(orphan), decided(done))
	l.presumeAll()
	l.sequence()
	j.settle(j.closed(done, ended(done, 12)), decided(open), extended(open, 4), decided(denied))
	store := &Store{l.pool, l.dsn}
	explain := func(id uuid.UUID) *Explanation {
		t.Helper()
		e, err := store.Explain(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		faults, err := jsonschema.Violations(ExplainSchema, text)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range faults {
			t.Error(f)
		}
		return e
	}
	for _, d := range []*budget.Decision{open, denied, orphan} {
		explain(d.ID)
	}
	if e := explain(open.ID); len(e.Extensions) != 1 || e.Holds[0].Extended != 4 {
		t.Errorf("extended: %+v, %+v", e.Extensions, e.Holds)
	}
	e := explain(done.ID)
	if len(e.Superseded) != 1 || e.Superseded[0].Outcome != budget.Orphaned || e.Superseded[0].CostKnown || len(e.Corrections) != 1 || e.Corrections[0].Kind != "superseded" || e.Closeout.Version != 2 {
		t.Errorf("%+v", e)
	}
	var places []string
	for _, l := range e.Evidence {
		place := "pending"
		if l.Leaf != nil {
			place = "leaf"
		}
		places = append(places, l.Kind+" "+place)
	}
	if got := strings.Join(places, ", "); got != "decision leaf, closeout leaf, closeout pending, entry pending" {
		t.Errorf("evidence: %s", got)
	}
	if faults, err := jsonschema.Violations(ExplainSchema, []byte(`{"record": {}}`)); err != nil || len(faults) < 20 {
		t.Errorf("the schema lets anything pass: %v, %v", faults, err)
	}
}
