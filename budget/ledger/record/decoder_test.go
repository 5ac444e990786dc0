package record

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"keel/budget"
	"keel/pricing/meter"
)

// decodable is a record with what it is read as, alone and by a decoder.
type decodable struct {
	encoded []byte
	alone   func([]byte) (any, error)
	by      func(*Decoder, []byte) (any, error)
}

func decodableOf[T any](encoded []byte, alone func([]byte) (*T, error), by func(*Decoder, []byte) (*T, error)) decodable {
	return decodable{encoded, func(b []byte) (any, error) { return alone(b) }, func(d *Decoder, b []byte) (any, error) { return by(d, b) }}
}

// TestDecoder: what a decoder returns is what is read alone, whatever it read before and after, until it is reset. Damaged records are
// among them, and accounts that several records have.
func TestDecoder(t *testing.T) {
	t.Parallel()
	decisions, closeouts, responses, returns, extensions := rapid.MakeCustom[budget.Decision](generators), rapid.MakeCustom[Closeout](generators),
		rapid.MakeCustom[budget.Closeout](generators), rapid.MakeCustom[Return](generators), rapid.MakeCustom[Extension](generators)
	rapid.Check(t, func(t *rapid.T) {
		account := rapid.SampledFrom(rapid.SliceOfN(rapid.MakeCustom[budget.Account](generators), 1, 3).Draw(t, "accounts"))
		shared := rapid.Bool()
		records := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) decodable {
			var r decodable
			switch rapid.IntRange(0, 4).Draw(t, "kind") {
			case 0:
				d := decisions.Draw(t, "decision")
				for i := range d.Holds {
					if shared.Draw(t, "shared") {
						d.Holds[i].Account = account.Draw(t, "account")
					}
				}
				r = decodableOf(AppendDecision(nil, &d), DecodeDecision, (*Decoder).Decision)
			case 1:
				c := closeouts.Draw(t, "closeout")
				for i := range c.Charges {
					if shared.Draw(t, "shared") {
						c.Charges[i].Account = account.Draw(t, "account")
					}
				}
				r = decodableOf(AppendCloseout(nil, &c), DecodeCloseout, (*Decoder).Closeout)
			case 2:
				c := responses.Draw(t, "response")
				r = decodableOf(AppendResponse(nil, &c), DecodeResponse, (*Decoder).Response)
			case 3:
				back := returns.Draw(t, "return")
				r = decodableOf(AppendReturn(nil, &back), DecodeReturn, (*Decoder).Return)
			default:
				x := extensions.Draw(t, "extension")
				r = decodableOf(AppendExtension(nil, &x), DecodeExtension, (*Decoder).Extension)
			}
			switch rapid.IntRange(0, 9).Draw(t, "damage") {
			case 0:
				r.encoded = r.encoded[:rapid.IntRange(0, len(r.encoded)-1).Draw(t, "cut")]
			case 1:
				r.encoded[rapid.IntRange(0, len(r.encoded)-1).Draw(t, "damaged byte")] ^= 1
			}
			return r
		}), 1, 8).Draw(t, "records")
		var d Decoder
		for range 3 {
			for _, r := range records { // in memory with something else in it
				_, _ = r.by(&d, r.encoded)
			}
			d.Reset()
			var got []any
			var errs []error
			buffer := []byte{}
			for _, r := range records {
				buffer = append(buffer[:0], r.encoded...)
				v, err := r.by(&d, buffer)
				got, errs = append(got, v), append(errs, err)
			}
			clear(buffer)
			for i, r := range records {
				want, err := r.alone(r.encoded)
				if fmt.Sprint(err) != fmt.Sprint(errs[i]) {
					t.Fatalf("record %d: %v, alone %v", i, errs[i], err)
				}
				if diff := cmp.Diff(want, got[i]); err == nil && diff != "" {
					t.Fatalf("record %d: -alone +among others\n%s", i, diff)
				}
			}
			records = slices.Concat(records[1:], records[:1])
		}
	})
}

// TestDecodedTextsStay: errors, logs and maps keep texts longer than records.
func TestDecodedTextsStay(t *testing.T) {
	t.Parallel()
	var d Decoder
	var kept, want []string
	for i := range 50 {
		for j := range 20 {
			name := fmt.Sprint(strings.Repeat("n", 100*i), j)
			v, err := d.Decision(AppendDecision(nil, &budget.Decision{Call: budget.Call{Org: name, Subject: budget.Subject{"team": name}}, Holds: []budget.Hold{{Account: budget.Account{Budget: name}}}}))
			if err != nil {
				t.Fatal(err)
			}
			kept, want = append(kept, v.Org, v.Subject["team"], v.Holds[0].Budget), append(want, name, name, name)
		}
		d.Reset()
	}
	if !slices.Equal(kept, want) {
		t.Error("a text was written again")
	}
}

// TestDecoderKeepsLittle: a record with very long lists leaves no memory behind.
func TestDecoderKeepsLittle(t *testing.T) {
	t.Parallel()
	var d Decoder
	rules := make([]budget.Rule, 100_000)
	labels := make(budget.Subject)
	for i := range 1000 {
		labels[fmt.Sprint(i)] = "x"
	}
	for range 3 {
		if _, err := d.Decision(AppendDecision(nil, &budget.Decision{Call: budget.Call{Subject: labels}, Rules: rules})); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Closeout(AppendCloseout(nil, &Closeout{Closeout: budget.Closeout{RawUsage: make([]byte, 3*keptBytes), Usage: new(meter.Usage)}})); err != nil {
			t.Fatal(err)
		}
		d.Reset()
		if m := &d.memory; len(m.rules.all) > m.rules.most() || len(m.raw.all) > keptBytes || len(m.labels.all) > 0 {
			t.Fatalf("%d rules, %d bytes and %d maps are kept", len(m.rules.all), len(m.raw.all), len(m.labels.all))
		}
	}
}

// TestDecoderNeverReset: one that reads a whole journal leaves what it read to those who have it.
func TestDecoderNeverReset(t *testing.T) {
	t.Parallel()
	var d Decoder
	decision := AppendDecision(nil, intent())
	for range 1000 {
		if _, err := d.Decision(decision); err != nil {
			t.Fatal(err)
		}
	}
	if m := &d.memory; m.texts.Cap() > 2*keptText || len(m.holds.all) > m.holds.most() || len(m.labels.all) > keptMaps {
		t.Errorf("%d bytes of text, %d holds and %d maps are kept", m.texts.Cap(), len(m.holds.all), len(m.labels.all))
	}
}

// TestDecoderAllocatesLittle: in memory that is used again, a call's records take that of their texts.
func TestDecoderAllocatesLittle(t *testing.T) {
	d := intent()
	decision, closeout := AppendDecision(nil, d), AppendCloseout(nil, ending(d))
	var decoder Decoder
	round := func() {
		decoder.Reset()
		for range 100 {
			if _, err := decoder.Decision(decision); err != nil {
				t.Fatal(err)
			}
			if _, err := decoder.Closeout(closeout); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 5 {
		round()
	}
	if n := testing.AllocsPerRun(20, round); n > 5 {
		t.Errorf("%v allocations for 100 calls", n)
	}
}
