package budget

import (
	"encoding/json"
	"testing"

	"keel/pricing/tokens"
)

func TestDryRunShowsTheEnvelope(t *testing.T) {
	t.Parallel()
	const observed = "kind: Budget\nname: b\nlimit: 1 USD\nwindow: day\nmode: observe\n---\n"
	for _, tt := range []struct{ name, config, model, want string }{
		{"of three attempts", observed + "kind: Settings\nname: default\nmax_attempts: 3\nunknown_attempt: input\n", "gpt-4.1",
			`{"limit_usd":"0.030126","max_attempts":3,"mode":"observe","unknown":"input"}`},
		{"of a call that its budget refuses", "kind: Budget\nname: b\nlimit: 0 USD\nwindow: day\n", "gpt-4.1",
			`{"limit_usd":"0.010042","max_attempts":1,"mode":"enforce","unknown":"full"}`},
		{"without a price", observed, "unheard-of", `{"limit_usd":null,"max_attempts":1,"mode":"observe","unknown":"full"}`},
		{"denied whatever the target", "kind: Policy\nname: p\nwhen: 'true'\ndo: {deny: no}\n", "gpt-4.1", "null"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg, call := compiled(t, testPrices+tt.config), testCall()
			call.Model = tt.model
			text := (&Decider{Ledger: newMemoryLedger(), Estimator: tokens.New()}).Preview(cfg, call).DryRunJSON()
			checkSchema(t, DryRunSchema, text)
			var shown struct{ Envelope any }
			if err := json.Unmarshal(text, &shown); err != nil {
				t.Fatal(err)
			}
			if got, _ := json.Marshal(shown.Envelope); string(got) != tt.want {
				t.Errorf("the envelope is %s, want %s", got, tt.want)
			}
		})
	}
}
