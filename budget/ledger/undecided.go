package ledger

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// Undecided returns those of ids that the database has no decision for. One that a replica keeps in its journal, and has not
// settled yet, is among them: whoever asks gives it time.
func (s *Store) Undecided(ctx context.Context, ids []uuid.UUID) ([]uuid.UUID, error) {
	rows, err := s.pool.Query(ctx, `
select x from unnest($1::uuid[]) x where not exists (select from keel.decisions d where d.decision_id = x) order by x`, ids)
	if err != nil {
		return nil, explainError("look decisions up", err)
	}
	undecided, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	return undecided, explainError("look decisions up", err)
}
