package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Violation is one thing that does not add up.
type Violation struct {
	Invariant string // as docs/ledger.md names it
	Org       string
	Budget    string // "" where it concerns no account
	Account   string // key and window of the account
	What      string // the amounts, in nano-dollars, and the ids
}

func (v Violation) String() string {
	where := "org " + v.Org
	if v.Budget != "" {
		where += ", budget " + v.Budget + ", account " + v.Account
	}
	return v.Invariant + ": " + where + ": " + v.What
}

// Report is the outcome of Check.
type Report struct {
	At         time.Time // of the snapshot, by the database's clock
	Checks     int
	Violations []Violation
	More       bool // not all violations are listed
}

// mostViolations bounds what one check lists.
const mostViolations = 100

// Check holds the invariants against everything that is stored, in one snapshot:
// replicas may go on meanwhile. It reads every decision and closeout. progress, which
// may be nil, is told each check before it runs.
func Check(ctx context.Context, dsn string, progress func(what string)) (report Report, err error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return report, fmt.Errorf("ledger: check: %w", err)
	}
	configureConn(config)
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return report, explainError("check: connect", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := checkSchema(ctx, conn); err != nil {
		return report, err
	}
	err = pgx.BeginTxFunc(ctx, conn, snapshot, func(tx pgx.Tx) error {
		report, err = runChecks(ctx, tx, progress)
		return err
	})
	if err != nil {
		return Report{}, explainError("check", err)
	}
	return report, nil
}

func runChecks(ctx context.Context, tx pgx.Tx, progress func(string)) (report Report, err error) {
	if err := tx.QueryRow(ctx, "select now()").Scan(&report.At); err != nil {
		return report, err
	}
	for _, c := range checks {
		if progress != nil {
			progress(c.name + ": " + c.what)
		}
		rows, err := tx.Query(ctx, c.sql+fmt.Sprintf(" limit %d", mostViolations+1))
		if err != nil {
			return report, fmt.Errorf("%s: %w", c.name, err)
		}
		wrong, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (v Violation, err error) {
			v.Invariant = c.name + " (" + c.what + ")"
			return v, row.Scan(&v.Org, &v.Budget, &v.Account, &v.What)
		})
		if err != nil {
			return report, fmt.Errorf("%s: %w", c.name, err)
		}
		if len(wrong) > mostViolations {
			wrong, report.More = wrong[:mostViolations], true
		}
		report.Violations = append(report.Violations, wrong...)
		report.Checks++
	}
	return report, nil
}
