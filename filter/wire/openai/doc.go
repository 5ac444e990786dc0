// Package openai reads and changes calls of the two OpenAI formats, Chat
// Completions and Responses, as OpenAI, Azure and the many compatible hosts
// speak them.
//
// Hosts differ in what a count includes. The package does not ask who
// answered: it decides by the arithmetic of the counts and by fields that a
// response itself carries, see normalise. It refuses to price, to guess usage
// that was not reported, and to read anything but generation calls: stored
// responses, cancelling and compaction belong to other paths.
package openai
