// Package spend reads what calls cost out of the ledger, one record a call, in the
// order in which they were decided: for exports, re-rating and replay.
//
// A Reader is one snapshot of the database. Records come in pages, each by key from where the
// last one ended, so that a month of ten million calls takes the memory of a few thousand, here and in Postgres;
// each has a Position, after which another Reader goes on.
//
// It refuses to change anything, to price anything and to fill in what the ledger
// does not know: a record without a cost has none.
package spend
