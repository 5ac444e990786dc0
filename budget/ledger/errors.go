package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"

	"keel/budget"
)

// ErrNotFound says that there is no such document or decision.
var ErrNotFound = errors.New("not found")

// SQLSTATE codes that the ledger tells apart (Postgres manual, appendix A).
const (
	codeUniqueViolation     = "23505"
	codeCheckViolation      = "23514"
	codeForbidden           = "42501"
	codeSerialization       = "40001"
	codeDeadlock            = "40P01"
	codeUndefinedTable      = "42P01"
	codeUndefinedColumn     = "42703"
	codeUndefinedFunction   = "42883"
	codeInvalidSchema       = "3F000"
	codeInvalidDatabase     = "3D000"
	codeQueryCanceled       = "57014"
	codeReadOnlyTransaction = "25006"
	codeLockNotAvailable    = "55P03"
)

// Unavailable reports whether err says that Postgres can't be asked now, as
// opposed to a statement that will fail again: the connection broke or could
// not be made, time ran out, the server is stopping, starting, full, out of
// resources, or a standby that takes no writes.
func Unavailable(err error) bool {
	if err == nil {
		return false
	}
	if errors.Is(err, budget.ErrUnavailable) {
		return true
	}
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) {
		return true
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) { // not the server's answer: the network's or the context's
		var network net.Error
		return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
			errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
			pgconn.SafeToRetry(err) // closed or busy before anything was sent
	}
	switch pg.Code {
	case codeQueryCanceled, codeReadOnlyTransaction, codeLockNotAvailable, codeSerialization, codeDeadlock:
		return true
	}
	switch pg.Code[:2] {
	case "08", "53", "57", "58", "28": // connection, resources, intervention (57P01..57P05), system, authorization
		return true
	}
	return false
}

// UniqueViolation reports whether err says that a row with such a key is there already.
func UniqueViolation(err error) bool { return sqlState(err) == codeUniqueViolation }

// errInvalid marks errors about what the caller passed or what a row holds.
var errInvalid = errors.New("invalid")

func invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errInvalid, fmt.Errorf(format, args...))
}

// retryable reports whether the same transaction may succeed when repeated at once.
func retryable(err error) bool {
	code := sqlState(err)
	return code == codeSerialization || code == codeDeadlock
}

func sqlState(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// Forbidden reports whether Postgres said that the role of the connection may not do that.
func Forbidden(err error) bool { return sqlState(err) == codeForbidden }

// permanent reports whether the data itself is what Postgres refuses: writing it again can't help.
func permanent(err error) bool {
	code := sqlState(err)
	return len(code) == 5 && (code[:2] == "22" || code[:2] == "23" || code[:2] == "21")
}

// explainError says which operation failed and what to do. It keeps err in the
// chain and adds budget.ErrUnavailable where Unavailable says so.
func explainError(op string, err error) error {
	if err == nil {
		return nil
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case codeUndefinedTable, codeUndefinedColumn, codeUndefinedFunction, codeInvalidSchema:
			return fmt.Errorf("ledger: %s: the database lacks Keel's schema or has an older one, run keel migrate: %w", op, err)
		case codeInvalidDatabase:
			return fmt.Errorf("ledger: %s: the database does not exist, create it or correct the DSN: %w: %w", op, budget.ErrUnavailable, err)
		}
		if pg.Hint != "" {
			err = fmt.Errorf("%w. %s", err, pg.Hint)
		}
	}
	if Unavailable(err) && !errors.Is(err, budget.ErrUnavailable) {
		return fmt.Errorf("ledger: %s: %w: %w", op, budget.ErrUnavailable, err)
	}
	return fmt.Errorf("ledger: %s: %w", op, err)
}
