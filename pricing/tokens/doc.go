// Package tokens estimates what a request will use before it is sent: how many
// input tokens its prompt is, how many output tokens it can cause, each as a
// likely number and as a bound, and what the bound is worth.
//
// It knows model families by name and nothing about prices. It refuses to call a bound
// provable where it rests on measurement, and to claim any bound at all
// for input that is not in the request or for models it has no figures for.
//
// The factors and offsets are measured on recorded traffic (OpenAI,
// Anthropic, Google and fifteen more); expected numbers are rough: a byte count knows
// nothing of the language of a text.
package tokens
