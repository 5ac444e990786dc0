package main

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"keel/filter/spans"
)

// spanFlags are of the verbs that run a processor.
type spanFlags struct {
	OTLP string `name:"otlp" help:"Receiver that spans of calls are sent to, by OTLP over gRPC: http://HOST:PORT, or https: for TLS. Unless given none are made." placeholder:"URL"`
}

func (f *spanFlags) start(ctx context.Context, log *slog.Logger, metrics prometheus.Registerer) (*spans.Sender, error) {
	if f.OTLP == "" {
		return nil, nil
	}
	return spans.Start(ctx, spans.Options{Endpoint: f.OTLP, Version: version(), Logger: log, Metrics: metrics})
}
