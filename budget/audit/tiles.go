package audit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"

	"keel/budget/audit/log"
)

// NewestCheckpoint returns the last signed note of the log.
func NewestCheckpoint(ctx context.Context, dsn string) (size int64, note string, err error) {
	conn, err := connect(ctx, dsn, "keel audit checkpoint")
	if err != nil {
		return 0, "", err
	}
	defer closeConn(conn)
	return newestCheckpoint(ctx, conn)
}

// ErrNoCheckpoint says that nothing was signed yet.
var ErrNoCheckpoint = errors.New("audit: no checkpoint was signed yet: run a processor with --audit-key")

func newestCheckpoint(ctx context.Context, q querier) (size int64, note string, err error) {
	err = q.QueryRow(ctx, "select size, note from keel.checkpoints order by size desc limit 1").Scan(&size, &note)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, "", ErrNoCheckpoint
	}
	return size, note, err
}

// PublicKeys returns those that the log was signed with, oldest first.
func PublicKeys(ctx context.Context, dsn string) ([]string, error) {
	conn, err := connect(ctx, dsn, "keel audit keys")
	if err != nil {
		return nil, err
	}
	defer closeConn(conn)
	rows, err := conn.Query(ctx, "select vkey from keel.audit_keys order by added_at, key_id")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// WriteTiles writes the log as of its newest checkpoint to a folder, in the layout of c2sp.org/tlog-tiles: the
// checkpoint last, so that who reads meanwhile finds what it promises. It returns the size of the log and how many files it wrote.
func WriteTiles(ctx context.Context, dsn, dir string) (size int64, files int, err error) {
	conn, err := connect(ctx, dsn, "keel audit tiles")
	if err != nil {
		return 0, 0, err
	}
	defer closeConn(conn)
	var note string
	err = pgx.BeginTxFunc(ctx, conn, readOnly, func(tx pgx.Tx) error {
		if size, note, err = newestCheckpoint(ctx, tx); err != nil {
			return err
		}
		if was, err := os.ReadFile(filepath.Join(dir, "checkpoint")); err == nil && originOf(string(was)) != originOf(note) {
			return fmt.Errorf("audit: folder %s has log %s, and this one is %s, whose first files may be others: write it into another folder", dir, originOf(string(was)), originOf(note))
		}
		w := &tileWriter{ctx: ctx, tx: tx, dir: dir}
		for _, t := range tlog.NewTiles(log.TileHeight, 0, size) {
			if err := w.write(t); err != nil {
				return fmt.Errorf("audit: tile %s: %w", t.Path(), err)
			}
		}
		files = w.files
		return writeWhole(filepath.Join(dir, "checkpoint"), []byte(note))
	})
	return size, files, err
}

type tileWriter struct {
	ctx   context.Context
	tx    pgx.Tx
	dir   string
	files int
}

// write writes a tile, and beside one of level 0 the bundle of its entries. Both never change under their names.
func (w *tileWriter) write(t tlog.Tile) error {
	path := tilePath(t)
	name := filepath.Join(w.dir, filepath.FromSlash(path))
	if _, err := os.Stat(name); err != nil {
		data, err := tilesOf(w.ctx, w.tx).Tile(log.TileID{Level: t.L, N: t.N})
		if err != nil {
			return err
		}
		if len(data) < t.W*tlog.HashSize {
			return fmt.Errorf("it has %d hashes, and should have %d", len(data)/tlog.HashSize, t.W)
		}
		if err := writeWhole(name, data[:t.W*tlog.HashSize]); err != nil {
			return err
		}
		w.files++
	}
	if t.L > 0 {
		return nil
	}
	entries := t
	entries.L = -1
	name = filepath.Join(w.dir, filepath.FromSlash(tilePath(entries)))
	if _, err := os.Stat(name); err == nil {
		return nil
	}
	first := t.N * log.TileWidth
	rows, err := w.tx.Query(w.ctx, "select hash from keel.leaves where index >= $1 and index < $2 order by index", first, first+int64(t.W))
	if err != nil {
		return err
	}
	var bundle bytes.Buffer
	var hash []byte
	n := 0
	if _, err := pgx.ForEachRow(rows, []any{&hash}, func() error {
		n++
		_ = binary.Write(&bundle, binary.BigEndian, uint16(len(hash)))
		bundle.Write(hash)
		return nil
	}); err != nil {
		return err
	}
	if n != t.W {
		return fmt.Errorf("%d of %d leaves are there", n, t.W)
	}
	w.files++
	return writeWhole(name, bundle.Bytes())
}

// tilePath is "tile/0/x001/234" and "tile/0/x001/234.p/5": sumdb's, without the height. Entries have level -1.
func tilePath(t tlog.Tile) string {
	path := strings.TrimPrefix(t.Path(), fmt.Sprintf("tile/%d/", t.H)) // 0/001, or data/001
	return "tile/" + strings.Replace(path, "data/", "entries/", 1)
}

func writeWhole(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(name+".new", data, 0o644); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
