package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// load is a closed loop: each client sends, reads the answer to its end, and sends again.
type load struct {
	address string // host:port
	head    string // see requestHead
	bodies  *bodies
	clients int
	sse     bool
}

// answerTime bounds one call; a call that takes longer is an error.
const answerTime = 60 * time.Second

// tally is what a load came to.
type tally struct {
	times []time.Duration // of every call, in order of their length
	took  time.Duration
}

// run goes on for so long, and to the end of the calls that are then in flight.
// The first call that fails ends it: figures of calls that fail are of something else.
func (l load) run(ctx context.Context, window time.Duration) (tally, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	times := make([][]time.Duration, l.clients)
	began := time.Now()
	var clients sync.WaitGroup
	for i := range l.clients {
		clients.Go(func() {
			c := client{load: l}
			defer c.close()
			var request []byte
			for ctx.Err() == nil && time.Since(began) < window {
				request = l.bodies.request(request[:0], l.head)
				sent := time.Now()
				if err := c.call(ctx, request); err != nil {
					cancel(err)
					return
				}
				times[i] = append(times[i], time.Since(sent))
			}
		})
	}
	clients.Wait()
	t := tally{times: slices.Concat(times...), took: time.Since(began)}
	slices.Sort(t.times)
	return t, context.Cause(ctx)
}

// client has one connection, as clients with a pool of them do.
type client struct {
	load
	conn   net.Conn
	reader *bufio.Reader
	body   bytes.Buffer
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// call sends one request and reads the answer, which has to be whole and a 200.
func (c *client) call(ctx context.Context, request []byte) error {
	response, err := c.send(ctx, request)
	if err != nil {
		return err
	}
	c.body.Reset()
	_, err = c.body.ReadFrom(response.Body)
	response.Body.Close()
	if err != nil {
		return fmt.Errorf("the answer was cut after %d bytes: %w", c.body.Len(), err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s: %.500s", response.Status, c.body.Bytes())
	}
	end := []byte("}")
	if c.sse {
		end = []byte("data: [DONE]")
	}
	if !bytes.HasSuffix(bytes.TrimSpace(c.body.Bytes()), end) || !bytes.Contains(c.body.Bytes(), []byte(`"completion_tokens"`)) {
		return fmt.Errorf("the answer is not whole: %.500s", c.body.Bytes())
	}
	if response.Close {
		c.close()
	}
	return nil
}

// send returns when the headers of the answer are there.
func (c *client) send(ctx context.Context, request []byte) (*http.Response, error) {
	if c.conn == nil {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.address)
		if err != nil {
			return nil, err
		}
		c.conn, c.reader = conn, bufio.NewReaderSize(conn, 16<<10)
	}
	c.conn.SetDeadline(time.Now().Add(answerTime))
	if _, err := c.conn.Write(request); err != nil {
		return nil, fmt.Errorf("the request was cut: %w", err)
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err == io.ErrUnexpectedEOF || err == io.EOF {
		return nil, fmt.Errorf("the connection was closed before an answer: %w", err)
	}
	return response, err
}
