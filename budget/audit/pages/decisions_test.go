package pages

import (
	"html"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"keel/budget/audit/answers"
)

var (
	rowID = regexp.MustCompile(`/review/decisions/([0-9a-f-]{36})`)
	older = regexp.MustCompile(`<a href="([^"]+)" rel="next">`)
)

// walk follows the pages from the newest to the oldest.
func walk(t *testing.T, s *Server, address string) (ids []string) {
	t.Helper()
	for range 100 {
		body := page(t, s, address)
		for _, m := range rowID.FindAllStringSubmatch(body, -1) {
			ids = append(ids, m[1])
		}
		next := older.FindStringSubmatch(body)
		if next == nil {
			return ids
		}
		address = html.UnescapeString(next[1])
	}
	t.Fatal("the pages have no end")
	return nil
}

// The pages list every decision once, in order, with every filter.
func TestDecisionsPageThrough(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	ids := fill(t, dsn, "acme", 20)
	exec(t, dsn, "update keel.decisions set decided_at = '2026-03-02 09:00Z' where decided_at between '2026-03-02 08:00Z' and '2026-03-02 12:00Z'") // many of one instant
	s := server(t, dsn, everybody)
	for filter, where := range map[string]string{
		"":                                   "true",
		"team=research":                      "subject->>'team' = 'research'",
		"team=sales+%26+%3Cb%3Eco%3C%2Fb%3E": "subject->>'team' like 'sales%'",
		"action=deny":                        "action = 'deny'",
		"outcome=orphaned":                   "outcome = 'orphaned'",
		"outcome=denied":                     "outcome = 'denied'",
		"model=gpt-5-mini":                   "'gpt-5-mini' in (model_requested, model_routed)",
		"route=large":                        "route = 'large'",
		"budget=interns-life":                `rules @> '[{"name": "interns-life"}]'`,
		"user=u-acme&outcome=complete":       "outcome = 'complete'",
		"since=2026-03-02+09:00&until=2026-03-02+15:00": "decided_at >= '2026-03-02 09:00Z' and decided_at < '2026-03-02 15:00Z'",
		"team=nobody": "false",
	} {
		want := query[*string](t, dsn, "select string_agg(decision_id::text, ' ' order by decided_at desc, decision_id desc) from keel.spend_records where org = 'acme' and "+where)
		got := strings.Join(walk(t, s, Root+"decisions?org=acme&"+filter), " ")
		if want == nil {
			want = new(string)
		}
		if got != *want {
			t.Errorf("%s:\n%s, want\n%s", filter, got, *want)
		}
	}
	if all := walk(t, s, Root+"decisions?org=acme"); len(all) != len(ids) || slices.Index(all, ids[0].String()) < 0 {
		t.Errorf("%d decisions of %d are listed", len(all), len(ids))
	}
	// What was filtered for is still in the form.
	body := page(t, s, Root+"decisions?org=acme&team="+url.QueryEscape(`a"b`)+"&action=deny")
	if !strings.Contains(body, `value="a&#34;b"`) || !strings.Contains(body, "<option selected>deny</option>") {
		t.Error("the form forgets what was asked for")
	}
}

// A decision answers the three questions, and shows the rules as they were.
func TestDecisionAnswers(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	ids := fill(t, dsn, "acme", 1)
	exec(t, dsn, "update keel.budgets set limit_usd = 77 where name = 'research-life'")
	s := server(t, dsn, everybody)
	for i, want := range [][]string{
		{"substitute", "openai, model gpt-5-mini, by route large", "in budget research-life", "cached_input", "from the usage that the provider reported", "Budget research-life", "<code>2</code>", "ada of acme"},
		{"claude-sonnet-4-5", "web_search"},
		{"no team|every call|allow"},
		{"$0: the provider was not asked", "deny"},
		{"estimated, because the provider&#39;s usage was not seen"},
		{"HTTP 500", "nothing was metered"},
	} {
		body := page(t, s, Root+"decisions/"+ids[i].String()+"?org=acme")
		for _, w := range append(want, answers.AskEstimated, answers.AskCost, answers.AskRules, ids[i].String()) {
			if !slices.ContainsFunc(strings.Split(w, "|"), func(w string) bool { return strings.Contains(body, w) }) {
				t.Errorf("decision %d: %q is missing in\n%s", i, w, body)
			}
		}
		if strings.Contains(body, "<code>77</code>") {
			t.Errorf("decision %d shows a rule as it is now", i)
		}
	}
}

// The history says who changed what, before and after.
func TestHistory(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	fill(t, dsn, "acme", 1)
	exec(t, dsn, "set keel.actor = 'bob'; update keel.budgets set limit_usd = 77, mode = 'observe' where name = 'research-life'; delete from keel.routes where name = 'watched'")
	for range 60 {
		exec(t, dsn, "update keel.budgets set limit_usd = limit_usd + 1 where name = 'each-team'")
	}
	s := server(t, dsn, everybody)
	body := page(t, s, Root+"history?org=acme&name=research-life&kind=Budget")
	for _, want := range []string{"version 2", "by <b>bob</b>", "<th scope=\"row\">limit_usd</th><td><del>2</del></td><td><ins>77</ins></td>", "<del>enforce</del></td><td><ins>observe</ins>", "ada of acme", "<span class=\"tag create\">create</span>"} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is missing in\n%s", want, body)
		}
	}
	if update, _, _ := strings.Cut(body, "version 1"); strings.Contains(update, "selector") {
		t.Error("a field that did not change is shown as changed")
	}
	if body := page(t, s, Root+"history?org=acme&kind=Route"); !strings.Contains(body, "tag delete") {
		t.Errorf("the deletion is missing in\n%s", body)
	}
	revisions := 0
	for address := Root + "history?org=acme"; address != ""; {
		body := page(t, s, address)
		revisions += strings.Count(body, ", revision ")
		next := older.FindStringSubmatch(body)
		if address = ""; next != nil {
			address = html.UnescapeString(next[1])
		}
	}
	if want := query[int](t, dsn, "select count(*) from keel.config_versions where org = 'acme'"); revisions != want {
		t.Errorf("%d changes are listed, want %d", revisions, want)
	}
}

// Budgets are what keel.budget_status says, and the accounts of a budget with per are each measured by its limit.
func TestBudgets(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	fill(t, dsn, "acme", 2)
	s := server(t, dsn, everybody)
	body := page(t, s, Root+"budgets?org=acme")
	spent := query[string](t, dsn, "select settled_usd::text from keel.budget_status where org = 'acme' and budget = 'research-life'")
	if !strings.Contains(strings.NewReplacer("<i>", "", "</i>", "").Replace(body), "<data>"+spent+"</data>") {
		t.Errorf("spent is %s, in\n%s", spent, body)
	}
	for _, want := range []string{"a lifetime has no end", "team=research", "a limit for each account", "team: research", "1%: warn"} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is missing in\n%s", want, body)
		}
	}
	exec(t, dsn, `insert into keel.budgets (org, name, limit_usd, "window") values ('acme', 'roll', 1, 'rolling 24h'), ('acme', 'month', 1, 'month'), ('acme', 'roll-each', 1, 'rolling 24h')`)
	exec(t, dsn, "update keel.budgets set per = '{team}' where name = 'roll-each'")
	exec(t, dsn, `insert into keel.accounts (org, budget, account_key, window_start, window_end, settled_n, forced_n) select 'acme', n, k, b.window_start, b.window_end, 7, 7 from (values ('roll', ''), ('roll-each', 'team=x')) v (n, k), keel.window_bounds('rolling 24h', 'UTC', now()) b`)
	body = page(t, s, Root+"budgets?org=acme")
	for _, want := range []string{"a rolling window has no end", `<th scope="row">team=x</th><td class="n"><data>0.000000007</data>`} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is missing in\n%s", want, body)
		}
	}
}

// Routing pressure is what keel pressure says.
func TestPressure(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	fill(t, dsn, "acme", 2)
	exec(t, dsn, "update keel.decisions set decided_at = now()")
	s := server(t, dsn, everybody)
	body := page(t, s, Root+"pressure?org=acme")
	for _, want := range []string{`<th scope="row">large</th><td class="n">2</td><td class="n">2</td>`, `<th scope="row">watched</th><td class="n">2</td><td class="n">0</td>`} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is missing in\n%s", want, body)
		}
	}
	if body := page(t, s, Root+"pressure?org=acme&by=model"); !strings.Contains(body, `<th scope="row">claude-sonnet-4-5</th>`) {
		t.Errorf("by model:\n%s", body)
	}
}
