package filter

import (
	"context"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
)

// checks are the connections that ask whether this server takes calls, and how often each has heard that it does not. Envoy believes
// it the second time, and sends calls until then: a server that closed its door at once would refuse them.
type checks struct {
	mu      sync.Mutex
	heardNo map[net.Addr]int // by the address of the connection, which is the same value as long as that lives
}

const (
	heardOften = 2                // unhealthy_threshold of the clusters that package envoy writes
	heardLate  = 10 * time.Second // the longest wait: a client that checks less often is not waited for
)

// intercept sees health checks, which are all unary calls that there are.
func (c *checks) intercept(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	answer, err := handle(ctx, request)
	if p, ok := peer.FromContext(ctx); ok {
		health, _ := answer.(*healthv1.HealthCheckResponse)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.heardNo == nil {
			c.heardNo = make(map[net.Addr]int)
		}
		if health.GetStatus() == healthv1.HealthCheckResponse_NOT_SERVING {
			c.heardNo[p.Addr]++
		} else {
			c.heardNo[p.Addr] = 0
		}
	}
	return answer, err
}

// listener hands out connections that are forgotten when they are closed. A stats.Handler could tell, at a cost for every message.
type listener struct {
	net.Listener
	checks *checks
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return connection{c, l.checks}, nil
}

type connection struct {
	net.Conn
	checks *checks
}

func (c connection) Close() error {
	c.checks.mu.Lock()
	delete(c.checks.heardNo, c.RemoteAddr())
	c.checks.mu.Unlock()
	return c.Conn.Close()
}

// heard waits until all have heard it, for heardLate at most, or until done is closed.
func (c *checks) heard(done <-chan struct{}) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for late := time.After(heardLate); !c.allHeard(); {
		select {
		case <-ticker.C:
		case <-late:
			return
		case <-done:
			return
		}
	}
}

func (c *checks) allHeard() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, times := range c.heardNo {
		if times < heardOften {
			return false
		}
	}
	return true
}
