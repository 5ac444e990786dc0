package budget

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"keel/pricing"
)

// BenchmarkMatching finds the budgets of a call among 100,000 in one org, for a
// million subjects: 50,000 users with a budget each, 25,000 teams with one for a family of
// models, 9,990 apps, 10,000 projects by how their names begin, 5,000 companies by how their
// users' names end, and ten for families of models that all share. Six match each call.
func BenchmarkMatching(b *testing.B) {
	var docs Documents
	add := func(name string, selector map[string]string) {
		docs.Budgets = append(docs.Budgets, Budget{
			Meta: Meta{Name: name, Version: 1}, Limit: 100_000_000_000, Window: "month", Mode: Enforce, Hold: HoldBound, Selector: selector,
		})
	}
	const users, teams, apps, projects, companies = 50_000, 25_000, 9_990, 10_000, 5_000
	user := func(i int) string { return fmt.Sprintf("u%d@c%d.example", i%users, i%companies) }
	for i := range users {
		add(fmt.Sprint("user-", i), map[string]string{"user": user(i)})
	}
	for i := range teams {
		add(fmt.Sprint("team-", i), map[string]string{"team": fmt.Sprint("t", i), "model": "gpt-*"})
	}
	for i := range apps {
		add(fmt.Sprint("app-", i), map[string]string{"app": fmt.Sprint("a", i)})
	}
	for i := range projects {
		add(fmt.Sprint("project-", i), map[string]string{"project": fmt.Sprintf("p%d-*", i)})
	}
	for i := range companies {
		add(fmt.Sprint("company-", i), map[string]string{"user": fmt.Sprintf("*@c%d.example", i)})
	}
	for i, family := range []string{"gpt-5*", "claude-*", "gemini-*", "llama*", "mistral-*", "o1*", "*-mini", "qwen*", "grok-*", "deepseek*"} {
		add(fmt.Sprint("shared-", i), map[string]string{"model": family})
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	cfg, err := Compile(docs, pricing.Catalog())
	if err != nil {
		b.Fatal(err)
	}
	compiled := time.Since(began)
	runtime.GC()
	runtime.ReadMemStats(&after)
	org := cfg.org("")
	traitsOf := func(i int) traits {
		return traits{subject: Subject{
			"user": user(i), "team": fmt.Sprint("t", i%teams), "app": fmt.Sprint("a", i%apps),
			"project": fmt.Sprintf("p%d-%d", i%projects, i), "key": fmt.Sprint("k", i),
		}, provider: "openai", model: "gpt-5", api: "openai.chat"}
	}
	var calls []traits // of a million subjects, every 250th
	for i := 0; i < 1_000_000; i += 250 {
		calls = append(calls, traitsOf(i))
	}
	if m := org.matching(nil, &calls[0]); len(m) != 6 {
		var names []string
		for _, found := range m {
			names = append(names, found.Name)
		}
		b.Fatalf("%d budgets match: %s", len(m), strings.Join(names, ", "))
	}
	took := make([]time.Duration, 0, 1<<16)
	var found []*activeBudget
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		began := time.Now()
		found = org.matching(found[:0], &calls[n%len(calls)])
		if len(took) < cap(took) {
			took = append(took, time.Since(began))
		}
		n++
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2])/1e3, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100])/1e3, "p99-µs")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(docs.Budgets)), "bytes/budget")
	b.ReportMetric(float64(after.HeapAlloc)/(1<<20), "MiB-heap")
	b.ReportMetric(compiled.Seconds(), "compile-s")
	runtime.KeepAlive(cfg)
}
