package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"keel/filter/wire/sample"
)

type sampleCmd struct {
	Listen string `help:"Address that Envoy calls." default:"127.0.0.1:9000" placeholder:"ADDR"`
}

func (c *sampleCmd) Help() string {
	return `It speaks the APIs of OpenAI, Anthropic and Google, and costs nothing. "keel dev" has it in it.

Examples:
  keel sample
  keel envoy config --target envoy --provider openai=http://127.0.0.1:9000 > envoy.yaml`
}

func (c *sampleCmd) Run(ctx context.Context, m *Main) error {
	l, err := listen("listen", "--listen", c.Listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: sample.New(sample.Options{}), ReadHeaderTimeout: 10 * time.Second}
	fmt.Fprintf(m.Stderr, "keel: the sample provider is on http://%s\n", l.Addr())
	stopped := context.AfterFunc(ctx, func() { server.Close() })
	defer stopped()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("sample provider: %w", err)
	}
	return nil
}
