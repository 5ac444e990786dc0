package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// distributed are the tables of which each org has its own rows: the first, and those that are
// kept where it is. The rest of the schema stays on the coordinator: documents, and corrections
// (adjustments, reconciliations, reconciled), whose triggers Citus refuses on distributed tables.
var distributed = []string{"accounts", "leases", "epochs", "limits", "cuts", "entries", "decisions", "closeouts", "annotations", "open_decisions",
	"outbox", "leaves", "superseded_closeouts", "label_values",
	"statements", "statement_outbox", "statement_provisional"}

// referenced are small tables that every node has whole.
var referenced = []string{"db_state", "replicas"}

// errNoCitus says what is missing for Distribute.
var errNoCitus = errors.New(`the database has no extension "citus": install it on every node, add it to shared_preload_libraries, and run CREATE EXTENSION citus on the coordinator`)

// Distribute spreads the ledger's tables over the nodes of a Citus cluster by org. dsn is of the
// coordinator, which keel migrate has prepared and which knows its workers. What is distributed
// already is left alone; what is not is locked while its rows move.
func Distribute(ctx context.Context, dsn string) error {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return fmt.Errorf("ledger: distribute: %w", err)
	}
	configureConn(config)
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return explainError("distribute: connect", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := checkSchema(ctx, conn); err != nil {
		return err
	}
	var there bool
	if err := conn.QueryRow(ctx, "select exists (select from pg_extension where extname = 'citus')").Scan(&there); err != nil {
		return explainError("distribute", err)
	}
	if !there {
		return fmt.Errorf("ledger: distribute: %w", errNoCitus)
	}
	for _, t := range referenced {
		if err := distribute(ctx, conn, t, "select create_reference_table($1::text::regclass)", "keel."+t); err != nil {
			return err
		}
	}
	for i, t := range distributed {
		with := "none"
		if i > 0 {
			with = "keel." + distributed[0]
		}
		if err := distribute(ctx, conn, t, "select create_distributed_table($1::text::regclass, 'org', colocate_with => $2)", "keel."+t, with); err != nil {
			return err
		}
	}
	return nil
}

func distribute(ctx context.Context, conn *pgx.Conn, table, sql string, args ...any) error {
	var done bool
	err := conn.QueryRow(ctx, "select exists (select from pg_dist_partition where logicalrelid = $1::text::regclass)", "keel."+table).Scan(&done)
	if err == nil && !done {
		_, err = conn.Exec(ctx, sql, args...)
	}
	return explainError("distribute keel."+table, err)
}
