package spans

import (
	"context"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	tracing "go.opentelemetry.io/otel/trace"

	"keel/budget"
)

// Call is what a span says. Decision and Closeout are read by Send's goroutine later: nobody changes them any more.
type Call struct {
	Parent, State string // the client's traceparent and tracestate; "" for none
	Decision      *budget.Decision
	Closeout      *budget.Closeout // nil for a denial
	Ended         time.Time
}

func (s *Sender) write(c *Call) {
	d := c.Decision
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": c.Parent, "tracestate": c.State})
	operation := operationOf(d.API)
	ctx, span := s.tracer.Start(ctx, strings.TrimSpace(operation+" "+d.Model), tracing.WithTimestamp(d.At), tracing.WithSpanKind(tracing.SpanKindClient), tracing.WithAttributes(
		semconv.GenAIOperationNameKey.String(operation), semconv.GenAIProviderNameKey.String(providerOf(d.RoutedProvider, d.Provider)), semconv.GenAIRequestModel(d.Model),
		attribute.String("keel.decision.id", d.ID.String()), attribute.String("keel.org", d.Org), attribute.String("keel.api", d.API),
		attribute.String("keel.action", string(d.Action)), attribute.String("keel.reason", d.Reason), attribute.Bool("keel.stream", d.Stream),
	))
	if d.MaxOutputTokens > 0 {
		span.SetAttributes(semconv.GenAIRequestMaxTokens(int(d.MaxOutputTokens)))
	}
	if d.Route != "" {
		span.SetAttributes(attribute.String("keel.route", d.Route))
	}
	if !d.Unmetered && d.Estimate.Unpriced == "" {
		span.SetAttributes(attribute.Int64("keel.estimate.expected_nanodollars", int64(d.Estimate.Expected)), attribute.Int64("keel.estimate.bound_nanodollars", int64(d.Estimate.Bound)))
	}
	if d.Denial != nil {
		span.SetAttributes(semconv.ErrorTypeKey.String(d.Denial.Code), semconv.HTTPResponseStatusCode(d.Denial.Status))
		span.SetStatus(codes.Error, d.Denial.Code)
	}
	if end := c.Closeout; end != nil {
		closed(span, d, end)
		for i := range end.AttemptRows {
			s.attempt(ctx, &end.AttemptRows[i], c.Ended)
		}
	}
	span.End(tracing.WithTimestamp(c.Ended))
}

func closed(span tracing.Span, d *budget.Decision, end *budget.Closeout) {
	span.SetAttributes(attribute.String("keel.outcome", string(end.Outcome)), attribute.String("keel.metered", string(end.Metered)), attribute.Int("keel.attempts", end.Attempts),
		attribute.String("keel.model", d.RoutedModel))
	if end.Model != "" {
		span.SetAttributes(semconv.GenAIResponseModel(end.Model))
	}
	if end.ResponseID != "" {
		span.SetAttributes(semconv.GenAIResponseID(end.ResponseID))
	}
	if end.Usage != nil {
		span.SetAttributes(semconv.GenAIUsageInputTokens(int(end.Usage.InputTokens())), semconv.GenAIUsageOutputTokens(int(end.Usage.OutputTokens())))
	}
	if end.CostKnown {
		span.SetAttributes(attribute.Int64("keel.cost_nanodollars", int64(end.Cost.Total)))
	}
	if end.HTTPStatus > 0 {
		span.SetAttributes(semconv.HTTPResponseStatusCode(end.HTTPStatus))
	}
	if end.Outcome != budget.Complete && end.Outcome != budget.Unmetered {
		span.SetAttributes(semconv.ErrorTypeKey.String(string(end.Outcome)))
		span.SetStatus(codes.Error, end.Detail)
	}
}

func (s *Sender) attempt(ctx context.Context, a *budget.Attempt, ended time.Time) {
	_, span := s.tracer.Start(ctx, "attempt "+a.Provider+"/"+a.Model, tracing.WithTimestamp(a.At), tracing.WithSpanKind(tracing.SpanKindClient), tracing.WithAttributes(
		attribute.Int("keel.attempt.number", a.Number), attribute.String("keel.attempt.ended", string(a.Ended)), attribute.String("keel.provider", a.Provider), attribute.String("keel.model", a.Model),
		attribute.Int64("keel.cost_nanodollars", int64(a.Cost)), attribute.Int64("keel.estimate.bound_nanodollars", int64(a.Bound)), attribute.String("keel.cost.basis", string(a.Basis)),
	))
	if a.Address != "" {
		span.SetAttributes(semconv.NetworkPeerAddress(a.Address))
	}
	if a.Status > 0 {
		span.SetAttributes(semconv.HTTPResponseStatusCode(a.Status))
	}
	if a.Ended != budget.AttemptAnswered {
		// Only the one that was answered goes on to the end of the call; when another ended, beyond its headers, nobody wrote down.
		if ended = a.At; a.FirstByte > 0 {
			ended = a.At.Add(a.FirstByte)
		}
		span.SetAttributes(semconv.ErrorTypeKey.String(string(a.Ended)))
		span.SetStatus(codes.Error, a.Detail)
	}
	span.End(tracing.WithTimestamp(ended))
}

// providerOf is the name of a provider in the conventions, which has its own for some.
func providerOf(routed, asked string) string {
	name := routed
	if name == "" {
		name = asked
	}
	switch name {
	case "google":
		return semconv.GenAIProviderNameGCPGemini.Value.AsString()
	case "vertex":
		return semconv.GenAIProviderNameGCPVertexAI.Value.AsString()
	case "bedrock":
		return semconv.GenAIProviderNameAWSBedrock.Value.AsString()
	case "azure":
		return semconv.GenAIProviderNameAzureAIOpenAI.Value.AsString()
	case "mistral":
		return semconv.GenAIProviderNameMistralAI.Value.AsString()
	case "xai":
		return semconv.GenAIProviderNameXAI.Value.AsString()
	case "watsonx":
		return semconv.GenAIProviderNameIBMWatsonxAI.Value.AsString()
	}
	return name
}

// operationOf is the name of what an API does in the conventions; where they have none, Keel's name of the API.
func operationOf(api string) string {
	switch api {
	case "openai.chat", "openai.responses", "anthropic.messages", "bedrock.converse", "bedrock.converse-stream", "cohere.chat", "ollama.chat", "mistral.conversations":
		return semconv.GenAIOperationNameChat.Value.AsString()
	case "gemini.generateContent", "gemini.streamGenerateContent":
		return semconv.GenAIOperationNameGenerateContent.Value.AsString()
	case "openai.completions", "anthropic.complete", "cohere.generate", "ollama.generate", "watsonx.generate", "huggingface.generate":
		return semconv.GenAIOperationNameTextCompletion.Value.AsString()
	case "openai.embeddings", "gemini.embedContent", "cohere.embed", "ollama.embed":
		return semconv.GenAIOperationNameEmbeddings.Value.AsString()
	}
	return api
}
