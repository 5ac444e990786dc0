// Package bpe counts the tokens of text exactly, for the byte-pair vocabularies
// that OpenAI publishes, o200k_base and cl100k_base, and for the one that Google
// publishes as Gemma 3's and counts Gemini's tokens with. The counts are those of
// tiktoken's encode_ordinary and of SentencePiece: names of special tokens in a text are ordinary text.
//
// It only counts. It refuses to say which tokens they are, to decode, and to spend
// more than a fixed amount of work on one request: what is left then is charged
// at one token a byte, which no byte-level tokenizer can exceed, and the answer
// says that it is not exact.
//
// A text is cut into pieces by hand-written code for the vocabulary's split
// pattern, and most of it, what is ASCII, by 64 bytes at a time. Counts of pieces are remembered in a table without locks; a piece that is
// not there is looked up in the vocabulary or merged. All tables are keyed
// with random seeds of the process, so that nobody can make texts that collide in them.
//
// Unicode classes are those of Go's unicode package. Characters that a later version of
// Unicode added can be cut differently than by a tiktoken built with that version.
package bpe

//go:generate go run ./internal/pack
