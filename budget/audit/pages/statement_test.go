package pages

import (
	"math/big"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A statement is the sum of the records, to the billionth of a dollar, whatever it is asked for.
func TestStatementIsTheSumOfRecords(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	fill(t, dsn, "acme", 40)
	fill(t, dsn, "zeta", 1)
	check(t, dsn)
	s := server(t, dsn, everybody)
	const records = `select concat_ws(' ', count(*), (sum(actual_cost_usd) * 1000000000)::bigint) from keel.spend_records
		where org = 'acme' and decided_at >= '2026-03-01Z' and decided_at < '2026-04-01Z' and `
	for address, where := range map[string]string{"": "true", "&team=research": "subject->>'team' = 'research'", "&noteam=1": "coalesce(subject->>'team', '') = ''", "&team=nobody": "false"} {
		body := page(t, s, Root+"statement?org=acme&month=2026-03"+address)
		total := regexp.MustCompile(`<strong class="total">\$([0-9.,]+)</strong> for ([0-9,]+) calls`).FindStringSubmatch(body)
		if total == nil {
			t.Fatalf("%s: no total in\n%s", address, body)
		}
		want := query[string](t, dsn, records+where)
		n, nano := "0", "0"
		if parts := strings.Fields(want); len(parts) == 2 {
			n, nano = parts[0], parts[1]
		}
		amount, err := dollars(strings.ReplaceAll(total[1], ",", ""))
		if err != nil || amount.n.String() != nano || total[2] != n {
			t.Errorf("%s: total %s for %s calls, records say %s", address, total[1], total[2], want)
		}
		// Every table that has a total adds up to it.
		tables := regexp.MustCompile(`(?s)<caption>(By [a-z ]+)</caption>.*?</table>`).FindAllStringSubmatch(body, -1)
		if len(tables) == 0 && n != "0" {
			t.Errorf("%s: no tables", address)
		}
		for _, table := range tables {
			rows, foot, _ := strings.Cut(table[0], "<tfoot>")
			column := -1
			if table[1] == "By team" {
				column = -2
			}
			sum := new(big.Int)
			for _, row := range regexp.MustCompile(`(?s)<tr[ >].*?</tr>`).FindAllString(rows, -1) {
				if table[1] == "By model and meter" && !strings.Contains(row, `class="group"`) {
					continue
				}
				if a := cell(t, row, column); a.n != nil {
					sum.Add(sum, a.n)
				}
			}
			if sum.String() != nano || cell(t, foot, column).n.String() != nano {
				t.Errorf("%s: %s adds up to %s, and says %s; records say %s", address, table[1], sum, cell(t, foot, column), nano)
			}
		}
	}
	if body := page(t, s, Root+"statement?org=acme&month=2026-02"); !strings.Contains(body, "No calls in this month") {
		t.Error("a month without calls does not say so")
	}
}

// What was accepted of bills is a line of its own: the calls' cost and the true-ups, as the ledger has them, sum to what is said.
func TestStatementHasTrueUps(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	fill(t, dsn, "acme", 10)
	check(t, dsn)
	s := server(t, dsn, everybody)
	if body := page(t, s, Root+"statement?org=acme&month=2026-03"); strings.Contains(body, "true-up") {
		t.Error("there are true-ups before any were accepted")
	}
	exec(t, dsn, `with r as (insert into keel.reconciliations (org, reconciliation_id, actor, provider, file, sha256, timezone, since, until)
			values ('acme', '00000000-0000-7000-8000-000000000001', 'ada', 'openai', 'bill.csv', '', 'UTC', '2026-03-01Z', '2026-04-01Z')),
		c as (insert into keel.reconciled (org, reconciliation_id, n, day, model, account, meter, recorded_n, stated_n, causes)
			select 'acme', '00000000-0000-7000-8000-000000000001', n, date '2026-02-28' + n::int, 'm', '', '', 0, n * 7, jsonb_build_array(jsonb_build_object('cause', 'rounding', 'usd', (n * 0.000000007)::text)) from generate_series(0, 32) n)
		insert into keel.adjustments (org, adjustment_id, actor, source, reconciliation_id, cell, provider, model, day, amount_n, cause)
			select 'acme', gen_random_uuid(), 'ada', 'reconcile', '00000000-0000-7000-8000-000000000001', n, 'openai', 'm', date '2026-02-28' + n::int, n * 7, 'rounding' from generate_series(0, 32) n`)
	exec(t, dsn, `insert into keel.adjustments (org, adjustment_id, actor, source, decision_id, provider, model, day, amount_n, cause)
		select 'acme', gen_random_uuid(), 'ada', 'rerate', decision_id, 'openai', 'm', '2026-03-05', 1000000, 'price_difference' from keel.decisions where org = 'acme' limit 1`)
	check(t, dsn)
	body := page(t, s, Root+"statement?org=acme&month=2026-03")
	total := new(big.Int)
	total.SetString(query[string](t, dsn, `select ((select sum(actual_cost_usd) * 1000000000 from keel.spend_records where org = 'acme' and decided_at >= '2026-03-01Z' and decided_at < '2026-04-01Z')
		+ (select sum(amount_n) from keel.adjustments where org = 'acme' and source = 'reconcile' and day >= '2026-03-01' and day < '2026-04-01'))::bigint::text`), 10)
	said := regexp.MustCompile(`Accepted true-ups: <b>\$([0-9.]+)</b>; with them <strong class="adjusted">\$([0-9.,]+)</strong>`).FindStringSubmatch(body)
	if said == nil || said[1] != "0.000003472" { // 7 × (1 + … + 31)
		t.Fatalf("true-ups %q in\n%s", said, body)
	}
	if amount, err := dollars(strings.ReplaceAll(said[2], ",", "")); err != nil || amount.n.Cmp(total) != 0 {
		t.Errorf("%s with true-ups, and the ledger has %s", said[2], total)
	}
	table := regexp.MustCompile(`(?s)<caption>Accepted true-ups</caption>.*?</table>`).FindString(body)
	if !strings.Contains(table, `<th scope="row">openai/m</th><td>rounding</td><td class="n">31</td>`) || cell(t, table, -1).n.Cmp(total) != 0 {
		t.Errorf("%s", table)
	}
	if body := page(t, s, Root+"statement?org=acme&month=2026-03&team=research"); !strings.Contains(body, "in no team&#39;s statement") && !strings.Contains(body, "in no team's statement") || strings.Contains(body, "adjusted") {
		t.Error("a team's statement does not say that true-ups are not in it")
	}
	if body := page(t, s, Root+"statement?org=acme&month=2026-02"); !strings.Contains(body, "No calls in this month") || !strings.Contains(body, "Accepted true-ups: <b>$0.00</b>") {
		t.Errorf("%s", body)
	}
}

// cell is an amount of a row, counted from its end: -1 the last one.
func cell(t *testing.T, row string, n int) usd {
	all := regexp.MustCompile(`<data>([0-9.,−]+)(?:<i>(0+)</i>)?</data>`).FindAllStringSubmatch(row, -1)
	if len(all) < -n {
		return usd{}
	}
	m := all[len(all)+n]
	a, err := dollars(strings.ReplaceAll(m[1], ",", "") + m[2])
	if err != nil {
		t.Error(err)
	}
	return a
}

// What is not added up yet is said.
func TestStatementSaysWhatItLacks(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	fill(t, dsn, "acme", 1)
	exec(t, dsn, "insert into keel.statement_outbox (org, at) values ('acme', '2026-03-02 07:00Z')")
	exec(t, dsn, "update keel.db_state set retired = '2026-04-01Z'")
	body := page(t, server(t, dsn, everybody), Root+"statement?org=acme&month=2026-03")
	for _, want := range []string{"2026-03-02 07:00:00</time> is not added up yet", "records of this month were retired", "charged without usage"} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is missing in\n%s", want, body)
		}
	}
}

func TestAmounts(t *testing.T) {
	t.Parallel()
	for nano, want := range map[string]string{"0": "$0.00", "1": "$0.000000001", "1500000000": "$1.50", "-2000000001": "−$2.000000001", "1234567890000000000": "$1,234,567,890.00",
		"123456789012345678901234567890": "$123,456,789,012,345,678,901.23456789"} {
		var u usd
		if err := u.Scan(nano); err != nil || u.String() != want {
			t.Errorf("%s: %s, %v; want %s", nano, u, err, want)
		}
	}
	var u usd
	if err := u.Scan(nil); err != nil || u.Known() || u.String() != "unknown" {
		t.Errorf("null is %s, %v", u, err)
	}
	if u.Scan("1.5") == nil || u.Scan(1.5) == nil {
		t.Error("a fraction is no number of nano-dollars")
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64().Draw(t, "nano")
		u := usd{big.NewInt(n)}
		back, err := dollars(strings.NewReplacer("$", "", ",", "", "−", "-").Replace(u.String()))
		if err != nil || back.n.Cmp(u.n) != 0 {
			t.Fatalf("%d is %s, which reads as %v, %v", n, u, back, err)
		}
	})
}
