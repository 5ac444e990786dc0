//go:build linux

package e2e

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// proxy stands between one replica and Postgres and cuts connections. It reads
// what goes to the server message by message, so that it can cut between a
// COMMIT and its answer: the server has done it, the replica can't know.
type proxy struct {
	listener net.Listener
	server   string

	afterCommit atomic.Int32 // so many of the next COMMITs are not answered
	afterSync   atomic.Int32 // the same of any statement, for transactions that are one statement
	commitCuts  atomic.Int64 // COMMITs that were done and not answered
	away        atomic.Bool  // nobody gets in

	mu    sync.Mutex
	links map[*link]bool
}

type link struct{ client, server net.Conn }

func startProxy(t *testing.T, server string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, server: server, links: map[*link]bool{}}
	t.Cleanup(func() {
		listener.Close()
		p.cut(1, nil)
	})
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(client)
		}
	}()
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	if p.away.Load() {
		return
	}
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		return // Postgres is down
	}
	defer server.Close()
	l := &link{client, server}
	p.mu.Lock()
	p.links[l] = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.links, l)
		p.mu.Unlock()
	}()
	answered := make(chan struct{})
	go func() {
		io.Copy(client, server)
		client.Close()
		// A client that is gone must not keep the server from what it was sent.
		server.SetReadDeadline(time.Now().Add(2 * time.Second))
		io.Copy(io.Discard, server)
		server.Close()
		close(answered)
	}()
	p.forward(l)
	if tcp, ok := server.(*net.TCPConn); ok {
		tcp.CloseWrite() // lets the server finish, which a reset would not
	}
	client.Close()
	<-answered
}

// forward copies the client's messages, and returns when the connection is to end.
func (p *proxy) forward(l *link) {
	head := make([]byte, 5)
	commits := map[string]bool{} // prepared statements that are one
	committing := false          // since the last Sync
	for started := false; ; started = true {
		size := head[1:5] // a message is a letter, its length and its body; the first has no letter
		if !started {
			if _, err := io.ReadFull(l.client, size); err != nil {
				return
			}
		} else if _, err := io.ReadFull(l.client, head); err != nil {
			return
		}
		n := int64(binary.BigEndian.Uint32(size)) - 4
		if n < 0 || n > 1<<30 {
			return
		}
		message := make([]byte, n)
		if _, err := io.ReadFull(l.client, message); err != nil {
			return
		}
		whole := append(append([]byte{}, head...), message...)
		if !started {
			whole = whole[1:]
		}
		first, rest, _ := bytes.Cut(message, []byte{0})
		second, _, _ := bytes.Cut(rest, []byte{0})
		cut := false
		switch kind := head[0]; {
		case !started:
		case kind == 'P': // Parse: a name, a query
			commits[string(first)] = isCommit(second)
		case kind == 'B': // Bind: a portal, the name of a statement
			committing = committing || commits[string(second)]
		case kind == 'Q': // a query by itself
			committing = isCommit(first)
		}
		if started && (head[0] == 'Q' || head[0] == 'S') {
			if cut = committing && take(&p.afterCommit); cut {
				p.commitCuts.Add(1)
			}
			cut = cut || head[0] == 'S' && take(&p.afterSync)
			committing = false
		}
		if cut {
			l.client.Close() // first, so that no answer slips through
		}
		if _, err := l.server.Write(whole); err != nil {
			return
		}
		if cut {
			return
		}
	}
}

func isCommit(query []byte) bool {
	return strings.HasPrefix(strings.ToLower(strings.TrimSpace(string(query))), "commit")
}

// take lowers n by one if there is one.
func take(n *atomic.Int32) bool {
	for v := n.Load(); v > 0; v = n.Load() {
		if n.CompareAndSwap(v, v-1) {
			return true
		}
	}
	return false
}

// cut ends a share of the connections, whatever they are doing.
func (p *proxy) cut(share float64, r *rand.Rand) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if r == nil || r.Float64() < share {
			l.client.Close()
			l.server.Close()
		}
	}
}

// leave takes Postgres away from this replica alone, until it is called with false.
func (p *proxy) leave(away bool) {
	p.away.Store(away)
	if away {
		p.cut(1, nil)
	}
}
