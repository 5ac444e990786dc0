package audit

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"keel/budget/audit/leaf"
	"keel/budget/audit/log"
)

// VerifyOptions say what to verify. Database is needed.
type VerifyOptions struct {
	Database string
	Keys     log.Keys // that the verifier trusts; none: those that the database names, which a notice says
	Anchors  []Anchor
	Journals []string  // folders of processors' journals, or copies of them, to be compared with the database
	Org      string    // records of one org; "" for all. The log itself is one, and verified as a whole
	Accept   []string  // names of logs: breaks that they begin with are known to the verifier, and are no findings
	Since    time.Time // decisions, and their closeouts, made since then; zero for all

	Progress func(done, total int64) // records; called often, from one goroutine at a time; nil for none
}

// Verify holds everything that is stored against the log, the log against its checkpoints, and
// these against the anchors, in one snapshot: traffic goes on meanwhile. An error says that something could
// not be checked; what is wrong is in the report.
func Verify(ctx context.Context, o VerifyOptions) (*Report, error) {
	v := &verification{o: o, report: &Report{Breaks: []Continuation{}, Notices: []string{}, Findings: []Finding{}}}
	v.findings = findings{report: v.report, count: make(map[Wrong]int)}
	started := time.Now()
	if err := v.run(ctx); err != nil {
		return nil, fmt.Errorf("audit: verify: %w", err)
	}
	v.report.Seconds = time.Since(started).Seconds()
	v.findings.sort()
	return v.report, nil
}

// verification is one run of Verify.
type verification struct {
	o        VerifyOptions
	report   *Report
	findings findings

	snapshot string
	labels   commitments
	pending  map[ref]bool
	retired  map[retirement]string
	journals *journals
	accounts *accounts
	evidence time.Time // since when records have digests

	records, retiredLeaves atomic.Int64
	total                  int64
}

// retirement is a month of an org whose records were dropped.
type retirement struct{ org, month string }

func (v *verification) run(ctx context.Context) error {
	conn, err := connect(ctx, v.o.Database, "keel audit verify")
	if err != nil {
		return err
	}
	defer closeConn(conn)
	return pgx.BeginTxFunc(ctx, conn, readOnly, func(tx pgx.Tx) error {
		if err := v.begin(ctx, tx); err != nil {
			return err
		}
		stop := v.tell()
		defer stop()
		group, work := errgroup.WithContext(ctx)
		// The log, then what is small: on the connection that has the snapshot.
		group.Go(func() error { return v.other(work, tx) })
		// Two scans of what is large, side by side.
		for _, s := range []*source{&decisions, &closeouts} {
			group.Go(func() error { return v.inSnapshot(work, func(tx pgx.Tx) error { return v.match(work, tx, s) }) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
		return v.finish(ctx, tx)
	})
}

// readOnly is one snapshot.
var readOnly = pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}

// inSnapshot works on a connection of its own, which sees what all see.
func (v *verification) inSnapshot(ctx context.Context, work func(pgx.Tx) error) error {
	conn, err := connect(ctx, v.o.Database, "keel audit verify")
	if err != nil {
		return err
	}
	defer closeConn(conn)
	return pgx.BeginTxFunc(ctx, conn, readOnly, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "set transaction snapshot '"+v.snapshot+"'"); err != nil {
			return err
		}
		return work(tx)
	})
}

// begin reads what everything else needs.
func (v *verification) begin(ctx context.Context, tx pgx.Tx) error {
	if err := tx.QueryRow(ctx, "select pg_export_snapshot(), now(), (select applied_at from keel.migrations where name like '%_evidence.sql')").
		Scan(&v.snapshot, &v.report.At, &v.evidence); err != nil {
		return err
	}
	if err := tx.QueryRow(ctx, "select coalesce(sum(greatest(reltuples, 0)), 0)::bigint from pg_class where oid = 'keel.leaves'::regclass").Scan(&v.total); err != nil {
		return err
	}
	v.labels.known = make(map[labelValue]string)
	if err := v.labels.load(ctx, tx, "select org, label, value, salt from keel.label_values where $1 = '' or org = $1", v.o.Org); err != nil {
		return err
	}
	v.pending = make(map[ref]bool)
	rows, err := tx.Query(ctx, `
select o.org, o.kind, i.id, coalesce(o.versions[i.n], 1), o.missing_since is not null from keel.outbox o cross join unnest(o.ids) with ordinality i (id, n)`)
	if err != nil {
		return err
	}
	var r ref
	var missing bool
	if _, err := pgx.ForEachRow(rows, []any{&r.org, &r.kind, &r.id, &r.version, &missing}, func() error {
		if missing {
			v.findings.add(Removed, Finding{What: r.String(), Org: r.org, ID: r.id.String(), Why: "it was announced, and was gone before it could come into the log"})
			return nil
		}
		v.pending[r] = true
		return nil
	}); err != nil {
		return err
	}
	v.report.Pending = int64(len(v.pending))
	if v.retired, err = readRetired(ctx, tx); err != nil {
		return err
	}
	if err := v.early(ctx, tx); err != nil {
		return err
	}
	for of := range v.retired {
		v.findings.notice("org %s: the records of %s were retired: their leaves are there, and cover them; entry %s says so", of.org, of.month, v.retired[of])
	}
	if v.journals, err = readJournals(ctx, tx, v.o.Org); err != nil {
		return err
	}
	v.accounts = newAccounts()
	return nil
}

// readRetired reads which months are said to be gone. That entries say so is checked as for all entries.
func readRetired(ctx context.Context, tx querier) (map[retirement]string, error) {
	all := make(map[retirement]string)
	rows, err := tx.Query(ctx, "select org, cause->>'month', entry_id::text from keel.entries where kind = 'retired' and budget is null and cause ? 'month' order by at")
	if err != nil {
		return nil, err
	}
	var r retirement
	var entry string
	_, err = pgx.ForEachRow(rows, []any{&r.org, &r.month, &entry}, func() error {
		if len(r.month) >= 7 {
			r.month = r.month[:7] // "2026_01_late" is of the same month
			all[r] = entry
		}
		return nil
	})
	return all, err
}

// other verifies the log, and the records that are few.
func (v *verification) other(ctx context.Context, tx pgx.Tx) error {
	// Entries first: the chains of journals wait for them.
	for _, s := range []*source{&entries, &configs, &auditKeys} {
		if err := v.match(ctx, tx, s); err != nil {
			return err
		}
	}
	for _, check := range []func(context.Context, pgx.Tx) error{v.documents, v.revisions, v.replaced} {
		if err := check(ctx, tx); err != nil {
			return err
		}
	}
	return v.log(ctx, tx)
}

// finish does what needs all records.
func (v *verification) finish(ctx context.Context, tx pgx.Tx) error {
	v.report.Records = v.records.Load()
	v.report.Retired = v.retiredLeaves.Load()
	v.report.Journals = v.journals.finish(v.o.Since.IsZero(), &v.findings)
	if err := v.onDisk(ctx); err != nil {
		return err
	}
	if !v.o.Since.IsZero() {
		v.findings.notice("only decisions since %s and their closeouts were made again; numbers of journals and sums of budgets need all of them, and were not checked", v.o.Since.UTC().Format(time.RFC3339))
		return nil
	}
	var err error
	v.report.Accounts, err = v.accounts.compare(ctx, tx, v.o.Org, &v.findings)
	return err
}

// tell calls Progress until it is stopped.
func (v *verification) tell() (stop func()) {
	if v.o.Progress == nil {
		return func() {}
	}
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(200 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				v.o.Progress(v.records.Load(), v.total)
			}
		}
	}()
	return func() {
		close(done)
		<-stopped
		v.o.Progress(v.records.Load(), v.total)
	}
}

// isPending reports whether a record is on its way into the log.
func (v *verification) isPending(r ref) bool { return v.pending[r] }

// isRetired reports whether a leaf's record may be gone, because its month is.
func (v *verification) isRetired(r ref) bool {
	if r.kind != leaf.Decision && r.kind != leaf.Closeout {
		return false
	}
	_, ok := v.retired[retirement{r.org, instantOf(r.id).Format("2006_01")}]
	return ok
}
