package source

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"keel/pricing"
	"keel/pricing/meter"
)

func day(s string) time.Time {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return t
}

type rates = map[meter.Kind]pricing.PicoUSD

func sampleSets() (before, after []pricing.Price) {
	before = []pricing.Price{
		{Provider: "p", Model: "same", Tiers: []pricing.Step{{Rates: rates{meter.Input: 1_000_000}}}},
		{Provider: "p", Model: "dearer", Tiers: []pricing.Step{{Rates: rates{meter.Input: 3_000_000, meter.Output: 1, meter.WebSearch: 10_000_000_000, meter.InputAudio: 0}}}},
		{Provider: "p", Model: "gone", EffectiveFrom: day("2026-01-01"), Tiers: []pricing.Step{{Rates: rates{meter.Input: 1}}}},
		{Provider: "o", Model: "steps", Tiers: []pricing.Step{{Rates: rates{meter.Input: 1_000_000}}, {Above: 200_000, Rates: rates{meter.Input: 2_000_000}}}},
	}
	after = []pricing.Price{
		before[0],
		{Provider: "p", Model: "dearer", Tiers: []pricing.Step{{Rates: rates{meter.Input: 4_000_000, meter.Output: 0, meter.CodeInterpreter: 30_000_000_000}}}},
		{Provider: "p", Model: "new", ServiceTier: "batch", Region: "us", Currency: "EUR", Tiers: []pricing.Step{{Rates: rates{meter.Input: 1_500_000, meter.Pages: 1_000_000_000}}, {Above: 5, Rates: rates{meter.Input: 2}}}},
		{Provider: "o", Model: "steps", Tiers: []pricing.Step{{Rates: rates{meter.Input: 1_000_000}}, {Above: 272_000, Rates: rates{meter.Input: 2_000_000}}}},
	}
	return before, after
}

func TestDiff(t *testing.T) {
	t.Parallel()
	before, after := sampleSets()
	var text, object strings.Builder
	changes := Diff(before, after)
	if err := WriteText(&text, changes); err != nil {
		t.Fatal(err)
	}
	if err := WriteJSON(&object, changes); err != nil {
		t.Fatal(err)
	}
	golden(t, "diff.golden", text.String())
	golden(t, "diff.json", object.String())
	slices.Reverse(before)
	slices.Reverse(after)
	var again strings.Builder
	if err := WriteText(&again, Diff(before, after)); err != nil || again.String() != text.String() {
		t.Errorf("the order of rows matters: %v\n%s", err, again.String())
	}
}

// TestDiffIsWhole: no change without a difference, and every change undone by the other way round.
func TestDiffIsWhole(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		set := func(name string) (prices []pricing.Price) {
			for _, model := range []string{"a", "b", "c"} {
				if rapid.Bool().Draw(t, name) {
					prices = append(prices, pricing.Price{Provider: "p", Model: model, Tiers: []pricing.Step{
						{Rates: rates{meter.Input: pricing.PicoUSD(rapid.Int64Range(0, 2).Draw(t, "rate"))}},
					}})
				}
			}
			return prices
		}
		before, after := set("before"), set("after")
		if changes := Diff(before, before); len(changes) > 0 {
			t.Fatalf("a set differs from itself: %+v", changes)
		}
		there, back := Diff(before, after), Diff(after, before)
		if len(there) != len(back) {
			t.Fatalf("%d changes there, %d back", len(there), len(back))
		}
		inverse := map[Op]Op{Added: Removed, Removed: Added, Changed: Changed}
		for i := range there {
			if back[i].Op != inverse[there[i].Op] || there[i].Op == Changed && (*there[i].Old != *back[i].New || *there[i].New != *back[i].Old) {
				t.Fatalf("%+v there, %+v back", there[i], back[i])
			}
		}
	})
}

// TestAgainst asks a book for what a list says.
func TestAgainst(t *testing.T) {
	t.Parallel()
	prices := []pricing.Price{
		{Provider: "openai", Model: "gpt-4o", Tiers: []pricing.Step{{Rates: rates{meter.Input: 2_500_000, meter.Output: 5_000_000}}}},
		{Provider: "openai", Model: "gpt-4o", EffectiveFrom: day("2027-01-01"), Tiers: []pricing.Step{{Rates: rates{meter.Input: 1}}}},
		{Provider: "openai", Model: "gpt-4o*", Tiers: []pricing.Step{{Rates: rates{meter.Input: 1}}}},
		{Provider: "openai", Model: "gpt-5.4", Tiers: []pricing.Step{{Rates: rates{meter.Input: 2_500_000}}, {Above: 272_000, Rates: rates{meter.Input: 6_000_000}}}},
		{Provider: "openai", Model: "unheard-of", Tiers: []pricing.Step{{Rates: rates{meter.Input: 1}}}},
	}
	var text strings.Builder
	if err := WriteText(&text, Against(pricing.Catalog(), prices, day("2026-11-01"))); err != nil {
		t.Fatal(err)
	}
	want := "~ openai/gpt-4o: output 10 USD/million -> 5 USD/million (-50.00 %)\n~ openai/gpt-5.4: input above 272000 tokens 5 USD/million -> 6 USD/million (+20.00 %)\n+ openai/unheard-of: input 0.000001 USD/million\n"
	if text.String() != want {
		t.Errorf("against the catalogue:\n%swant:\n%s", text.String(), want)
	}
}
