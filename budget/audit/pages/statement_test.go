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
