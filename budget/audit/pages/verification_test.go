package pages

import (
	"strings"
	"testing"

	"keel/budget/audit"
)

// A log that ended and goes on as another one is nowhere shown as whole.
func TestVerificationTellsOfBreaks(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	fill(t, dsn, "acme", 1)
	s := server(t, dsn, everybody)
	first, err := audit.NewPrivateKey("keel.example.com/audit")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := audit.NewSequencer(audit.SequencerOptions{Database: dsn, Key: first}).SequenceOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if body := page(t, s, Root+"verification?org=acme"); strings.Contains(body, "not whole") {
		t.Errorf("before anything broke:\n%s", body)
	}
	second, err := audit.NewPrivateKey("keel.example.com/audit/2")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := audit.Continue(t.Context(), audit.ContinueOptions{Database: dsn, Key: second, By: "Ada Byron", Why: "the disk burned", Declare: true}); err != nil {
		t.Fatal(err)
	}
	if body := page(t, s, Root+"verification?org=acme"); !strings.Contains(body, "The log is not whole: log keel.example.com/audit ended at ") || !strings.Contains(body, " leaves and goes on as keel.example.com/audit/2") || !strings.Contains(body, "the disk burned") {
		t.Errorf("after:\n%s", body)
	}
}
