// Package sample is a provider that nobody has to pay: an HTTP server that
// speaks OpenAI chat completions and Responses, Anthropic messages and Gemini
// generateContent and streamGenerateContent in the shapes of the real ones,
// whole and streamed. `keel dev` runs it, and tests of everything behind Envoy
// use it, because it can be told to fail and it remembers what reached it.
//
// It refuses to be clever: there is no model, the same request always gets the
// same text and the same usage.
//
// # Usage
//
// The text of a request is every JSON string value (not the keys) below
// messages, system, input, instructions, contents, systemInstruction and tools.
//
//	input tokens  = bytes of text / 4, rounded up, + 4 a message     (InputTokens)
//	output tokens = 8 + input tokens mod 25, at most the stated limit (OutputTokens)
//
// for each choice; the prompt is counted once. One output token is one word,
// and one chunk of a stream. An answer that the limit cut short says so in the
// finish reason of its API.
//
// # Faults
//
// Request headers ask for faults. They are named x-sample-* because Keel
// removes x-keel-* itself and passes these.
//
//	x-sample-delay: 300ms          wait before the response headers
//	x-sample-chunk-delay: 20ms     wait before every chunk but the first
//	x-sample-status: 503           fail with that status in the API's own error shape
//	x-sample-retry-after: 7        the retry-after header of such a failure
//	x-sample-fail-first: 2         answer 503 to the first 2 attempts ...
//	x-sample-key: abc              ... that carry this key
//	x-sample-cut-after: 3          cut the connection after 3 chunks; 0: before the headers
//	x-sample-cut-after: 120b       cut it after 120 bytes of body, as encoded
//	x-sample-omit-usage: true      say nothing about usage
//	x-sample-output-tokens: 40     in place of the function above, at most the stated limit
//	x-sample-cached-tokens: 10     so many of the input tokens came from the cache
//	x-sample-encoding: gzip        content-encoding gzip, br, zstd or deflate, whatever was accepted
//	x-sample-body-echo: true       the text of the answer is the request body as it arrived
//
// A header that can't be read is answered with 400, so that a test with a typo
// does not pass. An unstreamed answer is one chunk. Any model is known except
// NoSuchModel, which is answered with the 404 of the API.
//
// GET / says what this is. GET /_sample/served lists what was served, as JSON.
package sample
