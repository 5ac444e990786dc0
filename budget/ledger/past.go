package ledger

import (
	"context"

	"github.com/jackc/pgx/v5"

	"keel/budget"
)

// Revisions returns the revisions of an org at which a document of one of the kinds changed, the newest first.
func (s *Store) Revisions(ctx context.Context, org string, kinds ...budget.Kind) ([]int64, error) {
	rows, err := s.pool.Query(ctx, "select revision from keel.config_versions where org = $1 and kind = any($2) order by revision desc", org, kinds)
	if err != nil {
		return nil, explainError("read config revisions", err)
	}
	revisions, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, explainError("read config revisions", err)
	}
	return revisions, nil
}

// At returns the documents of an org of some kinds as they were at a revision.
func (s *Store) At(ctx context.Context, org string, revision int64, kinds ...budget.Kind) (budget.Documents, error) {
	rows, err := s.pool.Query(ctx, `
select kind, name, version, after from (
  select distinct on (kind, name) kind, name, version, after from keel.config_versions
  where org = $1 and revision <= $2 and kind = any($3) order by kind, name, version desc) newest
where after is not null order by kind, name`, org, revision, kinds)
	if err != nil {
		return budget.Documents{}, explainError("read past documents", err)
	}
	past, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (document, error) {
		d := document{Org: org}
		return d, row.Scan(&d.Kind, &d.Name, &d.Version, &d.Columns)
	})
	if err != nil {
		return budget.Documents{}, explainError("read past documents", err)
	}
	return decodeDocuments(past)
}
