package doctor

import (
	"context"
	"net/url"
	"strings"
	"time"

	"keel/budget"
	"keel/budget/ledger"
	"keel/pricing"
)

const (
	silentFor   = 30 * time.Second // as keel serve has it
	clockError  = 2 * time.Second  // rolling windows are refused beyond it
	clockWarn   = 500 * time.Millisecond
	outboxWarn  = time.Minute // the sequencer takes a batch a second
	outboxError = time.Hour
	roomLeft    = 20 // connections: what one processor may take
)

func lookAtDatabase(ctx context.Context, r *Report, dsn string) {
	at := place(dsn)
	v, err := ledger.ReadVitals(ctx, dsn)
	if err != nil {
		r.add(databaseUp.wrong(Away, at, "%v", err))
		return
	}
	r.add(databaseUp.judge(v.Standby, Error, at, "PostgreSQL %s answers, its schema is this binary's, standby: %v", v.Version, v.Standby))
	judgeRoles(r, at, &v)
	r.add(connections.judge(v.MaxConns-v.Connections < roomLeft, Warning, at, "%d of %d connections are in use", v.Connections, v.MaxConns))
	r.add(compiles(ctx, at, dsn))
	judgeProcessors(r, at, &v)
	r.add(sweep.judge(v.Unswept > 0, Error, at, "%d calls that ended are still open past their time, the oldest since %s", v.Unswept, rough(v.UnsweptFor)))
	judgeAudit(r, at, &v)
	r.add(statements.judge(v.Statements.Oldest > outboxWarn, Warning, at, "%d transactions are not in the statements yet, the oldest since %s", v.Statements.Rows, rough(v.Statements.Oldest)))
	judgeTraffic(r, at, &v)
}

// place names a database without its password.
func place(dsn string) string {
	if u, err := url.Parse(dsn); err == nil && u.Scheme != "" {
		return u.Scheme + "://" + u.Host + u.Path
	}
	var kept []string
	for _, word := range strings.Fields(dsn) {
		if !strings.HasPrefix(word, "password=") {
			kept = append(kept, word)
		}
	}
	return strings.Join(kept, " ")
}

func judgeRoles(r *Report, at string, v *ledger.Vitals) {
	for _, role := range v.Roles {
		who := "processors connect as " + role.Name
		if role.Asks {
			who = "no processor's connection is to be seen; this one is " + role.Name
		}
		if len(role.Lacks) > 0 {
			r.add(databaseRoles.wrong(Error, at, "%s, which lacks %s", who, strings.Join(role.Lacks, ", ")))
			continue
		}
		power := ""
		if role.Superuser {
			power = ", and may do anything, being a superuser"
		}
		r.add(databaseRoles.ok(at, "%s, which may do what a processor does%s", who, power))
	}
}

// compiles reports whether a processor that starts now could enforce what is stored.
func compiles(ctx context.Context, at, dsn string) Finding {
	store, err := ledger.OpenStore(ctx, dsn)
	if err != nil {
		return configuration.wrong(Away, at, "%v", err)
	}
	defer store.Close()
	documents, err := store.Load(ctx)
	if err == nil {
		_, err = budget.Compile(documents, pricing.Catalog())
	}
	if err != nil {
		return configuration.wrong(Error, at, "%v", err)
	}
	return configuration.ok(at, "every document can be enforced")
}

func judgeProcessors(r *Report, at string, v *ledger.Vitals) {
	live, worst := 0, ledger.Processor{}
	for _, p := range v.Processors {
		if p.Silent > silentFor {
			r.add(processors.wrong(Error, at, "processor %s on %s was last heard of %s ago, and did not say goodbye", p.Epoch, p.Host, rough(p.Silent)))
			continue
		}
		live++
		if p.ClockOffset.Abs() >= worst.ClockOffset.Abs() {
			worst = p
		}
	}
	if live == 0 {
		f := processors.wrong(Error, at, "no processor is alive")
		f.Danger, f.Fix = healthy.danger, healthy.fix
		r.add(f)
		return
	}
	r.add(processors.ok(at, "%d alive", live))
	status := Warning
	if worst.ClockOffset.Abs() > clockError {
		status = Error
	}
	r.add(clock.judge(worst.ClockOffset.Abs() > clockWarn, status, at, "the clock of %s differs from the database's by %s", worst.Host, rough(worst.ClockOffset)))
}

func judgeAudit(r *Report, at string, v *ledger.Vitals) {
	status := Warning
	if v.Missing > 0 || v.Outbox.Oldest > outboxError {
		status = Error
	}
	unsigned := v.Leaves - v.Signed
	switch {
	case v.Missing > 0:
		r.add(auditLag.wrong(status, at, "records of %d transactions were gone before the log could take them", v.Missing))
	case v.Outbox.Oldest > outboxWarn:
		r.add(auditLag.wrong(status, at, "%d transactions are not in the log yet, the oldest since %s", v.Outbox.Rows, rough(v.Outbox.Oldest)))
	case v.Keys == 0:
		r.add(auditLag.unseen(at, "%d records in the log, and no key: nobody can check who wrote them; give keel serve --audit-key", v.Leaves))
	case unsigned > 0 && v.SignedBefore > 10*time.Minute:
		r.add(auditLag.wrong(status, at, "%d of %d records are not signed, the newest checkpoint is %s old", unsigned, v.Leaves, rough(v.SignedBefore)))
	default:
		r.add(auditLag.ok(at, "%d records in the log, %d of them signed; %d transactions wait for %s", v.Leaves, v.Signed, v.Outbox.Rows, rough(v.Outbox.Oldest)))
	}
}

// unmeteredTolerated is the share of calls that nobody can read: /v1/models and the like.
const unmeteredTolerated = 0.05

func judgeTraffic(r *Report, at string, v *ledger.Vitals) {
	var calls, passed float64
	for _, t := range v.Traffic {
		calls += float64(t.Calls)
		passed += float64(t.Unmetered)
	}
	if calls == 0 {
		r.add(unmetered.unseen(at, "no calls since yesterday"))
		return
	}
	r.add(unmetered.judge(passed > unmeteredTolerated*calls, Warning, at, "%.0f of %.0f calls since yesterday passed unmetered, %s", passed, calls, share(passed, calls)))
}
