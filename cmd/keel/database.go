package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"keel/budget/ledger"
)

// databaseFlag is how every verb that asks the database finds it.
type databaseFlag struct {
	Database     string `help:"Postgres to use: a URL or DSN. Default: $KEEL_DATABASE_URL, else the one that \"keel dev\" runs in --dir." placeholder:"DSN"`
	DatabaseFile string `help:"File with that URL or DSN, so that its password is in no list of processes." placeholder:"FILE"`
	Dir          string `help:"Folder of a running \"keel dev\"." default:".keel" placeholder:"DIR"`
}

// dsn finds the database and says what to do when there is none.
func (f *databaseFlag) dsn(m *Main) (string, error) {
	if dsn, err := givenDatabase(f.Database, f.DatabaseFile, m); err != nil || dsn != "" {
		return dsn, err
	}
	r, err := readReady(f.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("no database: give --database DSN or --database-file FILE, set KEEL_DATABASE_URL, or start \"keel dev\" (no %s here)", filepath.Join(f.Dir, readyFile))
	}
	if err != nil {
		return "", fmt.Errorf("no database: %w", err)
	}
	return r.Database, nil
}

// readReady reads what the "keel dev" that runs in dir says of itself.
func readReady(dir string) (r ready, err error) {
	file := filepath.Join(dir, readyFile)
	text, err := os.ReadFile(file)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("%s is not what \"keel dev\" writes: %w; remove it and start \"keel dev\" again", file, err)
	}
	return r, nil
}

// givenDatabase is what the flags or the environment name, "" when they name none.
func givenDatabase(dsn, file string, m *Main) (string, error) {
	switch {
	case dsn != "" && file != "":
		return "", errors.New("--database and --database-file name two databases: give one")
	case dsn != "":
		return dsn, nil
	case file == "":
		return m.Getenv("KEEL_DATABASE_URL"), nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("--database-file: %w", err)
	}
	if dsn = strings.TrimSpace(string(text)); dsn == "" {
		return "", fmt.Errorf("--database-file: %s is empty", file)
	}
	return dsn, nil
}

// open connects; the database has to be there, with its schema.
func (f *databaseFlag) open(ctx context.Context, m *Main) (*ledger.Store, error) {
	dsn, err := f.dsn(m)
	if err != nil {
		return nil, err
	}
	return ledger.OpenStore(ctx, dsn)
}
