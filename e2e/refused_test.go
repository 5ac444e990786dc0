//go:build linux

package e2e

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"golang.org/x/net/http2"
	"google.golang.org/protobuf/proto"

	"keel/budget/ledger/pgserver"
	"keel/filter/wire/sample"
)

// refuser stands before the processor. Of its first connection it takes a stream and the first message of that, and ends it; what
// comes by others passes.
type refuser struct {
	net.Listener
	to    string
	end   func(f *http2.Framer, stream uint32) error
	ended atomic.Int64
}

// Ways to end a stream. One is not done at all: the peer said so. The other may have been done.
func goesAway(f *http2.Framer, _ uint32) error { return f.WriteGoAway(0, http2.ErrCodeNo, nil) }
func breaks(f *http2.Framer, stream uint32) error {
	return errors.Join(f.WriteRSTStream(stream, http2.ErrCodeInternal), f.WriteGoAway(stream, http2.ErrCodeNo, nil))
}

func startRefuser(t *testing.T, to string, end func(*http2.Framer, uint32) error) *refuser {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	r := &refuser{Listener: l, to: to, end: end}
	go func() {
		for first := true; ; first = false {
			envoy, err := l.Accept()
			if err != nil {
				return
			}
			if first {
				go r.refuse(envoy)
			} else {
				go r.pass(envoy)
			}
		}
	}()
	return r
}

func (r *refuser) pass(envoy net.Conn) {
	defer envoy.Close()
	keel, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer keel.Close()
	go func() {
		_, _ = io.Copy(keel, envoy)
		keel.Close()
	}()
	_, _ = io.Copy(envoy, keel)
}

func (r *refuser) refuse(envoy net.Conn) {
	defer envoy.Close()
	if _, err := io.ReadFull(envoy, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	f := http2.NewFramer(envoy, envoy)
	err := f.WriteSettings()
	for err == nil {
		var frame http2.Frame
		if frame, err = f.ReadFrame(); err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				err = f.WriteSettingsAck()
			}
		case *http2.PingFrame:
			err = f.WritePing(true, frame.Data)
		case *http2.DataFrame:
			if r.ended.Add(1) == 1 {
				err = r.end(f, frame.StreamID)
			}
		}
	}
}

// uncheckedProcessor has calls go to endpoints, and nobody ask whether they take any. The access log goes where it went.
func uncheckedProcessor(t *testing.T, endpoints ...string) func(*bootstrapv3.Bootstrap) {
	return func(b *bootstrapv3.Bootstrap) {
		c := clusterOf(b, "keel_processor")
		c.HealthChecks = nil
		all := c.LoadAssignment.Endpoints[0]
		was := all.LbEndpoints[0]
		all.LbEndpoints = nil
		for _, at := range endpoints {
			a, err := net.ResolveTCPAddr("tcp", at)
			if err != nil {
				t.Fatal(err)
			}
			one := proto.Clone(was).(*endpointv3.LbEndpoint)
			one.GetEndpoint().Address.GetSocketAddress().PortSpecifier = &corev3.SocketAddress_PortValue{PortValue: uint32(a.Port)}
			all.LbEndpoints = append(all.LbEndpoints, one)
		}
	}
}

// A stream that Keel never had is begun again by Envoy, and its call does not fail: when a connection grew old or a replica drains, what Envoy sends at
// that moment is refused, and a replica may be gone before a health check misses it. A stream that Keel may have read is not begun again: its call fails closed.
func TestRefusedStream(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"full", "attempts", "light", "authz", "fast"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			provider := httptest.NewServer(sample.New(sample.Options{Keep: 10}))
			t.Cleanup(provider.Close)
			c := startCluster(t, keel, pgserver.ForTest(t), 1, false, "")
			at := c.replicas[0].connection().Target()
			before := func(t *testing.T, endpoints ...string) *stack {
				text := envoyConfig(t, at, "--mode", mode, "--provider", "openai="+provider.URL)
				return &stack{dsn: c.dsn, url: runBootstrap(t, bootstrapOf(t, text, uncheckedProcessor(t, endpoints...)), "processor-unchecked")}
			}
			passes := func(t *testing.T, s *stack) {
				t.Helper()
				a := s.post(t, "/v1/chat/completions", helloChat)
				if a.status != http.StatusOK {
					t.Fatalf("%d %s, %v", a.status, a.body, a.header)
				}
				s.record(t, a.decision()).want(t, record{"outcome": "complete", "attempts": "1", "metered": "provider"})
			}
			t.Run("refused", func(t *testing.T) {
				r := startRefuser(t, at, goesAway)
				passes(t, before(t, r.Addr().String()))
				if r.ended.Load() != 1 {
					t.Errorf("%d streams were refused, want one", r.ended.Load())
				}
			})
			t.Run("refused, and too long to be kept", func(t *testing.T) {
				s := before(t, startRefuser(t, at, goesAway).Addr().String())
				want := http.StatusOK
				if mode == "authz" || mode == "fast" { // the body is in what was refused
					want = http.StatusServiceUnavailable
				}
				long := strings.Replace(helloChat, "Hello", strings.Repeat("Hello ", 64<<10/len("Hello ")), 1)
				if a := s.post(t, "/v1/chat/completions", long); a.status != want {
					t.Errorf("%d %s, want %d", a.status, a.body, want)
				}
				passes(t, s)
			})
			t.Run("broken", func(t *testing.T) {
				r := startRefuser(t, at, breaks)
				s := before(t, r.Addr().String())
				if a := s.post(t, "/v1/chat/completions", helloChat); a.status != http.StatusServiceUnavailable {
					t.Errorf("%d %s, want 503", a.status, a.body)
				}
				passes(t, s)
			})
			t.Run("gone", func(t *testing.T) {
				gone, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				gone.Close()
				s := before(t, gone.Addr().String(), at)
				for range 8 {
					passes(t, s)
				}
			})
		})
	}
}
