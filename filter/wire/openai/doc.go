// Package openai reads and changes calls of the formats that OpenAI made and
// many hosts speak: Chat Completions and the older completions, Responses,
// embeddings and ranks, images, sound, videos, moderations, runs of assistants and batches.
//
// Hosts differ in what a count includes. Where it can, the package does not ask
// who answered: it decides by the arithmetic of the counts and by fields that a
// response itself carries, see normalise. Only paths that several formats share
// and streams that end in a way of their own go by the host's name, see Match.
//
// It refuses to price, to guess usage that was not reported, and to read what
// costs nothing: listing, deleting, files, stored chats. What is billed without
// being in a usage object (images, seconds and characters that a response or
// its request shows) goes into Reading.Parts, and Reading.Usage stays nil.
package openai
