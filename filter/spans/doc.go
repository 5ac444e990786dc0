// Package spans tells a tracing backend of calls, by OTLP: a span for each call that was decided, and one below it for each of its
// attempts, with the attributes of OpenTelemetry's conventions for generative AI (semconv 1.41.0) and Keel's own under "keel.". Money is
// in whole nano-dollars. A call's parent is what the client's traceparent says.
//
// It is off unless it is asked for. A call never waits for it: what does not fit the queue is dropped and counted, and so is what the
// backend does not take. It refuses to send what was said, or who said it: no prompt, no answer, no label of a subject. The record is in
// Postgres; spans are for looking, and nothing may depend on one.
package spans
