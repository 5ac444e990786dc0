//go:build linux

package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// valve stands between Envoy and a replica, at one address through all the replica's processes, and cuts connections or lets
// nothing pass on them for a while.
type valve struct {
	listener net.Listener
	target   func() string // "" while nobody is there

	mu     sync.Mutex
	links  map[net.Conn]net.Conn
	closed chan struct{} // nil while all passes; closed when it does again
}

func startValve(t *testing.T, target func() string) *valve {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &valve{listener: listener, target: target, links: map[net.Conn]net.Conn{}}
	t.Cleanup(func() {
		v.open()
		listener.Close()
		v.cut(nil)
	})
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			go v.serve(from)
		}
	}()
	return v
}

func (v *valve) addr() string { return v.listener.Addr().String() }

func (v *valve) serve(from net.Conn) {
	defer from.Close()
	address := v.target()
	if address == "" {
		return
	}
	to, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer to.Close()
	v.mu.Lock()
	v.links[from] = to
	v.mu.Unlock()
	defer func() {
		v.mu.Lock()
		delete(v.links, from)
		v.mu.Unlock()
	}()
	go func() {
		defer from.Close()
		v.pass(from, to)
	}()
	v.pass(to, from)
}

func (v *valve) pass(to io.Writer, from io.Reader) {
	piece := make([]byte, 64<<10)
	for {
		n, err := from.Read(piece)
		v.mu.Lock()
		closed := v.closed
		v.mu.Unlock()
		if closed != nil {
			<-closed
		}
		if _, failed := to.Write(piece[:n]); failed != nil || err != nil {
			return
		}
	}
}

func (v *valve) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed == nil {
		v.closed = make(chan struct{})
	}
}

func (v *valve) open() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed != nil {
		close(v.closed)
		v.closed = nil
	}
}

// cut ends connections by resets: all, or half of them by r.
func (v *valve) cut(r *rand.Rand) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for from, to := range v.links {
		if r == nil || r.IntN(2) == 0 {
			from.(*net.TCPConn).SetLinger(0)
			from.Close()
			to.Close()
		}
	}
}

// disturb breaks the way to the replicas, and the replicas, until ctx ends, and leaves all of it whole. No fault lasts longer than most.
func disturb(ctx context.Context, t *testing.T, r *rand.Rand, replicas []*replica, valves []*valve, most time.Duration) {
	began := time.Now()
	wait := func(d time.Duration) {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
	for {
		wait(500*time.Millisecond + time.Duration(r.Int64N(int64(3*time.Second))))
		if ctx.Err() != nil {
			return
		}
		i, lasts := r.IntN(len(replicas)), time.Duration(r.Int64N(int64(most)))
		replica, valve := replicas[i], valves[i]
		kind := [...]string{"pause", "pause", "pause both", "kill", "term", "cut", "cut", "cut half", "stall"}[r.IntN(9)]
		t.Logf("%6.2fs replica %d: %s, %v", time.Since(began).Seconds(), i, kind, lasts.Round(time.Millisecond))
		var err error
		switch kind {
		case "pause", "pause both":
			paused := replicas[i : i+1]
			if kind == "pause both" {
				paused = replicas
			}
			for _, r := range paused {
				syscall.Kill(r.pid(), syscall.SIGSTOP)
			}
			wait(lasts)
			for _, r := range paused {
				r.resume()
			}
		case "kill":
			if err = replica.end(syscall.SIGKILL); err == nil {
				wait(lasts / 4)
				err = replica.start()
			}
		case "term":
			if err = replica.end(syscall.SIGTERM); err == nil {
				err = replica.start()
			}
		case "cut":
			valve.cut(nil)
		case "cut half":
			valve.cut(r)
		case "stall":
			valve.close()
			wait(lasts)
			valve.open()
		}
		if err != nil {
			t.Error(fmt.Errorf("%s: %w", kind, err))
			return
		}
	}
}
