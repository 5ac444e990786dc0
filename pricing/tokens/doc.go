// Package tokens estimates what a request will use before it is sent: how many
// input tokens its prompt is, how many output tokens it can cause, each as a
// likely number and as a bound, and what the bound is worth.
//
// A prompt is counted exactly in a published vocabulary, OpenAI's or Google's, and the count is turned into what the model's
// maker will count by a few figures a family: how its vocabulary compares, what its
// template puts around messages, what tools, schemas, images, thinking and citations add. For
// OpenAI the figures follow from what it publishes, for Google what is counted, for Anthropic what tools
// bring along; the rest is measured on recorded traffic. Closeouts then teach an Estimator what is different here.
//
// It knows model families by name and nothing about prices. It refuses to call a bound
// provable where it rests on measurement, to lower a bound by what it learned, and to claim any bound at all
// for input that is not in the request or for models it has no figures for.
package tokens
