package pgcopy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/jackc/pgx/v5"
)

// Write writes rows, in r, which was Reset. next adds a row to it, or leaves out an odd one, and reports false where there are no more. It is
// called while the server takes the rows before, on another goroutine, but not any more when Write has returned. sql is COPY … FROM
// STDIN (FORMAT binary).
func Write(ctx context.Context, conn *pgx.Conn, sql string, r *Rows, next func() bool) error {
	s := stream{rows: r, next: next}
	if s.fill(streamAhead); s.ended && r.Count == 0 {
		return nil
	}
	tag, err := conn.PgConn().CopyFrom(ctx, &s, sql)
	s.leave()
	if err == nil && tag.RowsAffected() != int64(r.Count) {
		err = fmt.Errorf("%d of %d rows were taken", tag.RowsAffected(), r.Count)
	}
	return err
}

// streamAhead is what is written before the server is asked to take it: about what pgx sends at once.
const streamAhead = 64 << 10

// stream is the rows of a COPY as it reads them, so that few of them are in memory at a time.
type stream struct {
	mu    sync.Mutex // pgx may still read when it has given up a connection
	rows  *Rows
	next  func() bool
	at    int  // what was read of the buffer
	ended bool // everything is in the buffer
	left  bool
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left {
		return 0, errLeft
	}
	s.fill(len(p))
	if n = copy(p, s.rows.B[s.at:]); n == 0 && s.ended {
		return 0, io.EOF
	}
	s.at += n
	return n, nil
}

// fill adds rows until there are some bytes to read, or no more rows.
func (s *stream) fill(bytes int) {
	r := s.rows
	if len(r.B)-s.at >= bytes || s.ended {
		return
	}
	r.B, s.at = append(r.B[:0], r.B[s.at:]...), 0
	for len(r.B) < bytes && !s.ended {
		if s.ended = !s.next(); s.ended {
			r.B = append(r.B, trailer...)
		}
	}
}

// leave gives back what is read from.
func (s *stream) leave() {
	s.mu.Lock()
	s.left = true
	s.mu.Unlock()
}

var errLeft = errors.New("nobody takes these rows any more")
