package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/note"

	"keel/budget/audit/log"
)

// A statement of a key is a note that the key itself signs and, where there was one, the key before:
//
//	keel audit key
//	origin
//	public key
//	public key before, or "first"

const statementHead = "keel audit key\n"

func statement(origin, key, before string) string {
	if before == "" {
		before = "first"
	}
	return statementHead + origin + "\n" + key + "\n" + before + "\n"
}

// ErrKey says that a key may not sign.
var ErrKey = errors.New("the key is not the one that the log is signed with")

// registerKey puts a log's first key into the database, and refuses one that nobody made it over to.
func registerKey(ctx context.Context, conn *pgx.Conn, key *PrivateKey) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		last, err := lastKey(ctx, tx)
		switch {
		case err != nil:
			return err
		case last == key.Public:
			return nil
		case last != "":
			return fmt.Errorf("%w: that is %s; to go over to another one, run keel audit keys rotate; if it is lost, keel audit continue", ErrKey, last)
		}
		return insertKey(ctx, tx, key, nil)
	})
}

func lastKey(ctx context.Context, tx pgx.Tx) (public string, err error) {
	if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock(hashtext('keel.audit_keys'))"); err != nil {
		return "", err
	}
	err = tx.QueryRow(ctx, "select vkey from keel.audit_keys order by added_at desc, key_id desc limit 1").Scan(&public)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return public, err
}

func insertKey(ctx context.Context, tx pgx.Tx, key, before *PrivateKey) error {
	signers := []note.Signer{key}
	old := ""
	if before != nil {
		signers, old = append(signers, before), before.Public
	}
	signed, err := note.Sign(&note.Note{Text: statement(key.Origin(), key.Public, old)}, signers...)
	if err != nil {
		return fmt.Errorf("sign the key: %w", err)
	}
	_, err = tx.Exec(ctx, "insert into keel.audit_keys (vkey, statement, added_at) values ($1, $2, clock_timestamp())", key.Public, string(signed))
	return err
}

// Rotate makes the log over from one key to another: both sign a statement, which becomes a leaf. Processes that
// have the old key sign nothing from then on.
func Rotate(ctx context.Context, dsn string, from, to *PrivateKey) error {
	if from.Origin() != to.Origin() {
		return fmt.Errorf("the keys are of two logs: %q and %q", from.Origin(), to.Origin())
	}
	conn, err := connect(ctx, dsn, "keel audit keys")
	if err != nil {
		return err
	}
	defer closeConn(conn)
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		last, err := lastKey(ctx, tx)
		if err != nil {
			return err
		}
		if last != from.Public {
			return fmt.Errorf("%w: that is %q", ErrKey, last)
		}
		return insertKey(ctx, tx, to, from)
	})
}

// keyStatement is a row of keel.audit_keys.
type keyStatement struct{ VKey, Statement string }

// trust adds to keys those that one of them made the log over to, or that one of them took it over from. It returns the
// problems that it sees: a statement that is not signed as it must be.
func trust(keys *log.Keys, all []keyStatement) (problems []string) {
	for added := true; added; {
		added = false
		for _, s := range all {
			before, mutual, err := s.check()
			if err != nil || before == "" || keys.Has(s.VKey) == keys.Has(before) {
				continue
			}
			// A key says which one it took the log over from. That it may have done so says the other one.
			if (mutual || keys.Has(s.VKey)) && errors.Join(keys.Add(s.VKey), keys.Add(before)) == nil {
				added = true
			}
		}
	}
	for _, s := range all {
		if _, _, err := s.check(); err != nil {
			problems = append(problems, fmt.Sprintf("the statement of key %s: %v", s.VKey, err))
		} else if !keys.Has(s.VKey) && !s.continues() {
			problems = append(problems, fmt.Sprintf("key %s: no key that is known made the log over to it", s.VKey))
		}
	}
	return problems
}

// continues reports whether it declares that a log ended, and begins another one.
func (s *keyStatement) continues() bool { return strings.HasPrefix(s.Statement, continuationHead) }

// check returns the key before, "" for the first one, and whether that one signed as well.
func (s *keyStatement) check() (before string, mutual bool, err error) {
	if s.continues() {
		c, err := parseContinuation(s.Statement, s.VKey)
		if err != nil {
			return "", false, err
		}
		return c.OldKey, c.CoSign, nil
	}
	before, err = s.checkHandover()
	return before, true, err
}

// checkHandover is for a statement that the key, and the one before, must have signed.
func (s *keyStatement) checkHandover() (before string, err error) {
	text, _, _ := strings.Cut(s.Statement, "\n\n")
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[0]+"\n" != statementHead || lines[2] != s.VKey {
		return "", errors.New("it says something else")
	}
	signers := []string{s.VKey}
	if lines[3] != "first" {
		before = lines[3]
		signers = append(signers, before)
	}
	for _, signer := range signers {
		v, err := note.NewVerifier(signer)
		if err != nil || v.Name() != lines[1] {
			return "", fmt.Errorf("%q is no key of log %s", signer, lines[1])
		}
		if _, err := note.Open([]byte(s.Statement), note.VerifierList(v)); err != nil {
			return "", fmt.Errorf("it is not signed by %s: %w", signer, err)
		}
	}
	return before, nil
}
