// Package doctor looks at an attachment that runs, from the Envoy that calls pass to the database that keeps
// them, and says what is wrong with it and what to do. It reads Envoy's own account of its configuration and its
// counters, a processor's metrics, the database, and, where it is given Envoy's address, what becomes of a call
// that is asked for and not made.
//
// It changes nothing, needs no credentials but the database's, and refuses to guess: what it was not shown, or
// what no call has shown yet, is told as unseen.
package doctor
