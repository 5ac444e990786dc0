package filter

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"keel/budget"
	"keel/filter/frame"
	"keel/filter/spans"
)

// maxMessageBytes bounds one gRPC message from Envoy: a whole buffered request
// body, or what Envoy read from a fast upstream in one go.
const maxMessageBytes = 64 << 20

// streamWorkers are goroutines that serve one stream or check after the other, so that a stack is grown once: one that is new grows its stack for
// each check, which took 8 % of what a check by gRPC takes. What finds none of them idle has a goroutine of its own.
const streamWorkers = 32

// Options are what a Server needs. All fields are required but those that name a default; Undecided only by FindMissed.
type Options struct {
	Config  *atomic.Pointer[budget.Config] // the configuration in force; never nil inside
	Decider *budget.Decider
	Ledger  budget.Ledger
	Logger  *slog.Logger
	Metrics prometheus.Registerer

	// Hosts maps a provider's host name to its name, for calls that say by
	// their Host header where they go.
	Hosts map[string]string

	// Pseudonyms makes the pseudonyms of labels whose rules ask for them. Nil: calls that have such a label are refused.
	Pseudonyms *budget.PseudonymKeys

	// Undecided says which of some calls have no decision in the ledger, and MissedAfter how long after its end a call that
	// passed in mode observe is looked up by it. Default 1 min.
	Undecided   func(ctx context.Context, ids []uuid.UUID) ([]uuid.UUID, error)
	MissedAfter time.Duration
	// Spans is told of every call; nil for nobody.
	Spans *spans.Sender

	// DecideTimeout bounds the time in which a decision has to be made; it must
	// stay below message_timeout of the Envoy filter. Default 2 s.
	DecideTimeout time.Duration

	// MaxCalls is how many calls may be in flight at once; further ones fail closed before anything of them is read. Default 100,000.
	MaxCalls int

	// TLS is how Envoy is spoken to, and which Envoys; nil is clear text. See package peers.
	TLS *tls.Config

	// ConnectionAge is after how long, within a tenth, a peer that shows certificates makes a new connection, and shows them again; streams that run
	// end on the old one. So it is how long a certificate that was revoked may still send calls. Default 1 h.
	ConnectionAge time.Duration
}

// Server implements Envoy's external processor, authorization and access log services. It is
// safe for concurrent use.
type Server struct {
	extprocv3.UnimplementedExternalProcessorServer
	authv3.UnimplementedAuthorizationServer

	config  *atomic.Pointer[budget.Config]
	decider *budget.Decider
	ledger  budget.Ledger
	log     *slog.Logger
	hosts   map[string]string
	timeout time.Duration

	undecided   func(ctx context.Context, ids []uuid.UUID) ([]uuid.UUID, error)
	missedAfter time.Duration

	metrics *metrics
	missing missing
	most    int64        // calls in flight
	calls   atomic.Int64 // in flight
	spans   *spans.Sender
	deep    *stacks // for what streams do, beside waiting
	grpc    *grpc.Server
	health  *health.Server
	checks  checks
	open    atomic.Int64  // streams of calls and attempts
	few     int64         // see fewStreams
	quiet   chan struct{} // closed when a drain has seen the last of them
	age     time.Duration // of a connection, until calls go on by another; 0 for any

	pseudonyms *budget.PseudonymKeys
	forsaken   forsaken
}

// New returns a Server with its services registered on a gRPC server of its own. It has goroutines from here on, which Drain ends.
func New(o Options) *Server {
	if o.DecideTimeout == 0 {
		o.DecideTimeout = 2 * time.Second
	}
	s := &Server{
		config:  o.Config,
		decider: o.Decider,
		ledger:  o.Ledger,
		log:     o.Logger,
		hosts:   o.Hosts,
		timeout: o.DecideTimeout,

		undecided: o.Undecided, missedAfter: cmp.Or(o.MissedAfter, time.Minute),

		most:    int64(cmp.Or(o.MaxCalls, 100_000)),
		metrics: newMetrics(o.Metrics),
		spans:   o.Spans,
		deep:    newStacks(),
		few:     fewStreams,
		health:  health.NewServer(),
		quiet:   make(chan struct{}),

		pseudonyms: o.Pseudonyms,
	}
	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(frame.NewCodec()),
		grpc.UnaryInterceptor(s.checks.intercept),
		grpc.MaxRecvMsgSize(maxMessageBytes),
		grpc.MaxSendMsgSize(maxMessageBytes),
		grpc.NumStreamWorkers(streamWorkers),
		grpc.MaxConcurrentStreams(1 << 20), // one stream is one call in flight, or one attempt: see Options.MaxCalls
		// Envoy pings idle connections every 10 s; the default policy would
		// answer that with GOAWAY.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 2 * time.Second, PermitWithoutStream: true}),
	}
	if o.TLS != nil {
		s.age = cmp.Or(o.ConnectionAge, time.Hour)
		options = append(options, grpc.Creds(credentials.NewTLS(o.TLS)),
			// A peer that was let in shows its certificate again. Calls in flight stay on the connection that they have.
			grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: s.age}))
	}
	s.grpc = grpc.NewServer(options...)
	frame.Register(s.grpc, s, maxMessageBytes)
	authv3.RegisterAuthorizationServer(s.grpc, s)
	frame.RegisterLogs(s.grpc, s)
	healthv1.RegisterHealthServer(s.grpc, s.health)
	return s
}

// Serve answers on l until Drain. It closes l.
func (s *Server) Serve(l net.Listener) error { return s.grpc.Serve(listener{l, &s.checks}) }

// Streams is how many streams of calls and attempts are open.
func (s *Server) Streams() int64 { return s.open.Load() }

// Drain tells health checks that this server takes no calls, and goes on taking them until every client that checks has heard it;
// then it refuses new streams, waits for those that run until done is closed, and ends the rest. Calls that are cut by that are
// closed out as aborted before Drain returns.
func (s *Server) Drain(done <-chan struct{}) {
	s.health.Shutdown()
	s.checks.heard(done)
	finished := make(chan struct{})
	go s.endLogs(finished)
	go func() {
		s.grpc.GracefulStop()
		close(finished)
	}()
	select {
	case <-finished:
	case <-done:
		s.grpc.Stop()
		<-finished
	}
}

// logsAfter is how long after the last call its entry in the access log may come: Envoy keeps entries for 200 ms, in the
// configuration of package envoy.
const logsAfter = time.Second

// endLogs ends the streams of access logs once there was no call for logsAfter, unless all is finished before.
func (s *Server) endLogs(finished <-chan struct{}) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	since := time.Now()
	for {
		select {
		case <-finished:
			return
		case <-ticker.C:
		}
		if s.open.Load() > 0 {
			since = time.Now()
		}
		if time.Since(since) >= logsAfter {
			close(s.quiet)
			return
		}
	}
}
