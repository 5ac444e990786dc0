package filter

import (
	"io"
	"slices"
	"testing"

	"keel/budget"
	"keel/pricing"
)

// The end of an answer waits until its closeout is as durable as the settings
// say. A call that is cut has nobody to wait.
func TestDurability(t *testing.T) {
	t.Parallel()
	call := chatCall(`{"model": "gpt-4o-mini", "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}`)
	for _, test := range []struct {
		durability budget.Durability
		messages   int
		want       []budget.Durability
	}{
		{budget.DurabilityOS, 4, nil},
		{budget.DurabilityFsync, 4, []budget.Durability{budget.DurabilityFsync}},
		{budget.DurabilityPostgres, 4, []budget.Durability{budget.DurabilityPostgres}},
		{budget.DurabilityPostgres, 3, nil},
	} {
		server, ledger := newServer(t)
		config, err := budget.Compile(budget.Documents{Settings: []budget.Settings{{Meta: budget.Meta{Name: "default"}, Durability: test.durability}}}, pricing.Catalog())
		if err != nil {
			t.Fatal(err)
		}
		server.config.Store(config)
		server.Process(&fakeStream{in: call[:test.messages], end: io.EOF})
		if !slices.Equal(ledger.awaited, test.want) || len(ledger.closeouts) != 1 {
			t.Errorf("%s, %d messages: awaited %v, want %v; %d closeouts", test.durability, test.messages, ledger.awaited, test.want, len(ledger.closeouts))
		}
	}
}
