package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/jackc/pgx/v5"
)

// copyRows writes rows. next adds a row to the buffer that it is given, or leaves out an odd one, and reports false where there
// are no more. It is called while the server takes the rows before, on another goroutine, but not any more when copyRows has returned.
func copyRows(ctx context.Context, conn *pgx.Conn, sql string, next func(*rowBuffer) bool) error {
	r := newRows()
	defer r.free()
	s := rowStream{rows: r, next: next}
	if s.fill(streamAhead); s.ended && r.count == 0 {
		return nil
	}
	tag, err := conn.PgConn().CopyFrom(ctx, &s, sql)
	s.leave()
	if err == nil && tag.RowsAffected() != int64(r.count) {
		err = fmt.Errorf("%d of %d rows were taken", tag.RowsAffected(), r.count)
	}
	return err
}

// streamAhead is what is written before the server is asked to take it: about what pgx sends at once.
const streamAhead = 64 << 10

// rowStream is the rows of a COPY as it reads them, so that few of them are in memory at a time.
type rowStream struct {
	mu    sync.Mutex // pgx may still read when it has given up a connection
	rows  *rowBuffer
	next  func(*rowBuffer) bool
	at    int  // what was read of the buffer
	ended bool // everything is in the buffer
	left  bool
}

// Read implements io.Reader.
func (s *rowStream) Read(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left {
		return 0, errLeft
	}
	s.fill(len(p))
	if n = copy(p, s.rows.b[s.at:]); n == 0 && s.ended {
		return 0, io.EOF
	}
	s.at += n
	return n, nil
}

// fill adds rows until there are some bytes to read, or no more rows.
func (s *rowStream) fill(bytes int) {
	r := s.rows
	if len(r.b)-s.at >= bytes || s.ended {
		return
	}
	r.b, s.at = append(r.b[:0], r.b[s.at:]...), 0
	for len(r.b) < bytes && !s.ended {
		if s.ended = !s.next(r); s.ended {
			r.b = append(r.b, 0xff, 0xff)
		}
	}
}

// leave gives back what is read from.
func (s *rowStream) leave() {
	s.mu.Lock()
	s.left = true
	s.mu.Unlock()
}

var errLeft = errors.New("nobody takes these rows any more")
