// Package e2e tests the binary against the real Envoy and a real Postgres: the
// behaviour that users see, in the faults that they will meet.
//
// It has no code of its own to import. Tests that replay recorded provider
// traffic read it from ../shared/corpus beside the checkout and skip without it.
package e2e
