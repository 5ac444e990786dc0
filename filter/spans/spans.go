package spans

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	tracing "go.opentelemetry.io/otel/trace"
)

// Options make a Sender.
type Options struct {
	Endpoint string // of the backend's OTLP receiver by gRPC: http://HOST:PORT, or https: for TLS
	Version  string // of Keel
	Queue    int    // calls that may wait, 4096 when 0
	Logger   *slog.Logger
	Metrics  prometheus.Registerer
}

// Sender sends spans until it is closed. It is safe for concurrent use; a nil one takes nothing.
type Sender struct {
	queue    chan *Call
	provider *trace.TracerProvider
	tracer   tracing.Tracer
	log      *slog.Logger
	done     sync.WaitGroup
	closing  chan struct{}
	once     sync.Once

	sent, failed, dropped prometheus.Counter
}

// batch is how many spans go out at once, at the latest every second.
const batch = 512

// Start returns a Sender. The backend need not be there: it is tried again.
func Start(ctx context.Context, o Options) (*Sender, error) {
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("OTLP endpoint %q: want http://HOST:PORT, or https: for TLS", o.Endpoint)
	}
	exporter, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpointURL(o.Endpoint), otlptracegrpc.WithTimeout(10*time.Second))
	if err != nil {
		return nil, fmt.Errorf("OTLP exporter: %w", err)
	}
	if o.Queue == 0 {
		o.Queue = 4096
	}
	s := &Sender{queue: make(chan *Call, o.Queue), log: o.Logger, closing: make(chan struct{}),
		sent:    prometheus.NewCounter(prometheus.CounterOpts{Name: "keel_spans_sent_total", Help: "Spans that the tracing backend took."}),
		failed:  prometheus.NewCounter(prometheus.CounterOpts{Name: "keel_spans_failed_total", Help: "Spans that the tracing backend did not take."}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{Name: "keel_spans_dropped_total", Help: "Calls without a span, because more were waiting than there is room for."}),
	}
	o.Metrics.MustRegister(s.sent, s.failed, s.dropped)
	// Spans wait in one place, the queue: the processor behind it blocks the one goroutine that feeds it, and drops nothing.
	s.provider = trace.NewTracerProvider(
		trace.WithResource(resource.NewSchemaless(semconv.ServiceName("keel"), semconv.ServiceVersion(o.Version))),
		trace.WithSampler(trace.ParentBased(trace.AlwaysSample())),
		trace.WithSpanProcessor(trace.NewBatchSpanProcessor(&counted{exporter, s}, trace.WithBlocking(), trace.WithBatchTimeout(time.Second),
			trace.WithMaxExportBatchSize(batch), trace.WithMaxQueueSize(2*batch))),
	)
	s.tracer = s.provider.Tracer("keel/filter/spans", tracing.WithSchemaURL(semconv.SchemaURL))
	s.done.Go(s.feed)
	return s, nil
}

// Send takes a call and returns at once.
func (s *Sender) Send(c *Call) {
	if s == nil {
		return
	}
	select {
	case s.queue <- c:
	default:
		s.dropped.Inc()
	}
}

// Close sends what waits, until ctx ends.
func (s *Sender) Close(ctx context.Context) error {
	if s == nil {
		return nil
	}
	s.once.Do(func() { close(s.closing) })
	fed := make(chan struct{})
	go func() {
		s.done.Wait()
		close(fed)
	}()
	select {
	case <-fed:
	case <-ctx.Done():
		return errors.Join(ctx.Err(), s.provider.Shutdown(ctx)) // the feeder ends with the processor that it waits for
	}
	return s.provider.Shutdown(ctx)
}

func (s *Sender) feed() {
	for {
		select {
		case c := <-s.queue:
			s.write(c)
			continue
		default:
		}
		select {
		case c := <-s.queue:
			s.write(c)
		case <-s.closing:
			if len(s.queue) == 0 {
				return
			}
		}
	}
}

// counted is an exporter that keeps count.
type counted struct {
	trace.SpanExporter
	s *Sender
}

func (c *counted) ExportSpans(ctx context.Context, spans []trace.ReadOnlySpan) error {
	err := c.SpanExporter.ExportSpans(ctx, spans)
	if err != nil {
		c.s.failed.Add(float64(len(spans)))
		c.s.log.Warn("spans: the backend took none", "spans", len(spans), "error", err)
		return nil // it is told here, and not by OpenTelemetry's own log
	}
	c.s.sent.Add(float64(len(spans)))
	return nil
}
