package ledger

import (
	"strings"
	"testing"

	"keel/budget"
	"keel/pricing"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

// TestCalibrate: closeouts teach once, whoever looks first, and every replica
// ends with the same calibration. What is no fair observation teaches nothing.
func TestCalibrate(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	first, second := open(t, dsn, testOptions(t)), open(t, dsn, testOptions(t))
	prompt := &tokens.Prompt{Messages: 1, Segments: []tokens.Segment{{JSON: []byte(`"` + strings.Repeat("a word and another ", 50) + `"`)}}}
	fresh := tokens.New()
	in, out := fresh.Input("groq", "llama-3.3-70b", prompt), fresh.Output("groq", "llama-3.3-70b", prompt, 0, 1)

	call := func(change func(*budget.Decision, *budget.Closeout)) {
		limit(t, first, hold("b", cent, 1000*cent))
		d := decision(hold("b", cent, 1000*cent))
		d.Estimate.Input, d.Estimate.Output = in, out
		c := closeout(d, cent)
		c.Usage = &meter.Usage{meter.Input: in.Uncorrected * 3 / 2, meter.Output: 77}
		if change != nil {
			change(d, c)
		}
		if err := first.Permit(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		first.CloseOut(c)
	}
	for range 40 {
		call(nil)
	}
	// None of these says what a call uses.
	call(func(_ *budget.Decision, c *budget.Closeout) { c.Metered = budget.ByEstimate })
	call(func(_ *budget.Decision, c *budget.Closeout) { c.Outcome = budget.Aborted })
	call(func(_ *budget.Decision, c *budget.Closeout) { c.HTTPStatus = 500 })
	call(func(d *budget.Decision, _ *budget.Closeout) {
		d.Estimate.Input, d.Estimate.Output = tokens.Input{}, tokens.Output{}
	})
	flush(t, first)

	one := calibrator{l: first, e: tokens.New()}
	two := calibrator{l: second, e: tokens.New()}
	for range 2 { // the second time there is nothing new
		for _, c := range []*calibrator{&one, &two} {
			if err := c.step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := query[int](t, dsn, "select count(*) from keel.calibrations"); n != 1 {
		t.Errorf("%d calibrations, want 1", n)
	}
	if n := query[int](t, dsn, "select observations from keel.calibrations"); n != 40 {
		t.Errorf("%d observations, want 40", n)
	}
	version := query[string](t, dsn, "select version from keel.calibrations")
	for i, c := range []*calibrator{&one, &two} {
		got := c.e.Input("groq", "llama-3.3-70b", prompt)
		if got.Expected != in.Uncorrected*3/2 || got.Method == in.Method || !strings.Contains(got.Method, version) {
			t.Errorf("replica %d: %+v, want an estimate of half as much again by calibration %s", i+1, got, version)
		}
		if got := c.e.Output("groq", "llama-3.3-70b", prompt, 0, 1); got.P50 != 77 {
			t.Errorf("replica %d: %+v", i+1, got)
		}
	}

	// More calls add to what was learned.
	call(func(_ *budget.Decision, c *budget.Closeout) { c.Cost = pricing.Cost{Total: cent} })
	flush(t, first)
	if err := two.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := one.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := query[int](t, dsn, "select observations from keel.calibrations order by id desc limit 1"); n != 1 || one.loaded != two.loaded {
		t.Errorf("%d observations, want 1; replicas have calibrations %d and %d", n, one.loaded, two.loaded)
	}
}
