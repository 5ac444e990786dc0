package record

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keel/budget"
	"keel/pricing"
	"keel/pricing/meter"
	"keel/pricing/tokens"
)

var update = flag.Bool("update", false, "rewrite the golden records: with a new format version only")

// TestEveryField fails when a field is added that the codec does not carry.
func TestEveryField(t *testing.T) {
	t.Parallel()
	everyField(t, "decision", AppendDecision, DecodeDecision)
	everyField(t, "closeout", AppendCloseout, DecodeCloseout)
	everyField(t, "return", AppendReturn, DecodeReturn)
	everyField(t, "response", AppendResponse, DecodeResponse)
	everyField(t, "extension", AppendExtension, DecodeExtension)
}

// TestBefore reads what the versions before wrote: all but what is new since.
func TestBefore(t *testing.T) {
	t.Parallel()
	d, err := DecodeDecision(hexFile(t, "decision.1.hex"))
	if err != nil || d.Envelope != (budget.Envelope{}) || len(d.Holds) != 2 || !d.Debt || d.Reason == "" {
		t.Errorf("decision: %v, %+v", err, d)
	}
	c, err := DecodeCloseout(hexFile(t, "closeout.1.hex"))
	if err != nil || c.AttemptRows != nil || len(c.Charges) != 2 || !c.Awaited || !c.Known {
		t.Errorf("closeout: %v, %+v", err, c)
	}
	if c, err = DecodeCloseout(hexFile(t, "closeout.2.hex")); err != nil || len(c.AttemptRows) != 2 || c.AttemptRows[1].Detail == "" || c.AttemptRows[1].FirstByte != 0 {
		t.Errorf("closeout: %v, %+v", err, c)
	}
	r, err := DecodeResponse(hexFile(t, "response.2.hex"))
	if err != nil || len(r.AttemptRows) != 2 || r.AttemptRows[0].InsteadOf != "" || !r.Awaited {
		t.Errorf("response: %v, %+v", err, r)
	}
	if c, err = DecodeCloseout(hexFile(t, "closeout.3.hex")); err != nil || len(c.AttemptRows) != 2 || c.AttemptRows[1].FirstByte == 0 || c.Bills != nil || !c.Known {
		t.Errorf("closeout: %v, %+v", err, c)
	}
	if r, err = DecodeResponse(hexFile(t, "response.3.hex")); err != nil || len(r.AttemptRows) != 2 || r.Bills != nil || !r.Awaited {
		t.Errorf("response: %v, %+v", err, r)
	}
	r, err = DecodeResponse(hexFile(t, "response.1.hex"))
	if err != nil || r.AttemptRows != nil || !r.Awaited {
		t.Errorf("response: %v, %+v", err, r)
	}
}

func hexFile(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func everyField[T any](t *testing.T, name string, encode func([]byte, *T) []byte, decode func([]byte) (*T, error)) {
	t.Run(name, func(t *testing.T) {
		for _, want := range []*T{filled[T](t), new(T)} {
			b := encode([]byte("before"), want)
			got, err := decode(b[len("before"):])
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-written +read\n%s", diff)
			}
		}
		golden(t, name, encode(nil, filled[T](t)))
	})
}

// golden pins the format: journals outlive the program that wrote them.
func golden(t *testing.T, name string, b []byte) {
	t.Helper()
	var lines strings.Builder
	for line := range slices.Chunk(b, 64) {
		lines.WriteString(hex.EncodeToString(line) + "\n")
	}
	file, got := filepath.Join("testdata", name+".hex"), lines.String()
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("a %s is not written as in %s: journals that are out there can't be read any more; raise the version, keep the decoder of the old one, and run with -update", name, file)
	}
}

// TestTimes: a record keeps every time, also those that Unix nanoseconds can't hold.
func TestTimes(t *testing.T) {
	t.Parallel()
	for _, want := range []time.Time{
		{},
		time.Unix(0, 0),
		time.Unix(-1, 999_999_999),
		time.Date(2026, 3, 29, 2, 30, 0, 123_456_789, time.FixedZone("", 3600)),
		time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC),
		time.Date(1500, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
	} {
		got, err := DecodeReturn(AppendReturn(nil, &Return{Account: budget.Account{WindowStart: want, WindowEnd: want}}))
		if err != nil {
			t.Errorf("%v: %v", want, err)
			continue
		}
		for _, at := range []time.Time{got.Account.WindowStart, got.Account.WindowEnd} {
			if !at.Equal(want) || at.IsZero() != want.IsZero() || at.Location() != time.UTC {
				t.Errorf("%v is read as %v", want, at)
			}
		}
	}
}

// TestNothingIsNotZero: a usage of nothing is told from no usage.
func TestNothingIsNotZero(t *testing.T) {
	t.Parallel()
	for _, usage := range []*meter.Usage{nil, {}, {meter.Pages: -1}} {
		got, err := DecodeResponse(AppendResponse(nil, &budget.Closeout{Usage: usage}))
		if err != nil || cmp.Diff(usage, got.Usage) != "" {
			t.Errorf("usage %v is read as %v, %v", usage, got, err)
		}
	}
	got, err := DecodeDecision(AppendDecision(nil, &budget.Decision{
		Call: budget.Call{Subject: budget.Subject{}}, Holds: []budget.Hold{}, Rules: []budget.Rule{}, Denial: &budget.Denial{},
	}))
	if err != nil || got.Subject != nil || got.Holds != nil || got.Rules != nil || got.Denial == nil {
		t.Errorf("empty lists are read as %+v, %v", got, err)
	}
}

// TestText: what clients and providers send is kept as it is; Text makes it storable later.
func TestText(t *testing.T) {
	t.Parallel()
	want := &budget.Closeout{Model: "a\x00b\xff", Detail: strings.Repeat("ö", 1000), RawUsage: []byte{0, 0xff}}
	if got, err := DecodeResponse(AppendResponse(nil, want)); err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("%+v is read as %+v, %v", want, got, err)
	}
}

// TestDecodedOwnsItsBytes: buffers are reused.
func TestDecodedOwnsItsBytes(t *testing.T) {
	t.Parallel()
	want := filled[Closeout](t)
	b := AppendCloseout(nil, want)
	got, err := DecodeCloseout(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changed with the buffer:\n%s", diff)
	}
}

// TestAppendOnlyReads: a call's decision, and the exchange rate that all closeouts in a
// currency share, are read elsewhere meanwhile. The race detector is what fails.
func TestAppendOnlyReads(t *testing.T) {
	t.Parallel()
	d := filled[budget.Decision](t)
	d.Holds[0].WindowEnd = time.Time{}
	c := filled[Closeout](t)
	c.Cost.Exchange.EffectiveFrom = time.Time{}
	var all sync.WaitGroup
	all.Go(func() {
		AppendDecision(nil, d)
		AppendCloseout(nil, c)
		AppendResponse(nil, &c.Closeout)
		AppendReturn(nil, &Return{Account: d.Holds[0].Account})
	})
	// Reads every field, and is ordered with nothing above: two appends could be, by what they share.
	if !cmp.Equal(d, d) || !cmp.Equal(c, c) {
		t.Error("differs from itself")
	}
	all.Wait()
}

// TestSameBytes: equal records are equal bytes, whatever the order in which a map comes.
func TestSameBytes(t *testing.T) {
	t.Parallel()
	for _, labels := range []int{2, fewKeys, fewKeys + 1} {
		var first []byte
		for range 20 {
			d := &budget.Decision{Call: budget.Call{Subject: budget.Subject{}}, Denial: &budget.Denial{Details: map[string]string{}}}
			d.Shape.Bytes = map[string]int64{}
			for i := range labels {
				key := string(rune('a' + i))
				d.Subject[key], d.Denial.Details[key], d.Shape.Bytes[key] = key, key, int64(i)
			}
			b := AppendDecision(nil, d)
			if first == nil {
				first = b
			}
			if !bytes.Equal(b, first) {
				t.Fatalf("%d labels are written in two ways", labels)
			}
		}
	}
}

// TestAppendAllocatesNothing, as long as the buffer is large enough.
func TestAppendAllocatesNothing(t *testing.T) {
	d, c, x := filled[budget.Decision](t), filled[Closeout](t), filled[Extension](t)
	back := &Return{Account: d.Holds[0].Account, Amount: 1}
	b := make([]byte, 0, 1<<16)
	for name, encode := range map[string]func(){
		"decision":  func() { AppendDecision(b, d) },
		"closeout":  func() { AppendCloseout(b, c) },
		"response":  func() { AppendResponse(b, &c.Closeout) },
		"return":    func() { AppendReturn(b, back) },
		"extension": func() { AppendExtension(b, x) },
	} {
		if n := testing.AllocsPerRun(100, encode); n != 0 {
			t.Errorf("appending a %s allocates %v times", name, n)
		}
	}
}

// TestSmallest has the fewest bytes that elements of lists take, which counts are checked against.
func TestSmallest(t *testing.T) {
	t.Parallel()
	shortest := meter.Kind(0)
	for _, kind := range byName {
		if len(kind.String()) < len(shortest.String()) {
			shortest = kind
		}
	}
	for _, c := range []struct {
		name string
		size int
		b    []byte
	}{
		{"hold", minHold, appendHold(nil, new(budget.Hold))},
		{"rule", minRule, appendRule(nil, new(budget.Rule))},
		{"charge", minCharge, appendCharge(nil, new(Charge))},
		{"more", minMore, AppendExtension(nil, &Extension{More: make([]More, 1)})[len(AppendExtension(nil, new(Extension))):]},
		{"choice", minChoice, appendChoice(nil, new(budget.Choice))},
		{"attempt", minAttempt, appendAttempt(nil, new(budget.Attempt))},
		{"image", minImage, appendImage(nil, new(tokens.ImageShape))},
		{"media", minMedia, appendMedia(nil, new(tokens.MediaShape))},
		{"bill", minBill, appendBill(nil, new(budget.Bill))},
		{"part", minPart, appendUsage(appendText(nil, ""), new(meter.Usage))},
		{"line", minLine, appendLine(nil, &pricing.Line{Meter: shortest})},
		{"unpriced", minUnpriced, appendText(nil, shortest.String())},
	} {
		if len(c.b) != c.size {
			t.Errorf("a %s takes %d bytes at least, not %d", c.name, len(c.b), c.size)
		}
	}
}
